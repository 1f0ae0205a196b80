"""The tables: plans that stay good, partitions ahead of the head, migrations by many at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from eventstore.migrate import migrate
from tests.eventstore.conftest import opened
from tests.eventstore.samples import everything, intent, verified
from tests.waiting import eventually


@pytest.mark.parametrize("guarded", [True, False])
async def test_plans_made_on_tiny_tables_stay_good(dsn: str, admin: psycopg.Connection, *, guarded: bool) -> None:
    """No sequential scan, though the plans are made on 20 analysed rows and kept. Unguarded, there are: the control."""
    if not guarded:
        admin.execute("""
            DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s RESET enable_seqscan', oid::regprocedure)
            FROM pg_proc WHERE proname = 'append' AND pronamespace = 'heroctl'::regnamespace); END $$""")
        dsn += "?options=-c%20enable_seqscan%3Don"
    async with opened(dsn) as log:
        for number in range(20):
            await log.append(intent(number, stream=f"a:{number}", seen=0))
    admin.execute("ANALYZE")
    before = _scanned(admin)
    async with opened(dsn) as log:
        for round_ in range(20):
            await asyncio.gather(*(log.append(intent(n, stream=f"b:{round_}/{n}", seen=0)) for n in range(50)))
    written = "SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE relname LIKE 'events%'"
    await eventually(lambda: _one(admin, written) >= 1_020, what="statistics of the ended backends")
    scanned = _scanned(admin) - before
    assert scanned < 100 if guarded else scanned > 1_000


def _scanned(admin: psycopg.Connection) -> int:
    query = """SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables
        WHERE schemaname = 'heroctl' AND (relname IN ('streams', 'batches') OR relname LIKE 'events%')"""
    return _one(admin, query)


async def test_partitions_are_made_ahead(dsn: str, admin: psycopg.Connection) -> None:
    """The log runs through small partitions without ever meeting the end of one, and two whole ones lie ahead."""
    admin.execute("""
        DELETE FROM heroctl.partitions WHERE first > 1; UPDATE heroctl.partitions SET stop = 101;
        DROP TABLE heroctl.events_1000001, heroctl.events_2000001;
        ALTER TABLE heroctl.events DETACH PARTITION heroctl.events_1;
        ALTER TABLE heroctl.events ATTACH PARTITION heroctl.events_1 FOR VALUES FROM (1) TO (101)""")
    async with opened(dsn, partition=100) as log:
        ahead = "SELECT count(*) FROM heroctl.partitions, heroctl.head WHERE first > head.index"
        for number in range(60):
            await eventually(lambda: _one(admin, ahead) >= 2)
            await log.append(intent(*range(1 + number % 20)))
        index = (await verified(log)).index
        assert len(await everything(log)) == index > 600
    assert _one(admin, "SELECT count(*) FROM heroctl.partitions") <= index // 100 + 4


def _one(admin: psycopg.Connection, query: str) -> int:
    [(value,)] = admin.execute(query).fetchall()
    return int(value)


async def test_partitions_are_made_beside_an_open_reader(dsn: str, admin: psycopg.Connection) -> None:
    """Neither the making nor the writers wait for somebody who reads, and any number may make at once."""
    with psycopg.connect(dsn) as reader:
        reader.execute("SELECT * FROM heroctl.events")

        def make(_: int) -> int:
            with psycopg.connect(dsn, autocommit=True) as connection:
                [(due,)] = connection.execute("SELECT heroctl.make_partitions(10)").fetchall()
                return int(due)

        admin.execute("UPDATE heroctl.head SET index = 1400000")
        with ThreadPoolExecutor(4) as threads:
            assert set(await asyncio.to_thread(lambda: list(threads.map(make, range(4))))) == {1_500_001}
    assert _one(admin, "SELECT max(stop) FROM heroctl.partitions") == 3_000_011


def test_any_number_of_processes_migrate_at_once(postgres_dsn: str) -> None:
    """One log comes of it, with one first event; and doing it again changes nothing."""
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(migrate, [postgres_dsn] * 6))
    everything_ = "SELECT index, data, (SELECT count(*) FROM heroctl.partitions) FROM heroctl.events"
    with psycopg.connect(postgres_dsn) as connection:
        first = connection.execute(everything_).fetchall()
        migrate(postgres_dsn)
        assert connection.execute(everything_).fetchall() == first
    assert [(index, partitions) for index, _, partitions in first] == [(1, 3)]


async def test_old_batches_are_forgotten(dsn: str, admin: psycopg.Connection) -> None:
    async with opened(dsn) as log:
        await log.append(intent(1))
        admin.execute("UPDATE heroctl.batches SET at = at - interval '11 minutes'")
        await log.append(intent(2))
        assert await log.database.fetch("SELECT heroctl.prune_batches()") == [(2,)]
        assert await log.database.fetch("SELECT count(*) FROM heroctl.batches") == [(1,)]
