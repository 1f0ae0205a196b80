"""This process among the others: its own row renewed, and theirs read."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from eventstore.log import LogUnavailable
from eventstore.members import RENEW, Members, Present
from eventstore.view import View
from heroctl.domain.records import Member

ROLE: Final = "reconciler"
_RETRY: Final = 1.0  # seconds
_FRESH: Final = RENEW + 1.0  # seconds since its renewal in which a process is taken to live

_log: Final = structlog.get_logger(__name__)


class Presence:
    """Renews `me` and knows who else lives: `live`, None while that is not known.

    `level` is the greatest that all of them can fold.
    """

    def __init__(self, members: Members, me: Member, view: View) -> None:
        self.me = me
        self.live: tuple[Member, ...] | None = None
        self.level: int | None = None
        self._members = members
        self._view = view
        self._poked = asyncio.Event()
        self._away = False

    async def run(self) -> None:
        """Renew and read, for ever."""
        while True:
            self._poked.clear()
            pause = RENEW
            try:
                await self.renew()
                self._away = False
            except LogUnavailable as error:
                self._forget()
                pause = _RETRY
                if not self._away:
                    self._away = True
                    _log.warning("members_away", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()

    async def renew(self) -> None:
        """Renew and read once. Raises LogUnavailable."""
        await self._members.renew(Present(self.me, self._view.level, self._view.index))
        live = await self._members.live()
        self.live = tuple(present.member for present in live)
        self.level = min((present.level for present in live), default=None)

    def look_anew(self) -> None:
        """Forget who lives, and look again now: what was read before a take-over may be older than the log."""
        self._forget()
        self._poked.set()

    def _forget(self) -> None:
        self.live = self.level = None

    async def successor(self) -> str | None:
        """Find another reconciler that could coordinate, the one heard of last. Raises LogUnavailable."""
        live = [
            each
            for each in await self._members.live()
            if each.member.role == ROLE and each.seconds < _FRESH and each.level >= self._view.state.level
        ]
        others = sorted((each.seconds, each.member.id) for each in live if each.member.id != self.me.id)
        return others[0][1] if others else None

    async def leave(self) -> None:
        """Say goodbye. Raises LogUnavailable."""
        await self._members.leave(self.me.id)
