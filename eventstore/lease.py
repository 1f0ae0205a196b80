"""The lease: who coordinates. It only keeps two from working at once; what fences is the epoch on the log's head row.

`Leases` is the row, `Keeper` a process that holds the lease or waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import structlog

from eventstore.database import Database
from eventstore.log import Append, Appended, Lease, LogUnavailable
from eventstore.memory import MemoryLog
from heroctl.domain.events import CoordinatorElected, encode

TTL: Final = 15.0  # seconds

# A holder renews whatever epoch it was given: a lease that was handed over is the target's at its first look.
_LOOK: Final = """
    WITH mine AS (
        UPDATE heroctl.lease SET expires = clock_timestamp() + %b::float8 * interval '1 second'
        WHERE holder = %b AND expires > clock_timestamp() RETURNING holder, epoch, expires)
    SELECT l.holder, l.epoch, extract(epoch FROM l.expires - clock_timestamp())::float8,
        floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, l.hand
    FROM (SELECT *, 0::bigint AS hand FROM mine UNION ALL
          SELECT holder, epoch, expires, CASE WHEN hand_epoch = epoch THEN hand ELSE 0 END FROM heroctl.lease
          WHERE NOT EXISTS (SELECT FROM mine)) AS l"""
_EPOCH: Final = "SELECT epoch FROM heroctl.head"
_ELECT: Final = "SELECT heroctl.elect(%b, %b, %b::bigint, %b::float8, %b, %b::integer, %b)"
_RELEASE: Final = """
    UPDATE heroctl.lease SET expires = least(expires, clock_timestamp()), holder = '' WHERE holder = %b"""
_HOLD: Final = "SELECT heroctl.hold(%b, %b::bigint, %b::bigint)"

_log: Final = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """What a look at the row shows: the lease (`remaining` ≤ 0: free), and the database's time in ms.

    A lease that nobody holds any more has no holder; one that ran out still names who died with it, and `hand`, the uid
    of the job that was being planned then, 0: none that was noted.
    """

    lease: Lease
    now: int
    hand: int = 0


class Leases(Protocol):
    """The lease's row. Every call raises LogUnavailable when it cannot be reached."""

    async def look(self, holder: str, seconds: float) -> Standing:
        """Renew the lease if the holder has it, and tell how it stands."""
        ...

    async def take(self, holder: str, seconds: float, by: str = "") -> int | None:
        """Elect a coordinator: lease, epoch and event in one. Return its epoch.

        None: refused; the lease must be free, the candidate's own, or handed over by its holder `by`.
        """
        ...

    async def hold(self, holder: str, epoch: int, uid: int) -> bool:
        """Note which job its holder plans from here on, 0: none. False: the lease is not the holder's, or no more."""
        ...

    async def release(self, holder: str) -> None:
        """End the holder's lease now."""
        ...


