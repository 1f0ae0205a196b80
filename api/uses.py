"""When ACL tokens were last used: noted here at each request, exchanged with the other apis once a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from eventstore.log import LogUnavailable
from eventstore.uses import Uses
from eventstore.view import View

OFTEN: Final = 60.0  # seconds
_log: Final = structlog.get_logger(__name__)


class LastUses:
    """What this process knows of it. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._noted: dict[str, float] = {}
        self._known: dict[str, int] = {}

    def note(self, token: str) -> None:
        """Note that a token is used now."""
        self._noted[token] = self._clock()

    def last(self, token: str) -> int | None:
        """Return when a token was last used, in ms since the epoch, as far as it is known here; None: never."""
        here = int(self._noted.get(token, 0) * 1000)
        return max(here, self._known.get(token, 0)) or None

    async def exchange(self, rows: Uses, view: View) -> None:
        """Tell what was noted, and learn what others did. Raises LogUnavailable, and loses nothing."""
        noted = self._noted
        self._noted = {}
        try:
            told = {token: int(at * 1000) for token, at in noted.items() if token in view.state.tokens}
            self._known = await rows.exchange(told, list(view.state.tokens))
        except LogUnavailable:
            self._noted = {**noted, **self._noted}
            raise

    async def run(self, rows: Uses, view: View) -> None:
        """Do so for ever."""
        while True:
            try:
                await self.exchange(rows, view)
            except LogUnavailable as error:
                _log.warning("uses_not_written", error=str(error))
            await asyncio.sleep(OFTEN)
