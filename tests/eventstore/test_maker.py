"""Making snapshots, as the process that does it: made, killed, twice at once, and left undone where it must be."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from eventstore.database import Database
from eventstore.log import Append, Position
from eventstore.migrate import migrate
from eventstore.postgres import PostgresLog, open_log
from eventstore.shelf import PostgresShelf
from eventstore.snapshot import FORMAT
from eventstore.snapshots import Snapshots
from eventstore.tail import Tail
from eventstore.view import View, fold
from heroctl.domain.events import MemberJoined, Opaque
from heroctl.domain.state import State
from tests import servers
from tests.eventstore.conftest import elect
from tests.eventstore.samples import intent
from tests.waiting import until

SIZE = 20  # events in a partition


@pytest.fixture(scope="session")
def cut_small(postgres_server: str) -> Iterator[str]:
    """Name of a migrated database whose log has small partitions."""
    with servers.database(postgres_server) as dsn:
        migrate(dsn, partition=SIZE)
        yield dsn.rpartition("/")[2]


@pytest.fixture
def dsn(postgres_server: str, cut_small: str) -> Iterator[str]:
    """DSN of a copy of it."""
    with servers.database(postgres_server, cut_small) as dsn:
        yield dsn


@pytest.fixture
async def log(dsn: str) -> AsyncIterator[PostgresLog]:
    async with Database(dsn) as database, open_log(database, partition=SIZE) as log:
        yield log


@pytest.fixture
def admin(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, application_name="admin") as connection:
        yield connection


async def grow(log: PostgresLog, appends: int, each: int = 1) -> None:
    """Append members; the last of them stands at another place with every number."""
    epoch = await elect(log.database)
    for number in range(appends):
        events = tuple(MemberJoined(f"{number}-{n}", "api", "a") for n in range(each))
        await log.append(Append(events, epoch=epoch))


async def folded(log: PostgresLog, until: int) -> tuple[State, Position]:
    state, tail = State(), Tail(log)
    async for records in tail.pages(until):
        fold(state, records)
    return state, tail.position


def begin(dsn: str) -> subprocess.Popen[str]:
    """Begin the process."""
    command = [sys.executable, "-P", "-m", "eventstore", "snapshot"]
    return subprocess.Popen(
        command, env={**os.environ, "HEROCTL_DSN": dsn}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str], code: int = 0) -> list[dict[str, Any]]:
    """Wait for its end and give what it said."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, ""), out
    return [json.loads(line) for line in out.splitlines()]


