"""Two roles: the owner migrates; the processes' role does its work, and can change nothing that has happened."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest

from eventstore import migrate as module
from eventstore import rights
from eventstore.__main__ import main
from eventstore.beats import Beat, PostgresBeats
from eventstore.database import SESSION, Database
from eventstore.lease import PostgresLeases
from eventstore.log import LogUnavailable
from eventstore.members import PostgresMembers, Present
from eventstore.migrate import migrate
from eventstore.sessions import PostgresSessions, Session
from eventstore.vault import PostgresVault
from heroctl.domain.records import Member
from tests.eventstore.conftest import opened
from tests.eventstore.samples import intent, verified
from tests.waiting import eventually

LOG: Final = ("events", "head", "streams", "batches", "partitions", "floor")  # what only functions of the owner's write


@dataclass
class Roles:
    """An owner of the database and a role for the processes, neither a superuser."""

    owner: str
    application: str
    dsn: str

    def by(self, role: str) -> str:
        """The DSN of a role."""
        return self.dsn.replace("postgres@", f"{role}@")

    @property
    def owning(self) -> str:
        """The owner's DSN."""
        return self.by(self.owner)

    @property
    def own(self) -> str:
        """The processes' DSN."""
        return self.by(self.application)


@pytest.fixture
def roles(postgres_dsn: str) -> Iterator[Roles]:
    owner, application = (f"test_{uuid4().hex[:12]}" for _ in range(2))
    database = psycopg.conninfo.conninfo_to_dict(postgres_dsn)["dbname"]
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"""CREATE ROLE {owner} LOGIN; CREATE ROLE {application} LOGIN;
            ALTER DATABASE "{database}" OWNER TO {owner}""")
        yield Roles(owner, application, postgres_dsn)
        admin.execute(f"""REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}, {application};
            DROP ROLE {owner}; DROP ROLE {application}""")


@pytest.fixture
def made(roles: Roles) -> Roles:
    """A database migrated by its owner."""
    migrate(roles.owning, application=roles.application)
    return roles


async def test_the_application_may_do_its_work(made: Roles) -> None:
    await asyncio.to_thread(migrate, made.own)
    async with opened(made.own) as log:
        await log.append(intent(1, stream="a:1", seen=0))
        await eventually(lambda: log.proven)
        leases = PostgresLeases(log.database)
        assert await leases.take("me", 15) == 1
        await leases.release("me")
        members = PostgresMembers(log.database)
        await members.renew(Present(Member("a", "api", "x", "")))
        await members.leave("a")
        beats = PostgresBeats(log.database)
        await beats.write({"n1": Beat(1, 1)})
        await beats.forget(["n1"])
        vault = PostgresVault(log.database)
        await vault.delete([await vault.put("token", b"x")])
        sessions = PostgresSessions(log.database)
        await sessions.open(Session("s", "admin", "", 2e9))
        assert await sessions.rotate("s", 0)
        await sessions.revoke("s")
        await log.redraw((await log.head()).incarnation, "restored")
        await log.database.fetch("SELECT heroctl.prune_batches(9)")
        await verified(log)


