"""The one route for state: beat, reports and pull in one, numbered, one in flight, repeated unchanged until answered.

Every `every` seconds, at once when something happened, and without a doorbell always waiting for something newer.
Whatever goes wrong here stops nothing: only an api that says 410 `node_removed` does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog

from agents.client import Away, Client, Refused
from agents.clock import Clock
from agents.desired import Told
from agents.doorbell import Doorbell
from heroctl import logs
from heroctl.domain.assignment import Outcome, Report, SessionReply, SessionRequest, SyncReply, SyncRequest

AGAIN: Final = (0.25, 2.0)  # seconds between two attempts where nothing answers, first and at most
REFUSED: Final = (1.0, 15.0)  # the same, where the answer is no
REOPEN: Final = 5.0  # seconds at least between two sessions that we ask for ourselves
DOORBELL: Final = 10.0  # seconds between two times that we ask for one
FULL: Final = 500  # reports in one request
PASSING: Final = 0.02  # seconds that a report waits which the next one mostly overtakes
_log = structlog.get_logger("sync")


class Dismissed(Exception):  # noqa: N818 - an answer, not a fault
    """This agent must end. `removed`: and its workloads with it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.removed = code == "node_removed"


class SessionLost(Exception):  # noqa: N818 - see above
    """The api knows nothing of our session, or cannot read what we say in it: a new one is needed."""


class Side(Protocol):
    """What the agent gives, and what it is told."""

    def introduce(self) -> SessionRequest:
        """Say all there is to say, for a new session."""
        ...

    def reports(self, allocs: Iterable[str]) -> list[Report]:
        """Report on these allocations, as of now; those that are forgotten are left out."""
        ...

    def held(self) -> Told:
        """Say which assignment is held."""
        ...

    def take(self, reply: SyncReply) -> bool:
        """Take in an assignment; True: ask for all of it."""
        ...

    def heard(self, report: Report, outcome: Outcome) -> None:
        """Hear that a report was answered; there is nothing newer to say of its allocation."""
        ...


