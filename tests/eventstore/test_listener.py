"""Whoever tails misses nothing for longer than a poll, whatever becomes of the connection that listens."""

from __future__ import annotations

import time

import psycopg

from eventstore.listener import UNPROVEN
from tests.eventstore.conftest import opened
from tests.eventstore.proxy import Proxy
from tests.eventstore.samples import intent
from tests.eventstore.test_postgres import viewing
from tests.waiting import eventually

_KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN%' AND application_name = 'listener'"""


async def test_killed_again_and_again_while_others_write(dsn: str, admin: psycopg.Connection) -> None:
    """Nothing comes later than a look at the head does, and soon after the last kill it hears again."""
    async with opened(dsn) as here, opened(f"{dsn}?application_name=listener") as there, viewing(there) as view:
        delays, kills = [], 0
        for number in range(60):
            if number % 10 == 5:
                kills += len(admin.execute(_KILL).fetchall())
            place = await here.append(intent(number))
            committed = time.monotonic()
            assert await view.reached(place.last, 10)
            delays.append(time.monotonic() - committed)
            if number % 10 == 0:
                await eventually(lambda: there.proven, timeout=5, what="listening")
        assert kills >= 5
        assert max(delays) < 4 * UNPROVEN
        await eventually(lambda: there.proven, timeout=5, what="listening")


async def test_silence_is_noticed(dsn: str) -> None:
    """The network swallows what comes: the echo does not come back, and the log is looked at often until it does."""
    async with Proxy(dsn).serve() as proxy, opened(proxy.dsn) as log, viewing(log) as view:
        proxy.hold = True
        await eventually(lambda: view.stale_seconds > 1)
        proxy.hold = False
        await eventually(lambda: log.proven and view.stale_seconds < 1)


async def test_a_process_without_work_asks_little(dsn: str) -> None:
    """Less than one statement a second to follow the log, its proofs included."""
    async with Proxy(dsn).serve() as proxy, opened(proxy.dsn) as log, viewing(log):
        await eventually(lambda: log.proven)
        before, began = proxy.asked, time.monotonic()
        await eventually(lambda: proxy.asked - before > 7, timeout=30, what="seven looks and more")
        assert time.monotonic() - began > 4
