"""Retention beside a transaction that stays open for a minute, and backup after backup: no append waits for either."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable

import psycopg
import pytest

from eventstore.log import LogUnavailable
from eventstore.partitions import Held, Partitions
from eventstore.postgres import PostgresLog
from tests import servers
from tests.eventstore.samples import intent, verified
from tests.eventstore.small import SIZE, dropping, reading, small_log
from tests.torture.conftest import Witness
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)
FAST = 0.1  # seconds that an append may take
USUAL = 60  # seconds
AHEAD = 20_000  # events in each new partition, so that the making keeps up with appends that never pause


def test_appends_never_wait(rounds: Callable[[int], int], witness: Witness) -> None:
    with witness("partitions made and dropped beside an open transaction and pg_dump", "postgres") as run:
        with servers.postgres() as server, run.round():
            took, dumps, dropped = asyncio.run(beside_readers(server, rounds(USUAL)))
        print(f"slowest of all appends: {took * 1000:.1f} ms; {dumps} backups, {dropped} partitions dropped")
        run.outcome = f"held: slowest append {took * 1000:.0f} ms beside {dumps} backups"
        assert took < FAST
        assert dumps > 0
        assert dropped > 1


@pytest.mark.parametrize("statement", ["DROP TABLE heroctl.events_1", "CREATE TABLE x PARTITION OF heroctl.events {}"])
def test_the_usual_statements_stall_them(witness: Witness, statement: str) -> None:
    with witness(f"control: {statement.split(maxsplit=1)[0]} of a partition in the usual way", "postgres") as run:
        with servers.postgres() as server, run.round():
            took = asyncio.run(in_the_usual_way(server, statement.format("FOR VALUES FROM (1000000) TO (2000000)")))
        run.outcome = f"caught: an append of {took * 1000:.0f} ms"
        assert took > 5 * FAST


async def beside_readers(server: servers.Postgres, seconds: float) -> tuple[float, int, int]:
    """Return the slowest append in seconds, the backups that were made, the partitions that went."""
    dsn = server.dsn()
    async with small_log(dsn, fill=20 * SIZE) as log:
        await log.database.fetch("SELECT heroctl.make_partitions(%b)", [AHEAD])
        partitions, ending = dropping(log), asyncio.Event()
        appending = asyncio.ensure_future(slowest(log, ending))
        dumping = asyncio.ensure_future(dumps(server, ending))
        working = asyncio.ensure_future(work(log, partitions, ending))
        with reading(dsn) as reader:
            end = time.monotonic() + seconds
            await eventually(lambda: time.monotonic() > end or appending.done(), timeout=seconds + 30)
            reader.execute("SELECT count(*) FROM heroctl.events")
        before = await dropping(log).listed()
        await eventually(lambda: shorter(partitions, len(before)), timeout=60, what="dropping once the reader has gone")
        ending.set()
        took, made, gone = await asyncio.gather(appending, dumping, working)
        await verified(log, await partitions.floor())
        return took, made, gone


async def shorter(partitions: Partitions, than: int) -> bool:
    return len(await partitions.listed()) < than - 1 and not await partitions.below()


async def slowest(log: PostgresLog, ending: asyncio.Event) -> float:
    took = 0.0
    while not ending.is_set():
        began = time.perf_counter()
        await log.append(intent(1))
        took = max(took, time.perf_counter() - began)
    return took


async def work(log: PostgresLog, partitions: Partitions, ending: asyncio.Event) -> int:
    """Make and drop without a pause; what is held up is tried again."""
    gone = 0
    while not ending.is_set():
        with contextlib.suppress(LogUnavailable):
            await log.database.fetch("SELECT heroctl.make_partitions(%b)", [AHEAD])
        with contextlib.suppress(Held):
            below = await partitions.below()
            for table in below:
                await partitions.drop(table)
            gone += len(below)
            oldest = (await partitions.listed())[0]
            if not below and oldest.end is not None:
                await partitions.give_up(oldest, 0)
    return gone


async def dumps(server: servers.Postgres, ending: asyncio.Event) -> int:
    """Make one backup after the other. One that began while a table went may fail: that is a backup's own race."""
    made = 0
    assert server._binaries is not None
    command = [str(server._binaries / "pg_dump"), "--schema=heroctl", "--format=plain", server.dsn()]
    while not ending.is_set():
        dump = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        _, said = await dump.communicate()
        made += dump.returncode == 0
        assert dump.returncode == 0 or b"does not exist" in said or b"could not open relation" in said, said
    return made


async def in_the_usual_way(server: servers.Postgres, statement: str) -> float:
    """Return the slowest append while a statement waits for an open reader."""
    dsn = server.dsn()
    async with small_log(dsn, fill=5 * SIZE) as log:
        await log.database.fetch("SELECT heroctl.make_partitions(%b)", [AHEAD])
        ending = asyncio.Event()
        appending = asyncio.ensure_future(slowest(log, ending))

        def change() -> None:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("SET lock_timeout = '1s'")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    connection.execute(statement)

        with reading(dsn):
            await asyncio.to_thread(change)
        ending.set()
        return await appending
