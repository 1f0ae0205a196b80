"""The log's partitions as the owner of the database sees them: what is there, and dropping from the beginning.

Dropping is four steps, each committed by itself, so that a death between any two leaves what the next round goes on
from: the floor rises (nobody reads below any more), the partition is detached CONCURRENTLY, a detachment that was cut
off is brought to its end, the table is dropped. Nothing here takes a lock that an append or a page waits for, and
nothing waits for a lock longer than a second: beside an open reader it gives up, and comes again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Final

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection, sql

from eventstore.database import Database, temporary
from eventstore.log import LogUnavailable, Position
from eventstore.retention import Partition

# An append may straddle a boundary: the end of a partition is the end of the append that holds its last event.
_LISTED: Final = """
    SELECT p.first, p.stop, coalesce(pg_total_relation_size(to_regclass('heroctl.events_' || p.first)), 0),
        e.last, e.time, (SELECT c.chain FROM heroctl.events c WHERE c.index = e.last)
    FROM heroctl.partitions p LEFT JOIN heroctl.events e ON e.index = p.stop - 1 ORDER BY p.first"""
_FLOOR: Final = "SELECT index, chain FROM heroctl.floor"
# Tables of the log that no row speaks of any more, below all that are kept; `inhdetachpending` is null once detached.
_BELOW: Final = """
    SELECT c.relname::text, i.inhdetachpending, (SELECT min(p.first) FROM heroctl.partitions p)
    FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    WHERE c.relnamespace = 'heroctl'::regnamespace AND c.relkind = 'r' AND starts_with(c.relname::text, 'events_')"""
_NAME: Final = re.compile(r"events_([0-9]+)")
_LIMITS: Final = "SET lock_timeout = '1s'; SET statement_timeout = '10s'"
_HELD: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.UndefinedTable,  # another one was faster
    psycopg.errors.ObjectNotInPrerequisiteState,
)
_DETACH: Final = sql.SQL("ALTER TABLE heroctl.events DETACH PARTITION heroctl.{} CONCURRENTLY")
_FINALIZE: Final = sql.SQL("ALTER TABLE heroctl.events DETACH PARTITION heroctl.{} FINALIZE")
_DROP: Final = sql.SQL("DROP TABLE heroctl.{}")


class Held(Exception):  # noqa: N818 - an answer: come again
    """Somebody reads what is to go, or works on the tables: nothing is lost, the next round goes on."""


class NotOwner(Exception):  # noqa: N818 - an answer: an operator must act
    """The role that was given may not drop partitions."""


class Below(Struct, frozen=True):
    """A table below the floor: still a `partition`, on its `way` out, or `loose`."""

    first: int
    stands: str

    @property
    def table(self) -> str:
        """Its name in the schema."""
        return f"events_{self.first}"


class Partitions:
    """The log's partitions. `database` reads; `owner` gives connections of the role that may drop tables.

    Every call raises LogUnavailable when the database cannot be reached.
    """

    def __init__(self, database: Database, owner: Database) -> None:
        self._database = database
        self._owner = owner

    async def listed(self) -> list[Partition]:
        """Give what is kept, oldest first."""
        rows = await self._database.fetch(_LISTED)
        return [
            Partition(first, stop, size, None if chain is None else Position(last, chain), time or 0)
            for first, stop, size, last, time, chain in rows
        ]

    async def floor(self) -> Position:
        """Give the place after which the kept log begins."""
        [(index, chain)] = await self._database.fetch(_FLOOR)
        return Position(index, chain)

    async def give_up(self, partition: Partition, epoch: int) -> bool:
        """Raise the floor above the oldest partition; False: it is not the coordinator's to do, or not any more."""
        end = partition.end
        assert end is not None  # noqa: S101 - nothing else is ever given up
        async with self._owning() as connection:
            query = "SELECT heroctl.raise_floor(%s, %s, %s, %s)"
            cursor = await connection.execute(query, [epoch, partition.first, end.index, end.chain])
            return bool(await _one(cursor))

    async def below(self) -> list[Below]:
        """Find what stands below the floor and is to be dropped, oldest first."""
        found = []
        for name, pending, kept in await self._database.fetch(_BELOW):
            match = _NAME.fullmatch(name)
            if match and kept is not None and int(match[1]) < kept:
                stands = "loose" if pending is None else "way" if pending else "partition"
                found.append(Below(int(match[1]), stands))
        return sorted(found, key=lambda each: each.first)

    async def drop(self, table: Below) -> None:
        """Drop a table below the floor, from wherever an earlier attempt came to. Raises Held or NotOwner."""
        name = sql.Identifier(table.table)
        async with self._owning() as connection:
            if table.stands == "partition":
                await connection.execute(_DETACH.format(name))
            elif table.stands == "way":
                await connection.execute(_FINALIZE.format(name))
            await connection.execute(_DROP.format(name))

    @contextlib.asynccontextmanager
    async def _owning(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with await self._owner.connect(direct=True) as connection:
                await connection.execute(_LIMITS)
                yield connection
        except _HELD as error:
            raise Held(str(error)) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise NotOwner(str(error)) from error
        except psycopg.Error as error:
            if temporary(error):
                raise LogUnavailable(str(error)) from error
            raise


async def _one(cursor: psycopg.AsyncCursor) -> object:
    row = await cursor.fetchone()
    return row[0] if row else None
