"""Another password by whoever can reach the database: for who is locked out."""

from __future__ import annotations

import asyncio
import io
import sys

import psycopg
import pytest

from eventstore import passwords
from eventstore.__main__ import main
from eventstore.log import Append
from eventstore.vault import PostgresVault
from heroctl.domain.events import Record, UserCreated, UserPasswordChanged
from heroctl.domain.intents.change import claim_stream
from tests.eventstore.conftest import opened
from tests.eventstore.samples import everything, verified

CHOSEN = "correct horse battery"


@pytest.fixture
async def database(dsn: str) -> str:
    """The DSN of a log with a user admin."""
    async with opened(dsn) as log:
        row = await PostgresVault(log.database).put("password", passwords.hashed("what it was"))
        await log.append(Append((UserCreated("admin", ("admin",), row),), (claim_stream("user", "admin"),)))
    return dsn


async def reset(dsn: str, *words: str) -> int:
    """Run the command, in a thread: it makes an event loop of its own."""
    return await asyncio.to_thread(main, ["reset-password", "--dsn", dsn, *words])


async def last(dsn: str) -> tuple[Record, bytes | None]:
    """The last event, and what is kept under its credential."""
    async with opened(dsn) as log:
        await verified(log)
        record = (await everything(log))[-1]
        assert isinstance(record.event, UserPasswordChanged | UserCreated)
        return record, await PostgresVault(log.database).get(record.event.credential)


async def test_a_password_is_made_shown_once_and_kept_as_a_hash(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await reset(database) == 0
    out, err = capsys.readouterr()
    password = out.strip()
    assert len(password) >= 20
    assert err.endswith("user admin has a new password; it is shown this once. All of its logins are over\n")
    record, kept = await last(database)
    assert isinstance(record.event, UserPasswordChanged)
    assert (record.event.name, record.event.session, record.meta.actor) == ("admin", "", "server")
    assert kept is not None
    assert passwords.fits(kept, password)
    assert not passwords.fits(kept, "what it was")


async def test_a_password_is_read_from_stdin(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{CHOSEN}\n"))
    assert await reset(database, "--password-stdin", "--user", "admin") == 0
    assert CHOSEN not in "".join(capsys.readouterr())
    _, kept = await last(database)
    assert kept is not None
    assert passwords.fits(kept, CHOSEN)


async def test_nobody_and_a_short_password_are_refused_and_nothing_changes(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await last(database)
    monkeypatch.setattr(sys, "stdin", io.StringIO("short\n"))
    assert await reset(database, "--user", "nobody") == 1
    assert "user 'nobody' does not exist" in capsys.readouterr().err
    assert await reset(database, "--password-stdin") == 1
    assert "a password has 12 to 256 characters" in capsys.readouterr().err
    assert await last(database) == before
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM heroctl.vault").fetchall() == [(1,)]


async def test_a_password_is_never_taken_from_the_command_line(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await reset(database, "--password", CHOSEN) == 2
    assert CHOSEN not in capsys.readouterr().err


async def test_of_many_at_once_each_is_done(database: str) -> None:
    assert await asyncio.gather(*(reset(database) for _ in range(3))) == [0, 0, 0]
    async with opened(database) as log:
        changed = [each for each in await everything(log) if isinstance(each.event, UserPasswordChanged)]
    assert len(changed) == 3


async def test_a_database_that_is_away_is_told() -> None:
    assert await reset("postgresql://127.0.0.1:1/x") == 1
