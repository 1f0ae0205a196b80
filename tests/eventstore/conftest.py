"""Every kind of log, empty but for `cluster.created`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from eventstore.database import Database
from eventstore.log import Log, Position
from eventstore.memory import MemoryLog
from eventstore.migrate import migrate
from eventstore.postgres import PostgresLog, open_log
from heroctl.domain.events import CoordinatorElected, encode
from tests import servers
from tests.eventstore.samples import decision


@dataclass
class Store:
    """A log, and a way to elect a coordinator on it."""

    log: Log
    elect: Callable[[], Awaitable[int]]  # gives the new epoch
    age: Callable[[int], Awaitable[object]]  # lets so many ms pass for keys
    keep_after: Callable[[Position], Awaitable[object]]  # forgets what is up to a place, as retention does


@pytest.fixture(scope="session")
def migrated(postgres_server: str) -> Iterator[str]:
    """Name of a migrated database that others are copied from."""
    with servers.database(postgres_server) as dsn:
        migrate(dsn, partition=1_000_000)
        yield dsn.rpartition("/")[2]


@pytest.fixture
def dsn(postgres_server: str, migrated: str) -> Iterator[str]:
    """DSN of a migrated database of the test's own."""
    with servers.database(postgres_server, migrated) as dsn:
        yield dsn


@pytest.fixture
def admin(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection beside the log's."""
    with psycopg.connect(dsn, autocommit=True, application_name="admin") as connection:
        yield connection


@contextlib.asynccontextmanager
async def opened(dsn: str, *, patience: float = 10.0, partition: int = 1_000_000) -> AsyncIterator[PostgresLog]:
    """A log, as a process of its own would open it."""
    async with Database(dsn) as database, open_log(database, patience=patience, partition=partition) as log:
        yield log


@pytest.fixture
async def postgres(dsn: str) -> AsyncIterator[PostgresLog]:
    """A Postgres log."""
    async with Database(dsn) as database, open_log(database) as log:
        yield log


async def elect(database: Database, holder: str = "me") -> int:
    """Elect a coordinator by the take-over transaction; give the new epoch."""
    [(epoch,)] = await database.fetch("SELECT epoch FROM heroctl.head")
    tag, schema, data = encode(CoordinatorElected(holder, epoch + 1))
    query = "SELECT heroctl.elect(%b, '', %b::bigint, 15, %b, %b::integer, %b)"
    assert await database.fetch(query, [holder, epoch, tag, schema, data]) == [(True,)]
    return int(epoch) + 1


def memory() -> Store:
    """A store in memory."""
    passed = 0
    log = MemoryLog(lambda: 1_790_000_000_000 + passed)

    async def elected() -> int:
        log.elect(decision(log.epoch + 1))
        return log.epoch

    async def age(ms: int) -> None:
        nonlocal passed
        passed += ms

    async def keep_after(place: Position) -> None:
        log.compact(place.index)

    return Store(log, elected, age, keep_after)


def of(log: PostgresLog) -> Store:
    """The store of an open log."""
    return Store(
        log,
        lambda: elect(log.database),
        lambda ms: log.database.fetch("UPDATE heroctl.keys SET at = at - %b::bigint", [ms]),
        lambda place: log.database.fetch(
            """WITH gone AS (DELETE FROM heroctl.events WHERE index <= %b)
            UPDATE heroctl.floor SET index = %b, chain = %b""",
            [place.index, place.index, place.chain],
        ),
    )


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """One store of each kind."""
    if request.param == "memory":
        return memory()
    log: PostgresLog = request.getfixturevalue("postgres")
    return of(log)


@pytest.fixture
def log(store: Store) -> Log:
    """The store's log."""
    return store.log
