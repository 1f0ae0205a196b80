"""What keeps a deposed coordinator from writing: the epoch on the head row. And a take-over is whole or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import psycopg
import pytest
from psycopg import AsyncConnection

from eventstore.database import Database
from eventstore.lease import PostgresLeases
from eventstore.log import Append, Fenced, LogUnavailable
from heroctl.domain.events import CoordinatorElected, JobStopped, encode
from tests.eventstore.conftest import opened
from tests.eventstore.samples import everything
from tests.waiting import eventually

# ── the fence ────────────────────────────────────────────────────────────────────────────────────────────────────────

_LOCK = "SELECT * INTO STRICT v_head FROM head FOR UPDATE;"
# As natural, and read by the very statement that locks the head: but a row that it does not lock is as it was before it
# waited.
_FROM_LEASE = """
    SELECT l.epoch INTO STRICT r_epoch FROM head h, lease l FOR UPDATE OF h;
    SELECT * INTO STRICT v_head FROM head;
    v_head.epoch := r_epoch;"""


def keep_epoch_on_lease(admin: psycopg.Connection) -> None:
    """Break the append on purpose: it compares with the epoch on the lease's row."""
    [(source,)] = admin.execute("SELECT pg_get_functiondef('heroctl.append'::regproc)").fetchall()
    assert source.count(_LOCK) == 1
    admin.execute(source.replace(_LOCK, _FROM_LEASE))


async def race(dsn: str, admin: psycopg.Connection) -> BaseException | object:
    """Let a decision wait behind the take-over that makes it void; return what became of it."""
    async with opened(dsn) as log:
        leases = PostgresLeases(log.database)
        epoch = await leases.take("deposed", 0.0)
        assert epoch == 1
        with admin.transaction():
            admin.execute("SELECT FROM heroctl.head FOR UPDATE")
            electing = asyncio.ensure_future(leases.take("other", 15.0))
            await eventually(partial(_waits, dsn, "heroctl.elect"))
            deciding = asyncio.ensure_future(log.append(decision_under(epoch)))
            await eventually(partial(_waits, dsn, "heroctl.append"))
        assert await electing == epoch + 1
        [answer] = await asyncio.gather(deciding, return_exceptions=True)
        return answer


def decision_under(epoch: int) -> Append:
    return Append((JobStopped(1, "default", "decided"),), epoch=epoch)


def _waits(dsn: str, what: str) -> bool:
    query = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s"
    )
    with psycopg.connect(dsn) as connection:
        return connection.execute(query, [f"SELECT%{what}%"]).fetchone() is not None


async def test_a_decision_that_waited_through_a_take_over_is_fenced(dsn: str, admin: psycopg.Connection) -> None:
    answer = await race(dsn, admin)
    assert isinstance(answer, Fenced)
    assert answer.epoch == 2


async def test_an_epoch_on_the_leases_row_fences_nothing(dsn: str, admin: psycopg.Connection) -> None:
    """The control: the same race, and a decision of the deposed one stands after the election of the other."""
    keep_epoch_on_lease(admin)
    answer = await race(dsn, admin)
    assert not isinstance(answer, BaseException)
    async with opened(dsn) as log:
        events = [record.event for record in await everything(log, 1)]
    assert events[-2:] == [CoordinatorElected("other", 2), JobStopped(1, "default", "decided")]


# ── the take-over ────────────────────────────────────────────────────────────────────────────────────────────────────

_STANDING = """
    SELECT h.epoch, l.epoch, l.holder,
        (SELECT e.data FROM heroctl.events e WHERE e.tag = 'coordinator.elected' ORDER BY e.index DESC LIMIT 1)
    FROM heroctl.head h, heroctl.lease l"""
_TAKERS, _TURNS = 6, 25
Take = Callable[[Database, str], Awaitable[object]]


async def whole(database: Database, holder: str) -> None:
    """Take over as processes do, for no time, so that the next one may."""
    await PostgresLeases(database).take(holder, 0.0)


