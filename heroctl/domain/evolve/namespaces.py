"""Folding what concerns namespaces."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.alerts import forget
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.holders import Namespace
from heroctl.domain.state import State
from heroctl.domain.topics import NAMESPACES


def _created(state: State, event: e.NamespaceCreated, touch: Touch) -> None:
    state.namespaces[event.name] = Namespace(event.name, event.description, touch.time)
    touch.add(NAMESPACES)


def _updated(state: State, event: e.NamespaceUpdated, touch: Touch) -> None:
    namespace = state.namespaces.get(event.name)
    if namespace is not None:
        state.namespaces[event.name] = replace(namespace, description=event.description)
        touch.add(NAMESPACES)


def _deleted(state: State, event: e.NamespaceDeleted, touch: Touch) -> None:
    """Jobs and secrets come and go without moving their namespace's stream: that it was empty is only known here."""
    if not state.occupied(event.name):
        state.namespaces.pop(event.name, None)
        for key in [key for key in state.alerts if key[0] == event.name]:
            forget(state, key, touch)
    touch.add(NAMESPACES)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.NamespaceCreated: _created,
    e.NamespaceUpdated: _updated,
    e.NamespaceDeleted: _deleted,
}
