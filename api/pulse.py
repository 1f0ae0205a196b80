"""Signs of life: the beats that agents send here, and what this process knows of nodes, members and the coordinator.

None of it is in the log. Beats are written once a second, all in one statement, and looked at every two; who else is
there is looked at as often as they say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from msgspec.structs import replace

from api.keys import Keyring
from api.streams import Streams
from api.usage import Usage
from eventstore.beats import Beat, Beats
from eventstore.lease import Leases
from eventstore.log import LogUnavailable
from eventstore.members import RENEW, Members, Present
from eventstore.sessions import Sessions
from eventstore.view import View
from heroctl.domain.assignment import SyncRequest

_WRITE: Final = 1.0  # seconds between writes of beats
_LOOK: Final = 2.0
_HOUSEKEEPING: Final = 300.0  # seconds between looks for keys of which nothing is about any more
_GOODBYE: Final = 1.0
_MOST: Final = 1 << 40  # of any number in a beat
_log: Final = structlog.get_logger(__name__)


class Pulse:
    """Beats in, signs of life out. `clock` gives monotonic seconds; `revoked` hears which sessions are."""

    def __init__(
        self,
        *,
        view: View,
        beats: Beats,
        members: Members,
        leases: Leases,
        sessions: Sessions,
        keyring: Keyring,
        streams: Streams | None,
        me: Present,
        clock: Callable[[], float],
        revoked: Callable[[frozenset[str]], None],
        usage: Usage,
    ) -> None:
        self.members: list[Present] = [me]
        self.redis = streams is not None
        self._view = view
        self._beats = beats
        self._members = members
        self._leases = leases
        self._sessions = sessions
        self._keyring = keyring
        self._streams = streams
        self._me = me
        self._clock = clock
        self._revoked = revoked
        self.usage = usage
        self._pending: dict[str, Beat] = {}
        self._written: asyncio.Future[None] | None = None
        self._heard: dict[str, Beat] = {}
        self._changed: dict[str, float] = {}
        self._lease_until = 0.0

    @property
    def me(self) -> str:
        """How this process is called among the others."""
        return self._me.member.id

    # ── what is known ────────────────────────────────────────────────────────────────────────────────────────────────

    def coordinated(self) -> bool:
        """Tell whether a reconciler holds the lease."""
        return self._clock() < self._lease_until

    def silence(self, node: str) -> int | None:
        """Return the whole seconds since a node was seen to beat; None: not since this process began to look."""
        changed = self._changed.get(node)
        return None if changed is None else int(self._clock() - changed)

    def session_of(self, node: str) -> int:
        """Return the session in which a node beat last; 0: it has not."""
        beat = self._heard.get(node)
        return 0 if beat is None else beat.session

    def stats_of(self, node: str) -> dict[str, float]:
        """Return what a node's agent measured last, whichever api it told."""
        known = self._view.state.nodes.get(node)
        return self.usage.of("node", known.name) if known is not None else {}

    def skew_of(self, node: str) -> int | None:
        """Return by how many ms a node's clock is ahead of the database's, as it said last; None: it has not."""
        beat = self._heard.get(node)
        return None if beat is None else beat.skew

    def time(self, now: float) -> int:
        """Return the database's time in ms since the epoch, where this process's clock says `now`; 0: not known yet."""
        mine = self._skew()
        return 0 if mine is None else int(now * 1000) - mine

    def _skew(self) -> int | None:
        """Return by how many ms this process's clock is ahead of the database's; None: it does not know yet."""
        return next((each.skew for each in self.members if each.member.id == self._me.member.id), None)

    # ── beats ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def beat(self, node: str, request: SyncRequest) -> asyncio.Future[None]:
        """Take a beat; the future is done once it is written, with LogUnavailable if it could not be."""
        self._pending[node] = Beat(
            request.session,
            _bounded(request.seq),
            None if request.applied is None else _bounded(request.applied),
            None if request.skew is None else _bounded(request.skew),
        )
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        return self._written

    async def write(self) -> None:
        """Write the beats that have come since the last time."""
        pending, written = self._pending, self._written
        self._pending, self._written = {}, None
        if written is None:
            return
        try:
            await self._beats.write(pending)
        except LogUnavailable as error:
            written.set_exception(error)
            written.exception()  # there may be nobody left who wants to know
        else:
            written.set_result(None)

    # ── looking around ───────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        """Say that this process lives, and look at everything once. Raises LogUnavailable."""
        await self.renew()
        await self.look()

    async def look(self) -> None:
        """Look at everything once. Raises LogUnavailable."""
        await self._look_at_members()
        await self._look_often()

    async def _look_often(self) -> None:
        if self._view.state.nodes:  # nobody else beats
            self._hear(await self._beats.read())
        await self.look_at_logins()
        await self._keyring.report()
        if self._streams is not None:
            self.redis = await self._streams.answers()

    async def live(self) -> list[Present]:
        """Look at who lives, and who coordinates, just now. Raises LogUnavailable."""
        await self._look_at_members()
        return self.members

    async def _look_at_members(self) -> None:
        asked = self._clock()
        lease = (await self._leases.look("", 0.0)).lease
        self._lease_until = asked + lease.remaining
        self.members = await self._members.live()
        self.usage.skew = self._skew() or 0

    async def look_at_logins(self) -> None:
        """Learn which sessions are revoked and which keys changed, here or elsewhere. Raises LogUnavailable."""
        standing = await self._sessions.standing()
        await self._keyring.heed(standing.keys)
        self._revoked(standing.revoked)  # after the keys: of those that went, it ends what they signed

    def _hear(self, beats: dict[str, Beat]) -> None:
        now = self._clock()
        for node, beat in beats.items():
            old = self._heard.get(node)
            if old is not None and (old.session, old.count) != (beat.session, beat.count):
                self._changed[node] = now
        self._heard = beats
        for node in self._changed.keys() - self._view.state.nodes.keys():
            del self._changed[node]

    async def renew(self) -> None:
        """Say that this process lives. Raises LogUnavailable."""
        self._me = replace(self._me, index=self._view.index)
        await self._members.renew(self._me)

    async def _meet(self) -> None:
        await self.renew()
        await self._look_at_members()

    async def leave(self) -> None:
        """Say goodbye, if there is somebody to say it to."""
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._members.leave(self._me.member.id)
        except (LogUnavailable, TimeoutError) as error:
            _log.warning("no_goodbye", error=str(error))

    async def run(self) -> None:
        """Do all of this, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_again(self.write, _WRITE))
            tasks.create_task(_again(self._look_often, _LOOK))
            tasks.create_task(_again(self._keyring.look, _HOUSEKEEPING))
            tasks.create_task(_again(self._meet, RENEW))


def _bounded(said: int) -> int:
    """Keep what an agent says within what the database takes: one bad beat would take all others with it."""
    return max(-_MOST, min(said, _MOST))


async def _again(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    away = False
    while True:
        began = loop.time()
        try:
            await work()
        except LogUnavailable as error:
            if not away:
                _log.warning("log_away", error=str(error))
            away = True
        else:
            away = False
        await asyncio.sleep(max(0.0, began + seconds - loop.time()))