async def piecemeal(database: Database, holder: str) -> None:
    """Take over step by step: the control."""
    async with await database.connect() as connection:
        cursor = await connection.execute("UPDATE heroctl.head SET epoch = epoch + 1 RETURNING epoch")
        [(epoch,)] = await cursor.fetchall()
        await connection.execute("UPDATE heroctl.lease SET holder = %s, epoch = %s", [holder, epoch])
        event = encode(CoordinatorElected(holder, epoch))
        await connection.execute("SELECT heroctl.append_one(%s, %s, %s::integer, %s)", [epoch, *event])


async def contended(dsn: str, admin: psycopg.Connection, take: Take) -> list[str]:
    """Let many take over again and again while backends are killed; return each time that the three disagreed."""
    wrong: list[str] = []
    chance = random.Random(4)

    async def candidate(number: int) -> None:
        async with Database(dsn) as database:
            for turn in range(_TURNS):
                with contextlib.suppress(LogUnavailable, psycopg.Error):
                    await take(database, f"r{number}-{turn}")

    async def watch() -> None:
        async with await AsyncConnection.connect(dsn, autocommit=True, application_name="watch") as connection:
            while not taking.done():
                row = await (await connection.execute(_STANDING)).fetchone()
                assert row is not None
                wrong.extend(_disagreement(*row))

    async def kill() -> None:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'heroctl' AND pid = %s"
        while not taking.done():
            pids = admin.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'heroctl'"
            ).fetchall()
            if pids:
                admin.execute(query, chance.choice(pids))
            await asyncio.wait([taking], timeout=0.01)

    taking = asyncio.gather(*(candidate(number) for number in range(_TAKERS)))
    await asyncio.gather(taking, watch(), kill())
    return wrong


def _disagreement(head: int, lease: int, holder: str, elected: bytes | None) -> list[str]:
    if elected is None:
        return [] if (head, lease) == (0, 0) else [f"head {head}, lease {lease}, and nobody was elected"]
    event = msgspec.json.decode(elected)
    told = (event["epoch"], event["holder"])
    return [] if (head, holder) == told and lease == head else [f"head {head}, lease {lease} {holder}, log {told}"]


async def test_lease_epoch_and_event_agree_at_every_moment(dsn: str, admin: psycopg.Connection) -> None:
    """Whoever takes over, and whoever is killed in the middle of it."""
    assert await contended(dsn, admin, whole) == []
    async with opened(dsn) as log:
        told = [record.event for record in await everything(log, 1)]
        epochs = [event.epoch for event in told if isinstance(event, CoordinatorElected)]
        assert epochs == list(range(1, len(epochs) + 1))
        assert len(epochs) > _TURNS
        assert (await log.head()).epoch == epochs[-1]


async def test_a_take_over_in_steps_is_seen_half_done(dsn: str, admin: psycopg.Connection) -> None:
    """The control."""
    assert await contended(dsn, admin, piecemeal) != []


@pytest.mark.parametrize("by", ["", "old"])
async def test_killed_before_its_last_step_it_leaves_nothing(dsn: str, admin: psycopg.Connection, by: str) -> None:
    """A take-over and a transfer alike: lease and epoch are written by then."""
    async with Database(dsn) as database:
        leases = PostgresLeases(database)
        await leases.take("old", 60.0 if by else 0.0)
        before = admin.execute(_STANDING).fetchone()
        admin.execute("""
            CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_sleep(60); RETURN new; END $$;
            CREATE TRIGGER linger BEFORE INSERT ON heroctl.events_1 FOR EACH ROW EXECUTE FUNCTION linger()""")
        taking = asyncio.ensure_future(leases.take("new", 60.0, by))
        kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'PgSleep'"""
        await eventually(lambda: admin.execute(kill).fetchall())
        with pytest.raises(LogUnavailable):
            await taking
        assert admin.execute(_STANDING).fetchone() == before
        admin.execute("DROP TRIGGER linger ON heroctl.events_1")
        assert await leases.take("new", 60.0, by) == 2
