"""Logs in partitions of fifty events, so that there is something to drop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import psycopg

from eventstore.database import Database
from eventstore.migrate import migrate
from eventstore.partitions import Held, Partitions
from eventstore.postgres import PostgresLog, open_log
from eventstore.retention import Partition
from tests.eventstore.samples import intent

SIZE = 50


@contextlib.asynccontextmanager
async def small_log(dsn: str, *, fill: int = 0) -> AsyncIterator[PostgresLog]:
    """Make an empty database a log of this kind, with so many events in it, and open it."""
    await asyncio.to_thread(lambda: migrate(dsn, partition=SIZE))
    async with Database(dsn) as database, open_log(database, partition=SIZE) as log:
        await grow(log, fill)
        yield log


async def grow(log: PostgresLog, to: int) -> None:
    """Append until the head is at an index or a little past it; an append straddles each boundary."""
    while (head := (await log.head()).index) < to:
        await log.database.fetch("SELECT heroctl.make_partitions(%b)", [SIZE])
        count = 8 if (head + 7) % SIZE == 0 else 7
        await log.append(intent(*range(head, head + count)))


def dropping(log: PostgresLog, owner: str = "") -> Partitions:
    """What drops the log's partitions, as the role of the log's own connection or of another DSN."""
    return Partitions(log.database, Database(owner) if owner else log.database)


async def drop(log: PostgresLog, count: int = 1) -> list[Partition]:
    """Drop so many partitions; return them."""
    partitions, gone = dropping(log), []
    for _ in range(count):
        oldest = (await partitions.listed())[0]
        assert await partitions.give_up(oldest, (await log.head()).epoch)
        for table in await partitions.below():
            await partitions.drop(table)
        gone.append(oldest)
    return gone


async def attempt(partitions: Partitions) -> bool:
    """Try to drop what is below the floor; tell whether nothing is left of it."""
    with contextlib.suppress(Held):
        for table in await partitions.below():
            await partitions.drop(table)
    return not await partitions.below()


@contextlib.contextmanager
def reading(dsn: str) -> Iterator[psycopg.Connection]:
    """A transaction that has read the whole log, and stays open."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT count(*) FROM heroctl.events")
        yield connection
