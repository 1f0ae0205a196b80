"""Folding logins: they change nothing. There may be tens of thousands of sessions: they are rows, and the log tells."""

from __future__ import annotations

from typing import Final

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.state import State


def _told(_state: State, _event: Event, _touch: Touch) -> None:
    """Nothing moves, nobody is woken."""


FOLDS: Final[dict[type[Event], Fold]] = {e.SessionOpened: _told, e.SessionEnded: _told, e.SigningKeyRotated: _told}
