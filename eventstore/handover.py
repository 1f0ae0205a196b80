"""The lease handed from one reconciler to another, because an administrator asks for it.

It is a take-over like any other: lease, fencing epoch and events in one transaction. What the old coordinator still has
under way is fenced by then; what it appended before stands, and the new one plans on it.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

from msgspec import Struct

from eventstore import codec
from eventstore.arrays import Blobs, Integers, Texts
from eventstore.database import Database
from eventstore.lease import TTL, MemoryLeases
from eventstore.log import Append, Appended, Key, KeyReused
from eventstore.members import RENEW, Members
from eventstore.memory import MemoryLog
from heroctl.domain.events import CoordinatorElected, CoordinatorTransferred, Meta

ROLE: Final = "reconciler"
FRESH: Final = RENEW + 1.0  # seconds since its renewal in which a process is taken to live
_ATTEMPTS: Final = 5
_STANDS: Final = "SELECT h.epoch, h.level, l.holder FROM heroctl.head h, heroctl.lease l"
_TRANSFER: Final = """
    SELECT r_why, r_first, r_last, r_again FROM heroctl.transfer(
        %b, %b::bigint, %b::float8, %b::float8, %b, %b, %b, %b, %b, %b, %b)"""

Why = Literal["moved", "vacant", "held", "gone"]


class Refused(Struct, frozen=True):
    """Why nothing was handed over.

    `moved`: there were elections all the time. `vacant`: nobody coordinates. `held`: the target does, already. `gone`:
    it is no reconciler that lives and can fold what is in the log.
    """

    why: Why


class Handovers(Protocol):
    """Hands the lease over."""

    async def hand_over(self, target: str, meta: Meta, key: Key | None = None) -> Appended | Refused:
        """Let another process coordinate from now on; once for each key.

        Raises KeyReused, and LogUnavailable, after which nobody knows whether it was done.
        """
        ...


class PostgresHandovers:
    """The lease in the log's database; see Handovers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def hand_over(self, target: str, meta: Meta, key: Key | None = None) -> Appended | Refused:
        """See Handovers.hand_over."""
        answer: Appended | Refused = Refused("moved")
        for _ in range(_ATTEMPTS):
            answer = await self._attempt(target, meta, key)
            if answer != Refused("moved"):
                break
        return answer

    async def _attempt(self, target: str, meta: Meta, key: Key | None) -> Appended | Refused:
        [(epoch, level, holder)] = await self._database.fetch(_STANDS)
        sealed = codec.seal(Append(_events(holder, target, epoch), epoch=epoch + 1, meta=meta, level=level))
        tags, schemas, datas = zip(*sealed.events, strict=True)
        keys = [] if key is None else [key]
        values = [
            *(target, epoch, TTL, FRESH, sealed.meta, sealed.digest, Texts(tags), Integers(schemas), Blobs(datas)),
            *(Blobs([each.name for each in keys]), Blobs([each.body for each in keys])),
        ]
        [(why, first, last, again)] = await self._database.fetch(_TRANSFER, values, once=True)
        if why == "reused":
            raise KeyReused
        return Refused(why) if why else Appended(first, last, replayed=again)


class MemoryHandovers:
    """The lease of a log in memory, for tests; see Handovers."""

    def __init__(self, log: MemoryLog, leases: MemoryLeases, members: Members) -> None:
        self._log = log
        self._leases = leases
        self._members = members

    async def hand_over(self, target: str, meta: Meta, key: Key | None = None) -> Appended | Refused:
        """See Handovers.hand_over."""
        if key is not None and (done := await self._log.recall(key)) is not None:
            return done
        head, lease = await self._log.head(), (await self._leases.look("", 0.0)).lease
        if not lease.holder or lease.remaining <= 0 or lease.epoch != head.epoch:
            return Refused("vacant")
        if lease.holder == target:
            return Refused("held")
        if not any(
            each.member.id == target and each.member.role == ROLE and each.seconds < FRESH and each.level >= head.level
            for each in await self._members.live()
        ):
            return Refused("gone")
        events = _events(lease.holder, target, head.epoch)
        append = Append(events, epoch=head.epoch + 1, meta=meta, level=head.level, key=key)
        return self._leases.give(target, TTL, append)


def _events(holder: str, target: str, epoch: int) -> tuple[CoordinatorTransferred, CoordinatorElected]:
    return CoordinatorTransferred(holder, target), CoordinatorElected(target, epoch + 1)
