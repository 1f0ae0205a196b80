"""Signs of life of the nodes: counters, and no time. Whoever reads them takes the time of a change by its own.

The table is not logged: a crash of the database empties it, and two seconds later it is full again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from msgspec import Struct

from eventstore.arrays import Bigints, Texts
from eventstore.database import Database

# In the order of nodes, so that two apis never wait for each other; a late one never takes a counter back.
_UNKNOWN: Final = 1 << 62
_WRITE: Final = f"""
    INSERT INTO heroctl.beats AS b (node, session, count, applied, skew)
    SELECT n.node, n.session, n.count, nullif(n.applied, -1), nullif(n.skew, {_UNKNOWN})
    FROM unnest(%b, %b, %b, %b, %b) AS n(node, session, count, applied, skew) ORDER BY n.node
    ON CONFLICT (node) DO UPDATE SET session = EXCLUDED.session, count = EXCLUDED.count, applied = EXCLUDED.applied,
        skew = EXCLUDED.skew
    WHERE (b.session, b.count) < (EXCLUDED.session, EXCLUDED.count)"""  # noqa: S608 - a constant
_READ: Final = "SELECT node, session, count, applied, skew FROM heroctl.beats"
_FORGET: Final = "DELETE FROM heroctl.beats WHERE node = ANY(%b)"


class Beat(Struct, frozen=True):
    """The newest sign of a node: in which session, its number there, and the routes document it serves, if any.

    `skew`: by how many ms its machine's clock is ahead of the database's, as far as it knows.
    """

    session: int
    count: int
    applied: int | None = None
    skew: int | None = None


class Beats(Protocol):
    """The counters. Every call raises LogUnavailable when they cannot be reached."""

    async def write(self, beats: dict[str, Beat]) -> None:
        """Raise the counters of some nodes (by id), in one statement; an older one changes nothing."""
        ...

    async def read(self) -> dict[str, Beat]:
        """Give the newest sign of every node."""
        ...

    async def forget(self, nodes: Iterable[str]) -> None:
        """Drop the counters of nodes that are no more."""
        ...


class PostgresBeats:
    """The counters in the log's database; see Beats."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, beats: dict[str, Beat]) -> None:
        """See Beats.write."""
        values = beats.values()
        applied = [-1 if beat.applied is None else beat.applied for beat in values]
        columns = [
            Texts(list(beats)),
            Bigints([beat.session for beat in values]),
            Bigints([beat.count for beat in values]),
            Bigints(applied),
            Bigints([_UNKNOWN if beat.skew is None else beat.skew for beat in values]),
        ]
        await self._database.fetch(_WRITE, columns)

    async def read(self) -> dict[str, Beat]:
        """See Beats.read."""
        return {node: Beat(*beat) for node, *beat in await self._database.fetch(_READ)}

    async def forget(self, nodes: Iterable[str]) -> None:
        """See Beats.forget."""
        await self._database.fetch(_FORGET, [Texts(list(nodes))])


class MemoryBeats:
    """The counters in memory, for tests; see Beats."""

    def __init__(self) -> None:
        self._rows: dict[str, Beat] = {}

    async def write(self, beats: dict[str, Beat]) -> None:
        """See Beats.write."""
        for node, beat in beats.items():
            old = self._rows.get(node)
            if old is None or (old.session, old.count) < (beat.session, beat.count):
                self._rows[node] = beat

    async def read(self) -> dict[str, Beat]:
        """See Beats.read."""
        return dict(self._rows)

    async def forget(self, nodes: Iterable[str]) -> None:
        """See Beats.forget."""
        for node in nodes:
            self._rows.pop(node, None)
