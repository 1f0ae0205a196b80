"""Who else is there: one row for each api and reconciler process, renewed every five seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from eventstore.database import Database
from heroctl.domain.state import Member

RENEW: Final = 5.0  # seconds between renewals
LIVE: Final = 15.0  # seconds that a row counts as a live process

# Rows of processes that ended long ago go along; nobody needs them, and each start makes a new one.
_RENEW: Final = """
    WITH gone AS (DELETE FROM heroctl.members WHERE seen < clock_timestamp() - interval '1 day' AND id <> %b)
    INSERT INTO heroctl.members (id, role, address, version, level, index, seen)
    VALUES (%b, %b, %b, %b, %b, %b, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET role = EXCLUDED.role, address = EXCLUDED.address, version = EXCLUDED.version,
        level = EXCLUDED.level, index = EXCLUDED.index, seen = EXCLUDED.seen"""
_LIVE: Final = """
    SELECT id, role, address, version, level, index, ago::float8 FROM heroctl.members,
        LATERAL (SELECT extract(epoch FROM clock_timestamp() - seen) AS ago) AS age
    WHERE ago < %b::float8 ORDER BY id"""
_LEAVE: Final = "DELETE FROM heroctl.members WHERE id = %b"


class Present(Struct, frozen=True):
    """A process that lives: `level` of events it can fold, `index` its view has applied, seconds since its renewal."""

    member: Member
    level: int = 1
    index: int = 0
    seconds: float = 0.0


class Members(Protocol):
    """The rows. Every call raises LogUnavailable when they cannot be reached."""

    async def renew(self, present: Present) -> None:
        """Say that a process lives; `seconds` is not read."""
        ...

    async def live(self) -> list[Present]:
        """Give those who renewed within 15 seconds, by id."""
        ...

    async def leave(self, identity: str) -> None:
        """Say goodbye for a process."""
        ...


class PostgresMembers:
    """The rows in the log's database; see Members."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def renew(self, present: Present) -> None:
        """See Members.renew."""
        member = present.member
        values = [member.id, member.role, member.address, member.version, present.level, present.index]
        await self._database.fetch(_RENEW, [member.id, *values])

    async def live(self) -> list[Present]:
        """See Members.live."""
        rows = await self._database.fetch(_LIVE, [LIVE])
        return [Present(Member(*row[:4]), *row[4:]) for row in rows]

    async def leave(self, identity: str) -> None:
        """See Members.leave."""
        await self._database.fetch(_LEAVE, [identity])


class MemoryMembers:
    """The rows in memory, for tests; see Members. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[str, tuple[Present, float]] = {}

    async def renew(self, present: Present) -> None:
        """See Members.renew."""
        self._rows[present.member.id] = (present, self._clock())

    async def live(self) -> list[Present]:
        """See Members.live."""
        now = self._clock()
        aged = [Present(each.member, each.level, each.index, now - at) for _, (each, at) in sorted(self._rows.items())]
        return [each for each in aged if each.seconds < LIVE]

    async def leave(self, identity: str) -> None:
        """See Members.leave."""
        self._rows.pop(identity, None)
