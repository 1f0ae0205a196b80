"""The tables: plans that stay good, partitions ahead of the head, migrations by many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from eventstore.__main__ import main
from eventstore.beats import Beat, PostgresBeats
from eventstore.lease import PostgresLeases
from eventstore.members import PostgresMembers, Present
from eventstore.migrate import migrate
from eventstore.vault import PostgresVault
from heroctl.domain.records import Member
from tests.eventstore.conftest import opened
from tests.eventstore.samples import everything, intent, key, verified
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
            await log.append(intent(number, stream=f"a:{number}", seen=0, under=key(str(number))))
    admin.execute("ANALYZE")
    before = _scanned(admin)
    async with opened(dsn) as log:
        for round_ in range(20):
            appends = (intent(n, stream=f"b:{round_}/{n}", seen=0, under=key(f"{round_}/{n}")) for n in range(50))
            await asyncio.gather(*map(log.append, appends))
    written = "SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE relname LIKE 'events%'"
    await eventually(lambda: _one(admin, written) >= 1_020, what="statistics of the ended backends")
    scanned = _scanned(admin) - before
    assert scanned < 100 if guarded else scanned > 1_000


def _scanned(admin: psycopg.Connection) -> int:
    query = """SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables
        WHERE schemaname = 'heroctl' AND (relname IN ('streams', 'batches', 'keys') OR relname LIKE 'events%')"""
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
        await log.database.fetch("SELECT heroctl.prune_batches(9)")
        assert await log.database.fetch("SELECT count(*) FROM heroctl.batches") == [(1,)]


async def test_many_old_batches_are_forgotten_some_at_a_time(
    dsn: str, admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there came to be: what takes longer than a statement may would never end."""
    admin.execute("""
        INSERT INTO heroctl.batches SELECT gen_random_uuid(), now() - interval '11 minutes', '{}', '{}', '{}'
        FROM generate_series(1, 25)""")
    assert admin.execute("SELECT heroctl.prune_batches(3)").fetchall() == [(3,)]
    monkeypatch.setattr("eventstore.postgres._FORGOTTEN", 10)
    async with opened(dsn):
        await eventually(lambda: _one(admin, "SELECT count(*) FROM heroctl.batches WHERE at < now()") <= 1)


async def test_keys_are_forgotten_after_a_day(
    dsn: str, admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, some at a time, by whoever does the housekeeping."""
    async with opened(dsn) as log:
        await asyncio.gather(*(log.append(intent(n, under=key(f"old-{n}"))) for n in range(25)))
        await log.append(intent(2, under=key("new")))
    admin.execute("UPDATE heroctl.keys SET at = at - 86400000 WHERE first < 27")
    assert admin.execute("SELECT heroctl.prune_keys(3)").fetchall() == [(3,)]
    monkeypatch.setattr("eventstore.postgres._FORGOTTEN", 10)
    async with opened(dsn) as log:
        await eventually(lambda: _one(admin, "SELECT count(*) FROM heroctl.keys") == 1)
        assert await log.recall(key("new"))


@pytest.fixture
def roles(dsn: str, admin: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """An owner of the database and a role for the application, neither a superuser."""
    owner, application = (f"test_{uuid4().hex[:12]}" for _ in range(2))
    database = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    admin.execute(f"""CREATE ROLE {owner} LOGIN; CREATE ROLE {application} LOGIN;
        ALTER DATABASE "{database}" OWNER TO {owner}""")
    yield owner, application
    admin.execute(f"""REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}, {application};
        DROP ROLE {owner}; DROP ROLE {application}""")


async def test_application_may_do_its_work_and_not_change_the_past(
    dsn: str, admin: psycopg.Connection, roles: tuple[str, str]
) -> None:
    """The owner migrates, without being a superuser; the processes' role appends, elects and makes partitions."""
    owner, application = roles
    admin.execute("DROP SCHEMA heroctl CASCADE")
    await asyncio.to_thread(migrate, dsn.replace("postgres@", f"{owner}@"), application=application)
    own = dsn.replace("postgres@", f"{application}@")
    await asyncio.to_thread(migrate, own)
    async with opened(own) as log:
        await log.append(intent(1, stream="a:1", seen=0, under=key("k")))
        assert (await log.append(intent(1, under=key("k")))).replayed
        assert await log.recall(key("k"))
        assert await log.database.fetch("SELECT heroctl.prune_keys(9)") == [(0,)]
        await eventually(lambda: log.proven)
        assert await PostgresLeases(log.database).take("me", 15) == 1
        await PostgresMembers(log.database).renew(Present(Member("a", "api", "x", "")))
        await PostgresBeats(log.database).write({"n1": Beat(1, 1)})
        vault = PostgresVault(log.database)
        await vault.delete([await vault.put("token", b"x")])
        await log.redraw((await log.head()).incarnation, "restored")
        await verified(log)
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute("SELECT heroctl.make_partitions()")
        tables = ("events", "events_1", "head", "streams", "batches", "keys", "partitions")
        changes = [f"DELETE FROM heroctl.{table}" for table in tables]
        for change in (*changes, "UPDATE heroctl.events SET data = ''", "UPDATE heroctl.head SET epoch = 7"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(change)


def test_commands(dsn: str, admin: psycopg.Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """`migrate` may be repeated; `verify` sees a single changed byte."""
    assert main(["migrate", "--dsn", dsn]) == 0
    assert main(["verify", "--dsn", dsn]) == 0
    assert '"ok":true' in capsys.readouterr().out
    admin.execute("UPDATE heroctl.events SET meta = '{ }'")
    assert main(["verify", "--dsn", dsn]) == 1
    assert '"ok":false' in capsys.readouterr().out
    assert main(["verify"]) == main(["dance"]) == 2
    assert main(["--help"]) == 0