def _attacks(made: Roles) -> list[str]:
    tables = [*LOG, "events_1", f"events_{2 * module.PARTITION + 1}", "_yoyo_migration"]
    changes = [f"DELETE FROM heroctl.{table}" for table in tables]
    changes += [f"TRUNCATE heroctl.{table}" for table in [*tables, "lease", "vault", "sessions"]]
    changes += [f"INSERT INTO heroctl.{table} SELECT * FROM heroctl.{table}" for table in tables]
    changes += [f"ALTER TABLE heroctl.{table} DISABLE TRIGGER ALL" for table in tables]
    changes += [f"DROP TABLE heroctl.{table} CASCADE" for table in tables]
    return [
        *changes,
        "UPDATE heroctl.events SET data = ''",
        "UPDATE heroctl.events_1 SET data = ''",
        "UPDATE heroctl.head SET epoch = 7",
        "UPDATE heroctl.streams SET last = 0",
        "UPDATE heroctl.vault SET bytes = ''",
        "DELETE FROM heroctl.lease",
        "SELECT * FROM heroctl.head FOR UPDATE",
        "DO $$ BEGIN LOCK TABLE heroctl.events; END $$",
        "MERGE INTO heroctl.head USING (SELECT 1) AS one ON true WHEN MATCHED THEN UPDATE SET epoch = 7",
        "COPY heroctl.streams FROM STDIN",
        "ALTER TABLE heroctl.events DETACH PARTITION heroctl.events_1",
        "CREATE TABLE heroctl.events_0 (LIKE heroctl.events)",
        "CREATE RULE gone AS ON INSERT TO heroctl.events DO INSTEAD NOTHING",
        "CREATE TRIGGER gone BEFORE INSERT ON heroctl.events_1 EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE FUNCTION heroctl.gone() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION heroctl.prune_batches(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION heroctl.prune_batches(bigint) SECURITY INVOKER",
        "SELECT heroctl.append_one(-1, 'x', 1, '')",
        "SET session_replication_role = replica",
        f"SET ROLE {made.owner}",
        f"GRANT {made.owner} TO {made.application}",
        "ALTER SCHEMA heroctl RENAME TO gone",
        "DROP SCHEMA heroctl CASCADE",
    ]


async def test_the_application_may_not_change_the_past(made: Roles) -> None:
    """Neither a row of the log, nor what guards it; in partitions made since, too."""
    async with opened(made.own) as log:
        await log.append(intent(1, stream="a:1", seen=0))
    with psycopg.connect(made.owning, autocommit=True) as owner:
        with psycopg.connect(made.own, autocommit=True) as application:
            application.execute("SELECT heroctl.make_partitions()")  # after whoever is at it still
            before = _past(owner)
            for attack in _attacks(made):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    application.execute(attack)
        assert _past(owner) == before


def _past(owner: psycopg.Connection) -> list[tuple[object, ...]]:
    return [row for table in LOG for row in owner.execute(f"SELECT * FROM heroctl.{table}").fetchall()]


