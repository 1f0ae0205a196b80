"""Partitions made and dropped on a real Postgres, beside readers, and by processes that die at every step."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import psycopg
import pytest

from eventstore.cursors import Cursors, MemoryCursors, PostgresCursors
from eventstore.log import Compacted, LogUnavailable, Position
from eventstore.memory import MemoryLog
from eventstore.migrate import migrate
from eventstore.partitions import Held, NotOwner
from eventstore.postgres import PostgresLog
from tests.eventstore.samples import everything, intent, verified
from tests.eventstore.small import SIZE, attempt, drop, dropping, grow, reading, small_log
from tests.waiting import eventually

_FAST = 0.1  # seconds that an append may take
_STALL = 0.5  # seconds; a busy machine may cost one append some time, a lock costs one a whole second


async def test_dropping_leaves_a_log_that_begins_later(postgres_dsn: str) -> None:
    async with small_log(postgres_dsn, fill=4 * SIZE) as log:
        gone = await drop(log, 2)
        partitions = dropping(log)
        floor = await partitions.floor()
        assert floor == gone[-1].end
        assert (await partitions.listed())[0].first == 2 * SIZE + 1
        assert (await everything(log, floor.index))[0].index == floor.index + 1
        head = await log.head()
        assert await verified(log, floor) == Position(head.index, head.chain)
        assert await tables(log) == [each.first for each in await partitions.listed()]
        await grow(log, 6 * SIZE)


async def test_nobody_reads_below_the_floor(postgres_dsn: str) -> None:
    """Neither half an append at the floor, nor the log's rest as if it were what follows."""
    async with small_log(postgres_dsn, fill=4 * SIZE) as log:
        [gone] = await drop(log)
        assert gone.end is not None
        assert gone.end.index > SIZE, "the append straddles"
        for after in (0, 1, SIZE, gone.end.index - 1):
            with pytest.raises(Compacted) as compacted:
                await log.page(after)
            assert compacted.value.floor == gone.end.index
        assert (await log.page(gone.end.index))[0][0] == gone.end.index + 1


async def test_only_what_may_go_is_given_up(postgres_dsn: str) -> None:
    """The rules that a mistake of the caller's would break are held by the database as well."""
    async with small_log(postgres_dsn, fill=4 * SIZE) as log:
        partitions, cursors = dropping(log), PostgresCursors(log.database)
        listed = await partitions.listed()
        oldest, second = listed[:2]
        assert not await partitions.give_up(second, 0), "not the oldest"
        assert not await partitions.give_up(oldest, 1), "another epoch"
        assert oldest.end is not None
        await cursors.begin("webhooks/a", oldest.end.index - 1)
        assert not await partitions.give_up(oldest, 0), "a cursor is behind"
        assert await cursors.move("webhooks/a", oldest.end.index - 1, oldest.end.index)
        assert await partitions.give_up(oldest, 0)
        assert not await partitions.give_up(oldest, 0), "gone already"
        with pytest.raises(Compacted):
            await cursors.begin("webhooks/b", oldest.end.index - 1)
        await cursors.end("webhooks/a")
        while await partitions.give_up((await partitions.listed())[0], 0):
            pass
        kept = [each for each in await partitions.listed() if each.first <= (await log.head()).index]
        assert len(kept) == 2


async def test_memory_keeps_the_same_promise() -> None:
    log = MemoryLog()
    await log.append(intent(1))
    places = [await log.append(intent(*range(7))) for _ in range(20)]
    log.compact(places[5].first)
    for after in (0, places[5].first, places[5].last - 1):
        with pytest.raises(Compacted) as compacted:
            await log.page(after)
        assert compacted.value.floor == places[5].last
    assert [row[0] for row in await log.page(places[5].last)] == list(range(places[6].first, places[-1].last + 1))
    log.compact(places[7].last)
    await log.append(intent(2))
    assert (await everything(log, places[18].last))[0].index == places[19].first
    log.lose(places[18].last)
    assert await log.page(places[18].last) == []


# ── beside readers ───────────────────────────────────────────────────────────────────────────────────────────────────


async def appends(log: PostgresLog, meanwhile: Callable[[], Awaitable[object]]) -> list[float]:
    """Append one event after the other until something is done; return what each took, in seconds, sorted."""
    doing = asyncio.ensure_future(meanwhile())
    took: list[float] = []
    while not doing.done():
        began = time.perf_counter()
        await log.append(intent(1))
        await log.page((await log.head()).index - 1)
        took.append(time.perf_counter() - began)
    await doing
    return sorted(took)