class Sync:
    """Keeps the control plane and this node in step, for ever. `run` ends only by Dismissed.

    `wall` gives seconds since the epoch; nothing goes by it, but how far it is off is told.
    """

    def __init__(
        self, client: Client, clock: Clock, doorbell: Doorbell, side: Side, wall: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._clock = clock
        self._doorbell = doorbell
        self._side = side
        self._wall = wall
        self._skew: int | None = None
        self._dirty: dict[str, None] = {}
        self._urgent = asyncio.Event()
        self._passing: set[str] = set()  # allocations in a phase that mostly ends at once, and that was not reported
        self._later: asyncio.Task[None] | None = None
        self._pull = False
        self._full = True
        self._reopen = False
        self._session = 0
        self._seq = 0
        self._every = 2.0
        self._opened_at = float("-inf")
        self._batch = FULL
        self._asked_for_redis = float("-inf")
        self.answered_at: float | None = None  # when the last beat was first sent that was answered
        self._failed: Exception = Away("nothing was asked yet")

    @property
    def session(self) -> int:
        """The session that is open; 0: none ever was."""
        return self._session

    def told(self, alloc: str, *, passing: bool = False) -> None:
        """Something happened to an allocation. `passing`: it will not last, unless it takes its time.

        That is reported a moment later, and what others have to say together with it: what began together mostly ends
        so, and one request for all of it is sooner answered than one for each.
        """
        self._dirty[alloc] = None
        if passing:
            self._passing.add(alloc)
            if self._later is None or self._later.done():
                self._later = asyncio.create_task(self._lapse())
            return
        self._passing.discard(alloc)
        if not self._passing:
            self._urgent.set()

    async def _lapse(self) -> None:
        """Report what has not been overtaken meanwhile."""
        await self._clock.sleep(PASSING)
        if self._dirty:
            self._urgent.set()

    def pull(self, *, full: bool = False) -> None:
        """Ask for the assignment now; `full`: for all of it."""
        self._pull = True
        self._full = self._full or full
        self._urgent.set()

    def reopen(self) -> None:
        """Open a new session: what a session says of the node has changed."""
        self._reopen = True
        self._urgent.set()

    async def run(self) -> None:
        """Open a session and sync in it, again and again."""
        try:
            while True:
                await self._open()
                try:
                    await self._sync()
                except SessionLost as error:
                    self._failed = error
                    await self._pause(1)
        finally:
            if self._later is not None:
                self._later.cancel()

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self) -> None:
        attempts = 0
        while (reply := await self._introduce()) is None:
            attempts += 1
            await self._pause(attempts)
        self._session, self._seq, self._every = reply.session, 0, reply.every
        self._full, self._opened_at = True, self._clock.now()
        _log.info("session", session=reply.session, node=reply.name, cluster=reply.cluster)
        await self._doorbell.use(reply.redis)

    async def _introduce(self) -> SessionReply | None:
        """Ask for a session once, with all there is to say; None where there is no answer, or one that may change."""
        self._reopen = False
        self._dirty.clear()
        self._passing.clear()
        request = self._side.introduce()
        try:
            reply = await self._client.session(request)
        except Away as error:
            self._failed = error
            return None
        except Refused as error:
            _dismissed(error)
            self._failed = error
            return None
        self._heard(request.inventory.reports, ["ok"] * len(request.inventory.reports))
        return reply

    # ── syncs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _sync(self) -> None:
        while True:
            sent_at, request = self._clock.now(), self._request()
            reply = await self._answer(request)
            if reply is None:
                continue
            self.answered_at = sent_at
            await self._take(request, reply)
            if self._wants_session():
                return
            listened = reply.index != request.index or self._clock.now() - sent_at >= request.wait / 2
            if self._doorbell.hears or not listened:
                await self._clock.wait(self._urgent, sent_at + self._every - self._clock.now())

    def _wants_session(self) -> bool:
        """Tell whether to open a new session now; where the last one is young, that has time."""
        return self._reopen and self._clock.now() >= self._opened_at + REOPEN

    def _request(self) -> SyncRequest:
        self._urgent.clear()
        self._passing.clear()
        self._pull = False
        self._seq += 1
        held = self._side.held()
        sent = list(self._dirty)[: self._batch]
        reports = self._side.reports(sent)
        for alloc in sent:
            del self._dirty[alloc]
        if self._dirty:
            self._urgent.set()
        idle = not reports and not self._full and not self._dirty and not self._doorbell.hears
        return SyncRequest(
            session=self._session,
            seq=self._seq,
            incarnation=held.incarnation,
            index=0 if self._full else held.index,
            mark=held.mark,
            state_index=max(self._client.index, held.index),  # a ring may know more than any api has answered
            reports=reports,
            doorbell=self._doorbell.position,
            need_redis=self._needs_redis(),
            wait=self._every if idle else 0.0,
            skew=self._skew,
        )

    def _needs_redis(self) -> bool:
        """Tell whether to ask for a doorbell: there is none, or it does not know us; not with every beat."""
        if not self._doorbell.lacks or self._clock.now() < self._asked_for_redis + DOORBELL:
            return False
        self._asked_for_redis = self._clock.now()
        return True

    async def _answer(self, request: SyncRequest) -> SyncReply | None:
        """Send a request until it is answered. None: it only waited, and something happened; or it cannot be sent."""
        attempts = 0
        while True:
            try:
                return await (self._waited(request) if request.wait else self._client.sync(request))
            except Away as error:
                self._failed = error
            except Refused as error:
                _dismissed(error)
                if error.status == 409:
                    raise SessionLost from error
                if error.status in (400, 413):
                    self._narrow(request, error)
                    return None
                self._failed = error
            attempts += 1
            await self._pause(attempts)
            if request.wait and self._urgent.is_set():
                return None

    def _narrow(self, request: SyncRequest, error: Refused) -> None:
        """Find the report that no api can read, by sending them one by one; that one is left out."""
        _log.error("request_not_understood", error=str(error), reports=[report.alloc for report in request.reports])
        if not request.reports:
            raise SessionLost from error
        if len(request.reports) > 1:
            self._batch = 1
            self._dirty |= dict.fromkeys(report.alloc for report in request.reports)

    async def _waited(self, request: SyncRequest) -> SyncReply | None:
        """Send a request that waits and says nothing; leave it as soon as there is something to say."""
        asking = asyncio.ensure_future(self._client.sync(request))
        telling = asyncio.ensure_future(self._urgent.wait())
        try:
            await asyncio.wait([asking, telling], return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            for task in (asking, telling):
                task.cancel()
            await asyncio.gather(asking, telling, return_exceptions=True)

    async def _take(self, request: SyncRequest, reply: SyncReply) -> None:
        self._every = reply.every
        self._full = False
        logs.follow(reply.log_level)
        if reply.time:
            self._skew = round(self._wall() * 1000) - reply.time
        self._heard(request.reports, reply.results)
        if not self._dirty:
            self._batch = FULL
        if self._side.take(reply):
            self.pull(full=True)
        if reply.redis is not None:
            await self._doorbell.use(reply.redis)
        await self._doorbell.compare(reply.doorbell)

    def _heard(self, reports: Iterable[Report], outcomes: Iterable[Outcome]) -> None:
        for report, outcome in zip(reports, outcomes, strict=False):
            if report.alloc not in self._dirty:
                self._side.heard(report, outcome)

    async def _pause(self, attempts: int) -> None:
        """Wait after something was not answered: longer each time, and not all agents at the same moment."""
        least, most = AGAIN if isinstance(self._failed, Away) else REFUSED
        seconds = min(most, least * 2 ** min(attempts - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, hides nothing
        log = _log.warning if attempts > 1 else _log.info
        log("not_answered", error=str(self._failed), attempts=attempts, again_in=round(seconds, 2))
        await self._clock.sleep(seconds)


def _dismissed(error: Refused) -> None:
    """Raise Dismissed where the answer is meant for good; any other «no» stops nothing."""
    if (error.status, error.code) in ((410, "node_removed"), (409, "session_replaced"), (409, "node_in_use")):
        raise Dismissed(error.code, error.message) from error