async def test_partitions_made_by_the_application_are_not_its_own(made: Roles) -> None:
    async with opened(made.own, partition=10) as log:
        for number in range(40):
            await log.append(intent(*range(10 + number)))
    with psycopg.connect(made.own, autocommit=True) as application:
        newest = "SELECT 'events_' || max(first) FROM heroctl.partitions"
        [(table,)] = application.execute(newest).fetchall()
        for attack in (f"DELETE FROM heroctl.{table}", f"TRUNCATE heroctl.{table}", f"DROP TABLE heroctl.{table}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(attack)


def test_others_may_nothing(made: Roles) -> None:
    """Who connects to the same database finds no way in, not even a function."""
    stranger = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(made.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {stranger} LOGIN; GRANT USAGE ON SCHEMA heroctl TO {stranger}")
        try:
            with psycopg.connect(made.by(stranger), autocommit=True) as connection:
                for attempt in ("SELECT * FROM heroctl.vault", "SELECT heroctl.make_partitions()"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(attempt)
        finally:
            admin.execute(f"DROP OWNED BY {stranger}; DROP ROLE {stranger}")


def test_every_table_and_function_is_named_once(made: Roles) -> None:
    with psycopg.connect(made.owning) as owner:
        assert set(rights.there(owner, rights.TABLE)) == rights.TABLES.keys()
        assert set(rights.there(owner, rights.FUNCTION)) == rights.CALLED | rights.INTERNAL
    assert not rights.CALLED & rights.INTERNAL


def test_what_a_later_release_adds_is_granted_without_naming_the_role(
    made: Roles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in module._folder().iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "9999.later.sql").write_text("""
        CREATE TABLE heroctl.later (one integer); CREATE TABLE heroctl.hidden (one integer);
        CREATE FUNCTION heroctl.later() RETURNS integer LANGUAGE sql AS 'SELECT 1'""")
    monkeypatch.setattr(module, "_folder", lambda: tmp_path)
    monkeypatch.setitem(rights.TABLES, "later", "SELECT, INSERT")
    monkeypatch.setattr(rights, "CALLED", rights.CALLED | {"later"})
    with pytest.raises(LogUnavailable, match="run `python -m eventstore migrate` as its owner"):
        migrate(made.own)
    migrate(made.owning)
    with psycopg.connect(made.own, autocommit=True) as application:
        application.execute("INSERT INTO heroctl.later VALUES (1)")
        assert application.execute("SELECT heroctl.later()").fetchall() == [(1,)]
        for table in ("later", "hidden"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(f"DELETE FROM heroctl.{table}")


async def test_who_comes_while_the_owner_is_at_it_waits_for_the_rights_too(
    roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on, given = threading.Event(), threading.Event(), rights.grant

    def late(connection: psycopg.Connection, application: str = "") -> None:
        held.set()
        assert go_on.wait(30)
        given(connection, application)

    monkeypatch.setattr(rights, "grant", late)
    owner = asyncio.create_task(asyncio.to_thread(migrate, roles.owning, application=roles.application))
    assert await asyncio.to_thread(held.wait, 30)
    comer = asyncio.create_task(asyncio.to_thread(migrate, roles.own))
    with psycopg.connect(roles.dsn, autocommit=True) as admin:
        waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await eventually(lambda: comer.done() or admin.execute(waits).fetchall())
    assert not comer.done()
    go_on.set()
    await asyncio.gather(owner, comer)


def test_who_was_given_nothing_is_told_whom_to_ask(roles: Roles) -> None:
    migrate(roles.owning)
    with pytest.raises(LogUnavailable, match="run `python -m eventstore migrate` as its owner"):
        migrate(roles.own)


def test_a_grant_too_many_is_taken_back(made: Roles) -> None:
    with psycopg.connect(made.owning, autocommit=True) as owner:
        owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA heroctl TO {made.application}")
    migrate(made.owning, application=made.application)
    with psycopg.connect(made.own, autocommit=True) as application:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("DELETE FROM heroctl.events_1")
        application.execute("DELETE FROM heroctl.beats")


async def test_time_outs_stand_on_the_role(roles: Roles, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind a pooler a session cannot bring its own. Whose right does not reach so far says what is left to do."""
    command = ["migrate", "--application-role", roles.application, "--dsn"]
    assert await asyncio.to_thread(main, [*command, roles.owning]) == 0
    left = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ALTER ROLE")]
    assert len(left) == len(SESSION)
    with psycopg.connect(roles.dsn, autocommit=True) as admin:
        for statement in left:
            admin.execute(statement)
    assert await asyncio.to_thread(main, [*command, roles.owning]) == 0
    assert capsys.readouterr().err == ""
    async with Database(roles.own, direct=roles.own) as database:
        assert {name: (await database.fetch(f"SHOW {name}"))[0][0] for name in SESSION} == SESSION


def test_time_outs_are_set_by_who_may(roles: Roles) -> None:
    migrate(roles.owning)
    assert migrate(roles.dsn, application=roles.application) == []
    with psycopg.connect(roles.own) as application:
        assert application.execute("SHOW statement_timeout").fetchone() == ("5s",)


def test_a_role_that_is_not_there_is_named(roles: Roles, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--dsn", roles.owning, "--application-role", "nobody-here"]) == 1
    assert "nobody-here" in capsys.readouterr().err


def test_what_a_newer_release_made_is_left_as_it_is(made: Roles) -> None:
    """An old one that is started late, with or without a role, takes no right of which it does not know."""
    with psycopg.connect(made.owning, autocommit=True) as owner:
        owner.execute("CREATE FUNCTION heroctl.of_tomorrow() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        owner.execute(f"GRANT EXECUTE ON FUNCTION heroctl.of_tomorrow TO {made.application}")
        owner.execute("""INSERT INTO heroctl._yoyo_migration (migration_hash, migration_id, applied_at_utc)
            VALUES ('of tomorrow', '9999.of_tomorrow', now())""")
    migrate(made.own)
    migrate(made.owning, application=made.application)
    with psycopg.connect(made.own) as connection:
        assert connection.execute("SELECT heroctl.of_tomorrow()").fetchone() == (1,)
