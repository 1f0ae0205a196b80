"""The shelf: where the bytes of snapshots are kept. `Snapshots` is what one wants of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from eventstore.arrays import Integers
from eventstore.database import Database
from eventstore.log import Position

# Refused or not yet verified ones are of no use to anybody after this.
_LEFTOVER: Final = 24 * 3600.0  # seconds
_COLUMNS: Final = (
    "id::text, index, chain, incarnation, format, release, time,"
    " floor(extract(epoch FROM made_at) * 1000)::bigint, size, hash"
)
_ADD: Final = """
    INSERT INTO heroctl.snapshots (id, index, chain, incarnation, format, release, time)
    VALUES (%b::uuid, %b, %b, %b, %b::integer, %b, %b)"""
_PUT: Final = "INSERT INTO heroctl.snapshot_rows (snapshot, number, data) VALUES (%b::uuid, %b::integer, %b)"
_CLOSE: Final = "UPDATE heroctl.snapshots SET size = %b, hash = %b WHERE id = %b::uuid"
_ROW: Final = "SELECT data FROM heroctl.snapshot_rows WHERE snapshot = %b::uuid AND number = %b::integer"
_VERIFY: Final = "UPDATE heroctl.snapshots SET verified = true WHERE id = %b::uuid"
_REFUSE: Final = "UPDATE heroctl.snapshots SET refused = %b WHERE id = %b::uuid AND refused = ''"
_LISTED: Final = (
    f"SELECT {_COLUMNS} FROM heroctl.snapshots WHERE verified AND refused = '' ORDER BY index DESC, made_at DESC"  # noqa: S608 - our own words
)
_REMOVE: Final = "DELETE FROM heroctl.snapshots WHERE id = %b::uuid"
_SWEEP: Final = """
    DELETE FROM heroctl.snapshots
    WHERE (refused <> '' OR NOT verified) AND made_at < clock_timestamp() - %b::float8 * interval '1 second'"""
_DUE: Final = """
    SELECT e.last FROM heroctl.head h, heroctl.partitions p, heroctl.events e
    WHERE p.stop - 1 <= h.index AND e.index = p.stop - 1 AND NOT EXISTS (
        SELECT FROM heroctl.snapshots s, heroctl.events c
        WHERE s.index = e.last AND c.index = e.last AND s.chain = c.chain
        AND s.verified AND s.refused = '' AND s.format = ANY(%b))
    ORDER BY e.last"""


class Snapshot(Struct, frozen=True):
    """One that is kept: whose history, up to where, and in what form. Times are ms since the epoch."""

    id: str
    index: int
    chain: bytes
    incarnation: str
    format: int
    release: str
    time: int  # of the last event in it
    made_at: int
    size: int = 0  # bytes, unpacked
    hash: bytes = b""

    @property
    def position(self) -> Position:
        """The end of the append that it stands at."""
        return Position(self.index, self.chain)


class Shelf(Protocol):
    """Rows of bytes under snapshots. Every call raises LogUnavailable when it cannot be reached."""

    async def add(self, snapshot: Snapshot) -> None:
        """Begin one. It is not listed before it was verified."""
        ...

    async def put(self, identity: str, number: int, row: bytes) -> None:
        """Keep one of its rows, the first of which is number 0."""
        ...

    async def close(self, identity: str, size: int, digest: bytes) -> None:
        """Say what it has become, after its last row."""
        ...

    def rows(self, identity: str) -> AsyncIterator[bytes]:
        """Give its rows in order, up to the first that is missing."""
        ...

    async def verify(self, identity: str) -> None:
        """Let it count."""
        ...

    async def refuse(self, identity: str, why: str) -> None:
        """Let it count no more; it stays for people to look at, for a day."""
        ...

    async def listed(self) -> list[Snapshot]:
        """Give the verified ones that were not refused, newest first."""
        ...

    async def remove(self, identities: Iterable[str]) -> None:
        """Forget some."""
        ...

    async def sweep(self) -> None:
        """Forget what nobody will ever use: refused or unfinished, and a day old."""
        ...

    async def due(self, formats: Iterable[int]) -> list[int]:
        """Name the ends of partitions that have passed without a snapshot of one of these formats, oldest first.

        An end is the index of the last event of the append that holds the partition's last one.
        """
        ...


class PostgresShelf:
    """The shelf in the log's database; see Shelf."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, snapshot: Snapshot) -> None:
        """See Shelf.add."""
        given = (snapshot.index, snapshot.chain, snapshot.incarnation, snapshot.format, snapshot.release, snapshot.time)
        await self._database.fetch(_ADD, [snapshot.id, *given], once=True)

    async def put(self, identity: str, number: int, row: bytes) -> None:
        """See Shelf.put."""
        await self._database.fetch(_PUT, [identity, number, row], once=True)

    async def close(self, identity: str, size: int, digest: bytes) -> None:
        """See Shelf.close."""
        await self._database.fetch(_CLOSE, [size, digest, identity])

    async def rows(self, identity: str) -> AsyncIterator[bytes]:
        """See Shelf.rows."""
        number = 0
        while found := await self._database.fetch(_ROW, [identity, number]):
            yield bytes(found[0][0])
            number += 1

    async def verify(self, identity: str) -> None:
        """See Shelf.verify."""
        await self._database.fetch(_VERIFY, [identity])

    async def refuse(self, identity: str, why: str) -> None:
        """See Shelf.refuse."""
        await self._database.fetch(_REFUSE, [why.replace("\0", ""), identity])

    async def listed(self) -> list[Snapshot]:
        """See Shelf.listed."""
        return [Snapshot(*row) for row in await self._database.fetch(_LISTED)]

    async def remove(self, identities: Iterable[str]) -> None:
        """See Shelf.remove."""
        for identity in identities:
            await self._database.fetch(_REMOVE, [identity])

    async def sweep(self) -> None:
        """See Shelf.sweep."""
        await self._database.fetch(_SWEEP, [_LEFTOVER])

    async def due(self, formats: Iterable[int]) -> list[int]:
        """See Shelf.due."""
        return [end for (end,) in await self._database.fetch(_DUE, [Integers(list(formats))])]


