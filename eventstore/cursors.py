"""Cursors: how far those have come who go through the log event by event, and may not miss one.

A cursor holds up retention: what it has not passed is kept, so whoever begins one moves or ends it.
"""

from __future__ import annotations

from typing import Final, Protocol

from eventstore.database import Database
from eventstore.log import Compacted

_LISTED: Final = "SELECT name, index FROM heroctl.cursors ORDER BY name"
_BEGIN: Final = "SELECT heroctl.begin_cursor(%b, %b)"
_FLOOR: Final = "SELECT index FROM heroctl.floor"
_MOVE: Final = "UPDATE heroctl.cursors SET index = %b WHERE name = %b AND index = %b RETURNING index"
_END: Final = "DELETE FROM heroctl.cursors WHERE name = %b"


class Cursors(Protocol):
    """The rows. Every call raises LogUnavailable when they cannot be reached."""

    async def listed(self) -> dict[str, int]:
        """Give all, by name: the index up to which each has read."""
        ...

    async def begin(self, name: str, index: int) -> None:
        """Begin one, unless it is there already. Raises Compacted if the log is not kept from there on."""
        ...

    async def move(self, name: str, seen: int, to: int) -> bool:
        """Move one from where it was seen; False: somebody else did, or it has ended."""
        ...

    async def end(self, name: str) -> None:
        """End one; it holds nothing up any more."""
        ...


class PostgresCursors:
    """The rows in the log's database; see Cursors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(self) -> dict[str, int]:
        """See Cursors.listed."""
        return dict(await self._database.fetch(_LISTED))

    async def begin(self, name: str, index: int) -> None:
        """See Cursors.begin."""
        [(stands,)] = await self._database.fetch(_BEGIN, [name, index])
        if not stands:
            [(floor,)] = await self._database.fetch(_FLOOR)
            raise Compacted(floor)

    async def move(self, name: str, seen: int, to: int) -> bool:
        """See Cursors.move. Sent again after a broken connection it may say False for its own move: read the row."""
        return bool(await self._database.fetch(_MOVE, [to, name, seen]))

    async def end(self, name: str) -> None:
        """See Cursors.end."""
        await self._database.fetch(_END, [name])


class MemoryCursors:
    """The rows in memory, for tests; see Cursors. `floor` is the log's."""

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self._rows: dict[str, int] = {}

    async def listed(self) -> dict[str, int]:
        """See Cursors.listed."""
        return dict(sorted(self._rows.items()))

    async def begin(self, name: str, index: int) -> None:
        """See Cursors.begin."""
        if name not in self._rows and index < self.floor:
            raise Compacted(self.floor)
        self._rows.setdefault(name, index)

    async def move(self, name: str, seen: int, to: int) -> bool:
        """See Cursors.move."""
        if self._rows.get(name) != seen:
            return False
        self._rows[name] = to
        return True

    async def end(self, name: str) -> None:
        """See Cursors.end."""
        self._rows.pop(name, None)
