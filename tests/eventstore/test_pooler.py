"""Through a pooler in transaction mode everything works but listening; that goes another way, or the log is polled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from functools import partial
from typing import Final

import psycopg
import pytest

from eventstore.beats import Beat, PostgresBeats
from eventstore.database import Database
from eventstore.lease import PostgresLeases
from eventstore.listener import UNPROVEN, Listener
from eventstore.log import Appended, Conflicted, Fenced, LogUnavailable
from eventstore.members import PostgresMembers, Present
from eventstore.postgres import PostgresLog, open_log
from eventstore.sessions import PostgresSessions, Session
from eventstore.vault import PostgresVault
from eventstore.view import View
from heroctl.domain.records import Member
from tests.eventstore.samples import decision, intent, verified
from tests.needs import needs
from tests.pooler import Pooler, pooler
from tests.waiting import eventually

pytestmark = needs("pgbouncer")
SOON: Final = 8.0  # seconds after its return in which all is as before: mostly 1 to 2


@pytest.fixture
def pool(dsn: str) -> Iterator[Pooler]:
    """A pooler before the test's database."""
    with pooler(dsn) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(pool: Pooler) -> AsyncIterator[PostgresLog]:
    """A log as a process behind the pooler opens it."""
    async with Database(pool.dsn, direct=pool.direct) as database, open_log(database) as log:
        yield log


@contextlib.asynccontextmanager
async def viewing(log: PostgresLog) -> AsyncIterator[View]:
    view = View(log)
    task = asyncio.ensure_future(view.run())
    try:
        await view.catch_up()
        yield view
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_appends_of_many_with_all_their_answers(pool: Pooler) -> None:
    async with opened(pool) as one, opened(pool) as two, viewing(two) as view:
        appends = [(one, two)[n % 2].append(intent(n, stream=f"a:{n}", seen=0)) for n in range(200)]
        places = await asyncio.gather(*appends)
        assert sorted(place.first for place in places) == list(range(2, 202))
        with pytest.raises(Conflicted):
            await one.append(intent(1, stream="a:1", seen=1))
        with pytest.raises(Fenced):
            await two.append(decision(7))
        assert await view.reached(201, 5)
        await eventually(lambda: one.proven)
        assert (await verified(one)).index == 201


async def test_every_kind_of_row(pool: Pooler) -> None:
    """Often enough that what is prepared on one connection would be missed on another."""
    async with opened(pool) as log:
        database = log.database
        leases, members, beats = PostgresLeases(database), PostgresMembers(database), PostgresBeats(database)
        vault, sessions = PostgresVault(database), PostgresSessions(database)

        async def round_(number: int) -> None:
            name = f"n{number}"
            await members.renew(Present(Member(name, "api", "x", "")))
            await beats.write({name: Beat(1, number + 1)})
            assert (await beats.read())[name].count == number + 1
            identity = await vault.put("token", b"\x00x")
            assert await vault.get(identity) == b"\x00x"
            await vault.delete([identity])
            await sessions.open(Session(name, "admin", "", 2e9))
            assert await sessions.rotate(name, 0)
            await sessions.revoke(name)
            await leases.look("me", 15)

        for start in range(0, 60, 20):
            await asyncio.gather(*map(round_, range(start, start + 20)))
        assert await leases.take("me", 15) == 1
        assert (await leases.look("me", 15)).lease.holder == "me"
        assert len((await sessions.standing()).revoked) == len(await members.live()) == 60


async def test_nothing_is_prepared_on_the_servers_side(pool: Pooler, admin: psycopg.Connection) -> None:
    async with opened(pool) as log:
        for number in range(20):
            await log.append(intent(number))
            assert await log.database.fetch("SELECT count(*) FROM pg_prepared_statements") == [(0,)]


async def test_a_pooler_that_is_killed_under_load_costs_no_append(pool: Pooler) -> None:
    """Each append that was answered is in the log once; the others were told, or went through afterwards."""
    async with opened(pool) as log, viewing(log) as view:
        answers: dict[int, int] = {}
        refused = 0

        async def caller(number: int) -> None:
            nonlocal refused
            for each in range(number * 100, number * 100 + 25):
                try:
                    answers[(await log.append(intent(each))).first] = each
                except LogUnavailable:
                    refused += 1

        writing = asyncio.gather(*map(caller, range(8)))
        for goal in (20, 60, 100):
            await eventually(partial(_progressed, writing, answers, goal))
            pool.kill()
            await asyncio.to_thread(pool.start)
            began = time.monotonic()
            assert isinstance(await log.append(intent(9999)), Appended)
            assert time.monotonic() - began < SOON
        await writing
        assert len(answers) + refused == 200
        head = await log.head()
        assert await view.reached(head.index, 5)
        uids = {record.index: getattr(record.event, "uid", 0) async for records in log.read(1) for record in records}
        assert answers.items() <= uids.items()
        assert sum(uid != 9999 for uid in uids.values()) <= 200
        await verified(log)


def _progressed(writing: asyncio.Future[list[None]], answers: dict[int, int], goal: int) -> bool:
    return writing.done() or len(answers) >= goal


async def test_a_pooler_that_is_away(pool: Pooler) -> None:
    """It is noticed, and over soon after its return."""
    async with opened(pool) as log, viewing(log) as view:
        await eventually(lambda: log.proven)
        pool.kill()
        with pytest.raises(LogUnavailable):
            await log.head()
        await eventually(lambda: view.stale_seconds > 2.5)
        await asyncio.to_thread(pool.start)
        began = time.monotonic()
        place = await log.append(intent(1))
        assert await view.reached(place.last, 5)
        await eventually(lambda: view.stale_seconds < 1)
        assert time.monotonic() - began < SOON


async def test_listening_through_it_is_found_out(pool: Pooler) -> None:
    """It is accepted there, and nothing is ever heard: the echo does not come, and the log is looked at often."""
    async with Database(pool.dsn, direct=pool.direct) as database:
        greeted = 0

        async def greet(_: object) -> None:
            nonlocal greeted
            greeted += 1

        def notify(channel: str) -> Awaitable[object]:
            return database.fetch("SELECT pg_notify(%b, '')", [channel])

        listener = Listener(database.connect, greet, notify)
        listening = asyncio.ensure_future(listener.run())
        await eventually(lambda: greeted >= 2, timeout=15, what="another attempt")
        assert not listener.proven
        assert listener.interval() == UNPROVEN
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        [(channels,)] = await database.fetch("SELECT count(*) FROM pg_listening_channels()")
        assert channels <= 2, "what the pooler's connections listen to does not grow"