@dataclass
class _Kept:
    snapshot: Snapshot
    rows: list[bytes] = field(default_factory=list)
    verified: bool = False
    refused: str = ""


class MemoryShelf:
    """The shelf in memory, for tests; see Shelf. It knows no partitions, so nothing is ever due."""

    def __init__(self) -> None:
        self.kept: dict[str, _Kept] = {}

    async def add(self, snapshot: Snapshot) -> None:
        """See Shelf.add."""
        self.kept[snapshot.id] = _Kept(snapshot)

    async def put(self, identity: str, number: int, row: bytes) -> None:
        """See Shelf.put."""
        self.kept[identity].rows[number:] = [row]

    async def close(self, identity: str, size: int, digest: bytes) -> None:
        """See Shelf.close."""
        kept = self.kept[identity]
        kept.snapshot = replace(kept.snapshot, size=size, hash=digest)

    async def rows(self, identity: str) -> AsyncIterator[bytes]:
        """See Shelf.rows."""
        for row in self.kept[identity].rows:
            yield row

    async def verify(self, identity: str) -> None:
        """See Shelf.verify."""
        self.kept[identity].verified = True

    async def refuse(self, identity: str, why: str) -> None:
        """See Shelf.refuse."""
        self.kept[identity].refused = why

    async def listed(self) -> list[Snapshot]:
        """See Shelf.listed."""
        found = [kept.snapshot for kept in self.kept.values() if kept.verified and not kept.refused]
        return sorted(found, key=lambda each: (each.index, each.made_at), reverse=True)

    async def remove(self, identities: Iterable[str]) -> None:
        """See Shelf.remove."""
        for identity in identities:
            self.kept.pop(identity, None)

    async def sweep(self) -> None:
        """See Shelf.sweep."""
        gone = [identity for identity, kept in self.kept.items() if kept.refused or not kept.verified]
        await self.remove(gone)

    async def due(self, formats: Iterable[int]) -> list[int]:
        """See Shelf.due."""
        del formats
        return []


def begun(position: Position, incarnation: str, given: tuple[int, str, int]) -> Snapshot:
    """Name a new one; `given` is its format, the release that makes it and the log's time there."""
    form, release, at = given
    made_at = int(time.time() * 1000)
    return Snapshot(str(uuid4()), position.index, position.chain, incarnation, form, release, at, made_at)
