"""What only a real Postgres can show: order under concurrency, broken connections, restarts, plans, partitions."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from eventstore import codec
from eventstore.codec import seal
from eventstore.database import Database
from eventstore.log import Conflicted, LogUnavailable, Position
from eventstore.migrate import migrate
from eventstore.postgres import PostgresLog, _parameters, open_log
from eventstore.view import View
from heroctl.domain.events import IncarnationDrawn, JobStopped
from tests import servers
from tests.eventstore.conftest import opened
from tests.eventstore.proxy import Proxy
from tests.eventstore.samples import everything, intent, numbers, verified
from tests.waiting import eventually

_APPEND = "SELECT r_firsts FROM heroctl.append(" + ", ".join(["%s"] * 20) + ")"


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SEQUENCE = "CREATE TABLE control (id bigserial PRIMARY KEY)"


async def _write_sequence(connection: AsyncConnection, number: int) -> None:
    await connection.execute("INSERT INTO control DEFAULT VALUES")


async def _write_log(connection: AsyncConnection, number: int) -> None:
    values = _parameters(uuid4(), [seal(intent(number, number))])
    await connection.execute(_APPEND, values)


async def _writer(dsn: str, write: Callable[[AsyncConnection, int], Awaitable[None]], number: int) -> int:
    """Write in transactions that end late, and often not at all; return how many there were."""
    chance, done = random.Random(number), 0
    async with Database(dsn) as database, await database.connect() as connection:
        for _ in range(40):
            with contextlib.suppress(psycopg.Rollback):
                async with connection.transaction():
                    await write(connection, number)
                    await connection.execute("SELECT pg_sleep(%s)", [chance.random() / 300])
                    if chance.random() < 0.3:
                        raise psycopg.Rollback
                    done += 1
    return done


async def _missed(dsn: str, write: Callable[[AsyncConnection, int], Awaitable[None]], query: str) -> int:
    """Tail a table by its greatest number while six write; return how many rows the tail never saw."""
    seen = 0

    async def tail(writers: asyncio.Future[list[int]]) -> None:
        nonlocal seen
        async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
            last, finished = 0, False
            while not finished:
                finished = writers.done()
                for (index,) in await (await connection.execute(query, [last])).fetchall():
                    last, seen = index, seen + 1

    writers = asyncio.gather(*(_writer(dsn, write, number) for number in range(6)))
    await tail(writers)
    with psycopg.connect(dsn) as connection:
        [(count,)] = connection.execute(f"SELECT count(*) FROM ({query}) AS all_rows", [0]).fetchall()
    assert count >= sum(await writers) > 0
    return int(count) - seen


async def test_index_order_is_commit_order(dsn: str) -> None:
    """A tail by index misses nothing, whoever rolls back or commits late."""
    query = "SELECT index FROM heroctl.events WHERE index > %s ORDER BY index"
    assert await _missed(dsn, _write_log, query) == 0


async def test_a_sequence_would_lose_events(dsn: str, admin: psycopg.Connection) -> None:
    """The control: the same writers and the same tail on a sequence do lose some, or the test above shows nothing."""
    admin.execute(_SEQUENCE)
    assert await _missed(dsn, _write_sequence, "SELECT id FROM control WHERE id > %s ORDER BY id") > 0


async def test_tail_proves_every_append_of_many_processes(dsn: str) -> None:
    """Several processes append, conflict and roll back, while a tail asserts number and chain of whole appends."""
    async with contextlib.AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(opened(dsn)) for _ in range(3)]

        async def caller(number: int) -> int:
            done, seen = 0, 0
            for round_ in range(8):
                append = intent(*[number] * (1 + round_ % 3), stream=f"job:{number % 10}", seen=seen)
                try:
                    seen = (await logs[number % 3].append(append)).last
                    done += len(append.events)
                except Conflicted as conflict:
                    seen = conflict.index
            return done

        writing = asyncio.gather(*(caller(number) for number in range(45)))
        position = Position()
        while not writing.done():
            position = await verified(logs[0], position)
            await asyncio.sleep(0)
        assert (await verified(logs[1], position)).index == 1 + sum(await writing)


async def test_reader_sees_whole_appends_only(dsn: str) -> None:
    """However a reader comes between, an append is there from its first to its last event, or not at all."""
    async with opened(dsn) as log, opened(dsn) as reader:
        writing = asyncio.gather(*(log.append(intent(*range(1 + n % 40))) for n in range(200)))
        while not writing.done():
            rows = await reader.page(1)
            codec.verify(await reader.page(0), Position())
            assert not rows or rows[-1][0] == rows[-1][1]
        await writing


# ── broken ways ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_lost_after_the_commit(dsn: str) -> None:
    """The append happened and nobody heard: sent again under the same id it gets its first answer."""
    async with Proxy(dsn).serve() as proxy, opened(dsn) as log, opened(proxy.dsn) as cut_off:
        await cut_off.append(intent(1))
        proxy.lose_replies = True
        appending = asyncio.ensure_future(cut_off.append(intent(2, stream="a:1", seen=0)))
        await eventually(lambda: _head_is(log, 3))
        assert proxy.lost
        proxy.lose_replies = False
        assert (await appending).first == 3
        assert (await cut_off.append(intent(3))).first == 4
        assert await numbers(log) == [1, 2, 3]


async def _head_is(log: PostgresLog, index: int) -> bool:
    return (await log.head()).index == index


async def test_outcome_that_nobody_can_learn_is_called_unknown(dsn: str) -> None:
    async with Proxy(dsn).serve() as proxy, Database(proxy.dsn) as lossy, opened(dsn) as log:
        async with open_log(lossy, patience=0.5) as cut_off:
            await cut_off.append(intent(1))
            proxy.lose_replies = proxy.refuse = True
            with pytest.raises(LogUnavailable) as away:
                await cut_off.append(intent(2))
            assert away.value.unknown
            with pytest.raises(LogUnavailable) as away:
                await cut_off.append(intent(3))
            assert not away.value.unknown
            proxy.lose_replies = proxy.refuse = False
            await cut_off.append(intent(4))
        assert await numbers(log) == [1, 2, 4]


async def test_killed_backends_neither_lose_nor_double(dsn: str, admin: psycopg.Connection) -> None:
    """Whatever the moment of the kill, each append that was answered is in the log once, where it was said to be."""
    kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'heroctl' AND query LIKE '%heroctl.append%'"""
    async with contextlib.AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(opened(dsn, patience=60)) for _ in range(2)]

        answers: dict[int, int] = {}

        async def caller(number: int) -> None:
            for each in range(number * 100, number * 100 + 30):
                answers[(await logs[number % 2].append(intent(each))).first] = each

        def progressed(goal: int) -> bool:
            return writing.done() or len(answers) >= goal

        writing = asyncio.gather(*(caller(number) for number in range(16)))
        kills = 0
        while not writing.done():
            goal = len(answers) + 10
            kills += len(await asyncio.to_thread(lambda: admin.execute(kill).fetchall()))
            await eventually(partial(progressed, goal), timeout=60)
        await writing
        events = {record.index: record.event for record in await everything(logs[0], 1)}
        assert {index: event.uid for index, event in events.items() if isinstance(event, JobStopped)} == answers
        assert len(answers) == len(events) == 480
        assert kills > 3
        await verified(logs[0])


