"""The embedded Postgres survives every way to end it, and nobody else gets in."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from heroctl.dev import child as module
from heroctl.dev.child import Child
from heroctl.dev.folder import Folder
from heroctl.dev.postgres import Postgres
from heroctl.dev.processes import inside
from heroctl.dev.screen import Screen
from tests.waiting import eventually, until


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A place that another account may be let through to: every run of pytest shuts the way to its own ones anew."""
    with tempfile.TemporaryDirectory(prefix="heroctl-dev-test-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def folder(place: Path) -> Folder:
    return Folder(place / "dev")


@asynccontextmanager
async def server(folder: Folder) -> AsyncIterator[tuple[Postgres, Child]]:
    postgres = Postgres(folder, Screen())
    postgres.prepare()
    child = Child("postgres", postgres.recipe(), Screen(), folder.room("logs"))
    child.start()
    await child.until_ready(60)
    try:
        yield postgres, child
    finally:
        await child.stop(10)


async def test_it_is_durable_and_on_a_private_socket_only(folder: Folder) -> None:
    async with server(folder) as (postgres, child):
        with psycopg.connect(postgres.dsn) as connection:
            for name, value in (("fsync", "on"), ("synchronous_commit", "on"), ("listen_addresses", "")):
                assert connection.execute(f"SHOW {name}").fetchone() == (value,)
            assert connection.info.server_version // 10_000 == 18
        with psycopg.connect(postgres.owning) as owner:
            owner.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS one; GRANT SELECT ON kept TO heroctl")
        assert stat.S_IMODE((folder.place / "run").stat().st_mode) == 0o700
        assert await child.stop(10)
    assert inside(folder.place / "postgres") == []


async def test_our_processes_own_nothing(folder: Folder) -> None:
    """What dev mode runs could not change the past either, as in production."""
    async with server(folder) as (postgres, _):
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            for forbidden in ("CREATE SCHEMA mine", "CREATE TABLE public.mine (one int)", "SET ROLE heroctl_owner"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(forbidden)


async def test_a_killed_server_recovers_by_itself(folder: Folder) -> None:
    async with server(folder) as (postgres, child):
        first = child.pid
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: child.pid != first, timeout=20)
        await child.until_ready(60)
        with psycopg.connect(postgres.dsn) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


async def test_a_server_left_running_is_ended_before_the_next_begins(folder: Folder) -> None:
    async with server(folder) as (_, child):
        earlier = child.pid
        child.settle()
        Postgres(folder, Screen()).prepare()
        assert earlier not in {one.pid for one in inside(folder.place / "postgres")}
        await eventually(lambda: child.pid != earlier, timeout=20)
        await child.until_ready(60)


async def test_what_a_killed_postmaster_left_is_ended_and_a_stale_pid_file_is_no_obstacle(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (60.0,))
    data = folder.place / "postgres"
    async with server(folder) as (_, child):
        stopped = [one.pid for one in inside(data) if one.pid != child.pid]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)  # or they would notice, and go
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: not child.runs)
    assert {one.pid for one in inside(data)} == set(stopped)
    assert (data / "postmaster.pid").exists()
    async with server(folder) as (postgres, _):
        with psycopg.connect(postgres.dsn) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    until(lambda: not inside(data))


async def test_data_half_made_is_made_anew(place: Path) -> None:
    folder = Folder(place / "half")
    half = folder.room("postgres.new")
    (half / "PG_VERSION").write_text("18")
    async with server(folder) as (postgres, _):
        psycopg.connect(postgres.dsn).close()
    assert not half.exists()