async def test_an_open_reader_holds_up_no_append(postgres_dsn: str) -> None:
    """Partitions are made and dropped while somebody reads: what cannot be finished waits, and nobody else does."""
    async with small_log(postgres_dsn, fill=5 * SIZE) as log:
        partitions = dropping(log)
        assert await partitions.give_up((await partitions.listed())[0], 0)
        await log.database.fetch("SELECT heroctl.make_partitions(5000)")
        with reading(postgres_dsn) as reader:

            async def work() -> None:
                assert not await attempt(partitions)
                before = len(await tables(log))
                await log.database.fetch("SELECT heroctl.make_partitions(20000)")
                assert len(await tables(log)) > before
                assert not await attempt(partitions)

            took = await appends(log, work)
            assert took[len(took) * 99 // 100] < _FAST
            assert took[-1] < _STALL
            [(count,)] = reader.execute("SELECT count(*) FROM heroctl.events").fetchall()
            assert count > 0, "the reader sees what it saw"
        await eventually(lambda: attempt(partitions))
        await verified(log, await partitions.floor())


@pytest.mark.parametrize("plain", ["DROP TABLE heroctl.events_1", "CREATE TABLE x PARTITION OF heroctl.events {range}"])
async def test_plain_statements_would_hold_up_appends(postgres_dsn: str, plain: str) -> None:
    """The control: dropped or made in the usual way, the same reader makes every append wait."""
    async with small_log(postgres_dsn, fill=5 * SIZE) as log:
        statement = plain.format(range="FOR VALUES FROM (1000000) TO (2000000)")
        with reading(postgres_dsn):

            def work() -> None:
                with psycopg.connect(postgres_dsn, autocommit=True) as connection:
                    connection.execute("SET lock_timeout = '1s'")
                    with pytest.raises(psycopg.errors.LockNotAvailable):
                        connection.execute(statement)

            assert (await appends(log, lambda: asyncio.to_thread(work)))[-1] > _STALL


# ── deaths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_killed_while_it_waits_for_a_reader(postgres_dsn: str) -> None:
    """The detachment is pending then: nobody sees the partition, and the next attempt brings it to its end."""
    async with small_log(postgres_dsn, fill=4 * SIZE) as log:
        partitions = dropping(log)
        assert await partitions.give_up((await partitions.listed())[0], 0)
        [table] = await partitions.below()
        with reading(postgres_dsn):
            detaching = asyncio.ensure_future(partitions.drop(table))
            kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE query ILIKE '%% DETACH PARTITION %%' AND wait_event_type = 'Lock'
                AND datname = current_database()"""
            await eventually(lambda: log.database.fetch(kill))
            with pytest.raises(LogUnavailable):
                await detaching
            assert [each.stands for each in await partitions.below()] == ["way"]
            await grow(log, 7 * SIZE)
        await eventually(lambda: attempt(partitions))


@pytest.mark.parametrize("died", ["partition", "way", "loose"])
async def test_goes_on_from_wherever_it_died(postgres_dsn: str, died: str) -> None:
    """After the floor rose, in the middle of the detachment, after it: the log is whole, and the rest is done."""
    async with small_log(postgres_dsn, fill=4 * SIZE) as log:
        partitions = dropping(log)
        assert await partitions.give_up((await partitions.listed())[0], 0)
        detach = "ALTER TABLE heroctl.events DETACH PARTITION heroctl.events_1 CONCURRENTLY"
        with psycopg.connect(postgres_dsn, autocommit=True) as connection:
            if died == "loose":
                connection.execute(detach)
            elif died == "way":
                connection.execute("SET lock_timeout = '50ms'")
                with reading(postgres_dsn), pytest.raises(psycopg.errors.LockNotAvailable):
                    connection.execute(detach)
        assert [each.stands for each in await partitions.below()] == [died]
        await verified(log, await partitions.floor())
        await grow(log, 7 * SIZE)
        await eventually(lambda: attempt(partitions))
        assert await attempt(partitions), "again: nothing is left to do"
        assert await drop(log)


async def test_two_that_drop_at_once(postgres_dsn: str) -> None:
    """One does it; the other is told to come again, or that it is done."""
    async with small_log(postgres_dsn, fill=4 * SIZE) as log:
        partitions = dropping(log)
        assert await partitions.give_up((await partitions.listed())[0], 0)
        [table] = await partitions.below()
        ends = await asyncio.gather(*(partitions.drop(table) for _ in range(4)), return_exceptions=True)
        assert [end for end in ends if end is not None and not isinstance(end, Held)] == []
        await eventually(lambda: attempt(partitions))


async def test_a_failed_making_leaves_nothing_half_made(postgres_dsn: str) -> None:
    async with small_log(postgres_dsn, fill=SIZE) as log:
        before = await tables(log)
        with psycopg.connect(postgres_dsn) as other, psycopg.connect(postgres_dsn, autocommit=True) as maker:
            other.execute("LOCK TABLE heroctl.events IN SHARE UPDATE EXCLUSIVE MODE")
            maker.execute("SELECT 1")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                maker.execute("SELECT heroctl.make_partitions(5000)")
            assert await tables(log) == before
        await log.database.fetch("SELECT heroctl.make_partitions(5000)")
        assert await tables(log) == [each.first for each in await dropping(log).listed()] != before


async def tables(log: PostgresLog) -> list[int]:
    """The tables of events that there are, in partitions or not."""
    query = """SELECT substr(relname, 8)::bigint FROM pg_class
        WHERE relkind = 'r' AND starts_with(relname::text, 'events_') ORDER BY 1"""
    return [first for (first,) in await log.database.fetch(query)]


# ── rights ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def application(postgres_dsn: str) -> Iterator[str]:
    """The DSN of a role that has what a process needs, of a log in small partitions."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN")
        migrate(postgres_dsn, partition=SIZE, application=name)
        yield postgres_dsn.replace("postgres@", f"{name}@")
        admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_the_processes_role_neither_changes_nor_drops(postgres_dsn: str, application: str) -> None:
    """Not even what is made after its rights were given; with the owner's DSN beside it, retention works."""
    async with small_log(application, fill=4 * SIZE) as log:
        partitions = dropping(log)
        oldest, *_, newest = await partitions.listed()
        for first in (oldest.first, newest.first, SIZE + 1):
            for change in (
                f"DELETE FROM heroctl.events_{first}",
                f"UPDATE heroctl.events_{first} SET data = ''",
                f"TRUNCATE heroctl.events_{first}",
                f"DROP TABLE heroctl.events_{first}",
                f"ALTER TABLE heroctl.events DETACH PARTITION heroctl.events_{first}",
                "UPDATE heroctl.floor SET index = 7",
                "DELETE FROM heroctl.partitions",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await log.database.fetch(change)
        with pytest.raises(NotOwner):
            await partitions.give_up(oldest, 0)
        owned = dropping(log, postgres_dsn)
        assert await owned.give_up(oldest, 0)
        [table] = await partitions.below()
        with pytest.raises(NotOwner):
            await partitions.drop(table)
        await owned.drop(table)
        with pytest.raises(Compacted):
            await log.page(0)
        await PostgresCursors(log.database).begin("webhooks/a", (await log.head()).index)


# ── cursors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_cursors(kind: str, postgres_dsn: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        cursors: Cursors = MemoryCursors(55)
        if kind == "postgres":
            log = await stack.enter_async_context(small_log(postgres_dsn, fill=4 * SIZE))
            [gone] = await drop(log)
            assert gone.end is not None
            cursors, floor = PostgresCursors(log.database), gone.end.index
        else:
            floor = 55
        await cursors.begin("b", floor)
        await cursors.begin("a", floor + 2)
        await cursors.begin("a", floor + 9)
        with pytest.raises(Compacted) as compacted:
            await cursors.begin("c", floor - 1)
        assert compacted.value.floor == floor
        assert await cursors.listed() == {"a": floor + 2, "b": floor}
        assert await cursors.move("a", floor + 2, floor + 3)
        assert not await cursors.move("a", floor + 2, floor + 4)
        assert not await cursors.move("nobody", 0, 1)
        await cursors.end("b")
        await cursors.end("b")
        assert await cursors.listed() == {"a": floor + 3}


async def test_a_cursor_that_begins_while_the_floor_rises(postgres_dsn: str) -> None:
    """It comes first, and the floor stays; or it comes too late, and is told so."""
    async with small_log(postgres_dsn, fill=4 * SIZE) as log:
        partitions, cursors = dropping(log), PostgresCursors(log.database)
        oldest = (await partitions.listed())[0]
        with psycopg.connect(postgres_dsn) as owner:
            assert oldest.end is not None
            raising = "SELECT heroctl.raise_floor(0, %s, %s, %s)"
            owner.execute(raising, [oldest.first, oldest.end.index, oldest.end.chain])
            beginning = asyncio.ensure_future(cursors.begin("a", 1))
            done, _ = await asyncio.wait({beginning}, timeout=0.2)
            assert not done, "it waits"
            owner.commit()
            with pytest.raises(Compacted):
                await beginning