async def test_locked_head_is_a_temporary_trouble(dsn: str, admin: psycopg.Connection) -> None:
    """Somebody sits on the head row: callers are told in time that nothing happened, or go through afterwards."""
    async with opened(dsn, patience=0.3) as hasty, opened(dsn) as patient:
        with admin.transaction():
            admin.execute("SELECT * FROM heroctl.head FOR UPDATE")
            appending = asyncio.ensure_future(patient.append(intent(1)))
            with pytest.raises(LogUnavailable):
                await hasty.append(intent(2))
        await appending
        assert 1 in await numbers(patient)


# ── wakes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def viewing(log: PostgresLog) -> AsyncIterator[View]:
    """A view of a log, caught up, with notifications proven."""
    view = View(log)
    task = asyncio.ensure_future(view.run())
    try:
        await view.catch_up()
        await eventually(lambda: log.proven)
        yield view
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_another_process_hears_at_once(dsn: str) -> None:
    """From the commit in one to the applied view in another: some milliseconds, not a poll."""
    async with opened(dsn) as here, opened(dsn) as there, viewing(there) as view:
        delays = []
        for number in range(30):
            place = await here.append(intent(number))
            committed = time.perf_counter()
            assert await view.reached(place.last, 10)
            delays.append(time.perf_counter() - committed)
    assert sorted(delays)[len(delays) // 2] < 0.05


async def test_killed_listener_listens_again(dsn: str, admin: psycopg.Connection) -> None:
    async with opened(dsn) as here, opened(dsn) as there, viewing(there) as view:
        kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'LISTEN%' AND application_name = 'heroctl'"""
        assert admin.execute(kill).fetchall()
        await eventually(lambda: not there.proven)
        place = await here.append(intent(1))
        assert await view.reached(place.last, 5), "unproven: it looks four times a second"
        await eventually(lambda: there.proven)
        place = await here.append(intent(2))
        assert await view.reached(place.last, 5)


async def test_log_that_moved_to_another_server_gets_another_incarnation(dsn: str, admin: psycopg.Connection) -> None:
    """A promoted standby may have lost the log's end: the first process to connect says so in the log."""
    admin.execute("UPDATE heroctl.head SET origin = 'elsewhere/00000001'")
    held = "SELECT incarnation FROM heroctl.head"
    [(before,)] = admin.execute(held).fetchall()
    async with opened(dsn) as log, opened(dsn), viewing(log) as view:
        await eventually(lambda: view.state.incarnation != before)
        assert (view.state.incarnation,) == admin.execute(held).fetchone()
        events = [record.event for record in await everything(log, 1)]
        assert events == [IncarnationDrawn(view.state.incarnation, "another server")]


async def test_postgres_restarts() -> None:
    """Stopped in order or killed: what was answered is there, callers are told or served, and views catch up."""
    with servers.postgres() as server:
        await asyncio.to_thread(migrate, server.dsn())
        async with opened(server.dsn(), patience=30) as log, viewing(log) as view:
            for end in (server.stop, server.kill):
                before = await asyncio.gather(*(log.append(intent(n)) for n in range(20)))
                await asyncio.to_thread(end)
                meanwhile = asyncio.gather(*(log.append(intent(n)) for n in range(5)))
                await asyncio.to_thread(server.start)
                began = time.perf_counter()
                places = await meanwhile
                assert time.perf_counter() - began < 5
                assert min(place.first for place in places) > max(place.last for place in before)
                assert await view.reached(places[-1].last, 10)
                await eventually(lambda: log.proven)
            assert view.index == 51
            await verified(log)


async def test_way_through_a_pooler(dsn: str) -> None:
    """With a direct way beside it nothing is prepared, and everything works."""
    async with Database(dsn, direct=dsn) as database, open_log(database) as log:
        for number in range(8):
            await log.append(intent(number, stream="a:1", seen=number + 1))
        assert await numbers(log) == list(range(8))
        await eventually(lambda: log.proven)


async def test_errors_of_the_user_come_out_as_they_are(dsn: str) -> None:
    with pytest.raises(KeyError):
        async with opened(dsn):
            raise KeyError


async def test_a_bug_in_a_task_of_the_log_is_loud(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the log learns that it runs no more; nobody waits for an answer that cannot come."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("eventstore.appender.Appender._deliver", broken)
    with pytest.raises(ExceptionGroup) as group:
        async with opened(dsn) as log:
            await log.append(intent(1))
    assert group.group_contains(ZeroDivisionError)
