"""Who else is there: one row for each api and reconciler process, renewed every five seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from eventstore.database import Database
from heroctl.domain.records import Member

RENEW: Final = 5.0  # seconds between renewals
LIVE: Final = 15.0  # seconds that a row counts as a live process
_SURE: Final = 1.0  # seconds that an answer may take which is to say what time it is

# Rows of processes that ended long ago go along; nobody needs them, and each start makes a new one.
_RENEW: Final = """
    WITH gone AS (DELETE FROM heroctl.members WHERE seen < clock_timestamp() - interval '1 day' AND id <> %b)
    INSERT INTO heroctl.members (id, role, address, version, level, index, skew, seen)
    VALUES (%b, %b, %b, %b, %b, %b, %b::bigint, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET role = EXCLUDED.role, address = EXCLUDED.address, version = EXCLUDED.version,
        level = EXCLUDED.level, index = EXCLUDED.index, skew = EXCLUDED.skew, seen = EXCLUDED.seen
    RETURNING extract(epoch FROM clock_timestamp())::float8"""
_LIVE: Final = """
    SELECT id, role, address, version, level, index, ago::float8, skew FROM heroctl.members,
        LATERAL (SELECT extract(epoch FROM clock_timestamp() - seen) AS ago) AS age
    WHERE ago < %b::float8 ORDER BY id"""
_LEAVE: Final = "DELETE FROM heroctl.members WHERE id = %b"


class Present(Struct, frozen=True):
    """A process that lives: `level` of events it can fold, `index` its view has applied, seconds since its renewal.

    `skew`: by how many ms its clock is ahead of the database's; None: it has not found out yet.
    """

    member: Member
    level: int = 1
    index: int = 0
    seconds: float = 0.0
    skew: int | None = None


class Members(Protocol):
    """The rows. Every call raises LogUnavailable when they cannot be reached."""

    async def renew(self, present: Present) -> None:
        """Say that a process lives; `seconds` and `skew` are not read."""
        ...

    async def live(self) -> list[Present]:
        """Give those who renewed within 15 seconds, by id."""
        ...

    async def leave(self, identity: str) -> None:
        """Say goodbye for a process."""
        ...


class PostgresMembers:
    """The rows in the log's database; see Members. `wall` gives seconds since the epoch, by this machine's clock.

    Each renewal looks at both clocks, and the next one tells.
    """

    def __init__(self, database: Database, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall = wall
        self._skew: int | None = None

    async def renew(self, present: Present) -> None:
        """See Members.renew."""
        member = present.member
        values = [member.id, member.role, member.address, member.version, present.level, present.index]
        began = self._wall()
        [(now,)] = await self._database.fetch(_RENEW, [member.id, *values, self._skew])
        self._skew = skew(began, self._wall(), now, self._skew)

    async def live(self) -> list[Present]:
        """See Members.live."""
        rows = await self._database.fetch(_LIVE, [LIVE])
        return [Present(Member(*row[:4]), *row[4:]) for row in rows]

    async def leave(self, identity: str) -> None:
        """See Members.leave."""
        await self._database.fetch(_LEAVE, [identity])


def skew(began: float, ended: float, theirs: float, known: int | None = None) -> int | None:
    """Say by how many ms our clock is ahead of another that was read between two looks at ours.

    What is `known` stays where that took too long to tell, or our clock was set meanwhile.
    """
    return round(((began + ended) / 2 - theirs) * 1000) if 0 <= ended - began <= _SURE else known


class MemoryMembers:
    """The rows in memory, for tests; see Members. `clock` gives seconds, `ahead` the skew of whoever renews."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, ahead: Callable[[], int | None] = lambda: 0
    ) -> None:
        self._clock = clock
        self.ahead = ahead
        self._rows: dict[str, tuple[Present, float]] = {}

    async def renew(self, present: Present) -> None:
        """See Members.renew."""
        self._rows[present.member.id] = (replace(present, skew=self.ahead()), self._clock())

    async def live(self) -> list[Present]:
        """See Members.live."""
        now = self._clock()
        aged = [replace(each, seconds=now - at) for _, (each, at) in sorted(self._rows.items())]
        return [each for each in aged if each.seconds < LIVE]

    async def leave(self, identity: str) -> None:
        """See Members.leave."""
        self._rows.pop(identity, None)