def said(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


@contextlib.contextmanager
def held(admin: psycopg.Connection) -> Iterator[None]:
    """Let nobody write a row of a snapshot."""
    admin.execute("LOCK TABLE heroctl.snapshot_rows IN SHARE MODE")
    yield
    admin.rollback()


def _begun(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM heroctl.snapshots").fetchone()
    return int(row[0]) if row else 0


# ── made ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_makes_one_at_the_end_of_every_partition_that_has_passed(dsn: str, log: PostgresLog) -> None:
    await grow(log, 2 * SIZE)
    lines = end(begin(dsn))
    assert [line["index"] for line in said(lines, "snapshot_made")] == [SIZE, 2 * SIZE]
    snapshots = Snapshots(PostgresShelf(log.database), log)
    listed = await snapshots.listed()
    assert [(each.index, each.format) for each in listed] == [(2 * SIZE, FORMAT), (SIZE, FORMAT)]
    for index in (SIZE, 2 * SIZE):
        assert await snapshots.load(index) == await folded(log, index)
    assert said(end(begin(dsn)), "snapshot_made") == []


async def test_nothing_is_due_before_a_partition_has_passed(dsn: str, log: PostgresLog) -> None:
    await grow(log, SIZE - 4)
    assert end(begin(dsn)) == []


async def test_stands_at_the_end_of_the_append_that_straddles_the_boundary(dsn: str, log: PostgresLog) -> None:
    await grow(log, 5, each=7)  # 3..9, 10..16, 17..23
    [line] = said(end(begin(dsn)), "snapshot_made")
    assert line["index"] == 23
    found = await Snapshots(PostgresShelf(log.database), log).load()
    assert found == await folded(log, 23)


async def test_the_next_is_made_of_the_one_before(dsn: str, log: PostgresLog, admin: psycopg.Connection) -> None:
    """The log is not read twice: what lies before may even be gone."""
    await grow(log, SIZE)
    end(begin(dsn))
    expected = await folded(log, SIZE)
    await grow(log, SIZE)
    admin.execute("DELETE FROM heroctl.events WHERE index <= 19")
    admin.commit()
    lines = end(begin(dsn))
    assert [line["index"] for line in said(lines, "snapshot_made")] == [2 * SIZE]
    assert [line["index"] for line in said(lines, "snapshot_loaded")] == [SIZE]
    found = await Snapshots(PostgresShelf(log.database), log).load()
    assert found is not None
    assert found[0].members.keys() >= expected[0].members.keys()


async def test_a_view_begins_with_it(dsn: str, log: PostgresLog) -> None:
    await grow(log, SIZE + 5)
    end(begin(dsn))
    plain, view = View(log), View(log, Snapshots(PostgresShelf(log.database), log))
    await plain.catch_up()
    await view.catch_up()
    assert view.state == plain.state


# ── left undone, and done again ──────────────────────────────────────────────────────────────────────────────────────


async def test_killed_in_the_middle_it_leaves_nothing_that_counts(
    dsn: str, log: PostgresLog, admin: psycopg.Connection
) -> None:
    await grow(log, SIZE)
    snapshots = Snapshots(PostgresShelf(log.database), log)
    with held(admin):
        process = begin(dsn)
        until(lambda: _begun(dsn), timeout=30)
        process.kill()
        process.communicate(timeout=10)
    assert await snapshots.listed() == []
    assert await snapshots.due() == [SIZE]
    until(lambda: said(end(begin(dsn)), "snapshot_made"), timeout=30)  # its lock goes with its connection
    assert [each.index for each in await snapshots.listed()] == [SIZE]
    assert _begun(dsn) == 2, "somebody may want to look at it"
    admin.execute("UPDATE heroctl.snapshots SET made_at = made_at - interval '25 hours'")
    admin.commit()
    end(begin(dsn))
    assert _begun(dsn) == 1


async def test_there_is_one_at_a_time(dsn: str, log: PostgresLog, admin: psycopg.Connection) -> None:
    await grow(log, SIZE)
    with held(admin):
        first = begin(dsn)
        until(lambda: _begun(dsn), timeout=30)
        assert [line["event"] for line in end(begin(dsn))] == ["snapshot_busy"]
    assert len(said(end(first), "snapshot_made")) == 1
    assert _begun(dsn) == 1


async def test_a_database_that_does_not_take_it_is_told_of(
    dsn: str, log: PostgresLog, admin: psycopg.Connection
) -> None:
    await grow(log, SIZE)
    admin.execute("ALTER TABLE heroctl.snapshot_rows ADD CHECK (number < 0) NOT VALID")
    admin.commit()
    [line] = end(begin(dsn), code=1)
    assert (line["event"], line["level"], line["error"]) == ("snapshot_failed", "error", "CheckViolation")


async def test_an_event_that_cannot_be_folded_is_never_left_out(dsn: str, log: PostgresLog) -> None:
    """What this release does not know a newer one will fold; until then there is no snapshot."""
    await log.append(Append((Opaque("job.sung", 1, b"{}"),)))
    await grow(log, SIZE)
    lines = end(begin(dsn), code=1)
    assert "event 2 cannot be folded" in said(lines, "snapshot_failed")[0]["reason"]
    assert _begun(dsn) == 0


async def test_a_broken_chain_is_told_of(dsn: str, log: PostgresLog, admin: psycopg.Connection) -> None:
    await log.append(intent(1))
    await grow(log, SIZE)
    admin.execute("UPDATE heroctl.events SET time = time + 1 WHERE index = 2")
    admin.commit()
    [line] = said(end(begin(dsn), code=1), "snapshot_failed")
    assert line["error"] == "OtherHistory"


async def test_a_refused_one_is_made_again(dsn: str, log: PostgresLog, admin: psycopg.Connection) -> None:
    await grow(log, SIZE)
    end(begin(dsn))
    admin.execute("UPDATE heroctl.snapshot_rows SET data = set_byte(data, 50, (get_byte(data, 50) + 1) % 256)")
    admin.commit()
    snapshots = Snapshots(PostgresShelf(log.database), log)
    assert await snapshots.load() is None
    assert await snapshots.due() == [SIZE]
    assert said(end(begin(dsn)), "snapshot_made")
    assert await snapshots.load() == await folded(log, SIZE)


async def test_one_of_another_history_does_not_stand_for_it(
    dsn: str, log: PostgresLog, admin: psycopg.Connection
) -> None:
    """At the same index, from a backup: nobody could begin from it, and retention would wait for one for ever."""
    await grow(log, 2 * SIZE)
    end(begin(dsn))
    admin.execute("UPDATE heroctl.snapshots SET chain = sha256(chain) WHERE index = %s", [SIZE])
    admin.commit()
    assert await Snapshots(PostgresShelf(log.database), log).due() == [SIZE]
    assert [line["index"] for line in said(end(begin(dsn)), "snapshot_made")] == [SIZE]
    assert await Snapshots(PostgresShelf(log.database), log).due() == []


async def test_what_the_log_does_not_reach_back_to_is_passed_over(
    dsn: str, log: PostgresLog, admin: psycopg.Connection
) -> None:
    """Its partition's end is there, what leads to it is not; the partitions after it get theirs all the same."""
    await grow(log, SIZE)
    end(begin(dsn))
    await grow(log, SIZE)
    await grow(log, SIZE)
    end(begin(dsn))
    admin.execute("UPDATE heroctl.snapshots SET refused = 'by hand' WHERE index < 60")
    admin.execute("UPDATE heroctl.floor SET index = 20, chain = (SELECT chain FROM heroctl.events WHERE index = 20)")
    admin.commit()
    await grow(log, SIZE)
    lines = end(begin(dsn))
    assert [line["index"] for line in said(lines, "snapshot_impossible")] == [20, 40]
    assert [line["index"] for line in said(lines, "snapshot_made")] == [80]