class PostgresLeases:
    """The row in the log's database; see Leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, holder: str, seconds: float) -> Standing:
        """See Leases.look."""
        [(who, epoch, remaining, now, hand)] = await self._database.fetch(_LOOK, [seconds, holder])
        return Standing(Lease(who, epoch, remaining), now, hand)

    async def take(self, holder: str, seconds: float, by: str = "") -> int | None:
        """See Leases.take."""
        [(epoch,)] = await self._database.fetch(_EPOCH)
        tag, schema, data = encode(CoordinatorElected(holder, epoch + 1))
        values = [holder, by, epoch, seconds, tag, schema, data]
        [(taken,)] = await self._database.fetch(_ELECT, values, once=True)
        return epoch + 1 if taken else None

    async def hold(self, holder: str, epoch: int, uid: int) -> bool:
        """See Leases.hold."""
        [(held,)] = await self._database.fetch(_HOLD, [holder, epoch, uid])
        return bool(held)

    async def release(self, holder: str) -> None:
        """See Leases.release."""
        await self._database.fetch(_RELEASE, [holder])


class MemoryLeases:
    """The row in memory, for tests; see Leases. `clock` gives seconds."""

    def __init__(self, log: MemoryLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._holder = ""
        self._epoch = 0
        self._expires = 0.0
        self._hand = (0, 0)  # epoch, uid

    async def look(self, holder: str, seconds: float) -> Standing:
        """See Leases.look."""
        self._reach()
        now = self._clock()
        if self._holder == holder and self._expires > now:
            self._expires = now + seconds
        hand = self._hand[1] if self._hand[0] == self._epoch and self._expires <= now else 0
        return Standing(Lease(self._holder, self._epoch, self._expires - now), int(now * 1000), hand)

    async def take(self, holder: str, seconds: float, by: str = "") -> int | None:
        """See Leases.take."""
        self._reach()
        now = self._clock()
        if by:
            free = self._holder == by and self._epoch == self._log.epoch and self._expires > now
        else:
            free = self._holder == holder or self._expires <= now
        if not free:
            return None
        self._holder, self._epoch, self._expires = holder, self._log.epoch + 1, now + seconds
        self._log.elect(Append((CoordinatorElected(holder, self._epoch),), epoch=self._epoch))
        return self._epoch

    def give(self, holder: str, seconds: float, append: Append) -> Appended:
        """Let another hold the lease, under the epoch of an append that says so."""
        self._holder, self._epoch, self._expires = holder, self._log.epoch + 1, self._clock() + seconds
        return self._log.elect(append)

    async def hold(self, holder: str, epoch: int, uid: int) -> bool:
        """See Leases.hold."""
        self._reach()
        if (self._holder, self._epoch) != (holder, epoch) or self._expires <= self._clock():
            return False
        self._hand = epoch, uid
        return True

    async def release(self, holder: str) -> None:
        """See Leases.release."""
        self._reach()
        if self._holder == holder:
            self._holder, self._expires = "", min(self._expires, self._clock())

    def _reach(self) -> None:
        if self._log.away:
            raise LogUnavailable("the log is away")


class Keeper:
    """A candidate for the lease. `holder` is drawn at random by each process; `clock` gives monotonic seconds.

    `epoch` is the holder's while the lease is trusted: for its time, from the start of the attempt that got or renewed
    it. Decisions carry it. `now` is the database's time. One that is not `fit` gives the lease up and takes none.

    `inherited` tells of the holder before, where that one died with the lease: which job it was planning, 0: unknown.
    """

    def __init__(
        self,
        leases: Leases,
        holder: str,
        *,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
        fit: Callable[[], bool] = lambda: True,
    ) -> None:
        self.holder: Final = holder
        self.inherited: int | None = None  # None: it was given the lease, or there was none
        self._fit = fit
        self._leases = leases
        self._ttl = ttl
        self._clock = clock
        self._epoch: int | None = None
        self._until = 0.0
        self._offset: float | None = None  # ms of the database's clock at our zero
        self._anew = False  # whether only another epoch will do
        self._poked = asyncio.Event()
        self._away = False

    def epoch(self) -> int | None:
        """The epoch under which this process coordinates; None: it does not, or can no longer be sure."""
        return self._epoch if self._clock() < self._until else None

    @property
    def knows_time(self) -> bool:
        """Whether the database's time was ever read: not before the first attempt that was answered."""
        return self._offset is not None

    def now(self) -> int:
        """Return the database's time in ms, as measured at the last attempt. There must have been one."""
        if self._offset is None:
            raise RuntimeError("the database's time was never read")
        return int(self._clock() * 1000 + self._offset)

    def lose(self) -> None:
        """Stop: an append was fenced, or nobody knows what became of it. Only another election gives an epoch again."""
        self._epoch = None
        self._anew = True
        self.poke()

    def poke(self) -> None:
        """Make the next attempt now: the lease may be free, or ours."""
        self._poked.set()

    async def attempt(self) -> float:
        """Renew the lease or, if it is free, take it; return when to try again, in seconds. Raises LogUnavailable."""
        if not self._fit():
            await self.release()
            return self._ttl / 3
        started = self._clock()
        lease, now, hand = await self._leases.look(self.holder, self._ttl)
        self._offset = now - (started + self._clock()) / 2 * 1000
        mine = lease.holder == self.holder and lease.remaining > 0
        if mine and lease.epoch != self._epoch:
            self.inherited = None
        epoch: int | None = lease.epoch
        if lease.remaining <= 0 or (mine and self._anew):
            started = self._clock()
            epoch = await self._leases.take(self.holder, self._ttl)
            mine = epoch is not None
            self.inherited = None if lease.holder in ("", self.holder) else hand
        self._anew = False
        self._epoch, self._until = (epoch, started + self._ttl) if mine else (None, 0.0)
        if mine:
            return self._ttl / 3
        # A little after it may have run out: candidates need not come all at once.
        return min(self._ttl / 3, max(lease.remaining, 0.0) + random.uniform(0.05, 0.3))  # noqa: S311 - jitter

    async def hold(self, uid: int) -> bool:
        """Note that a job is being planned, 0: none. False: the lease is not ours any more. Raises LogUnavailable."""
        epoch = self.epoch()
        return epoch is not None and await self._leases.hold(self.holder, epoch, uid)

    async def transfer(self, target: str) -> bool:
        """Hand the lease over to a process that lives; False: it was not ours. Raises LogUnavailable."""
        self._epoch = None
        return await self._leases.take(target, self._ttl, self.holder) is not None

    async def release(self) -> None:
        """Give the lease up, if it is ours, so that nobody has to wait for its end. Raises LogUnavailable."""
        self._epoch = None
        await self._leases.release(self.holder)

    async def run(self) -> None:
        """Attempt, for ever: at a third of the lease's time, or when another's is about to run out."""
        while True:
            self._poked.clear()
            try:
                pause = await self.attempt()
                self._away = False
            except LogUnavailable as error:
                pause = self._ttl / 15
                if not self._away:
                    self._away = True
                    _log.warning("lease_away", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()
