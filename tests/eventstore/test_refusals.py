"""One contract for refusals, in memory and in Postgres."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from eventstore.database import Database
from eventstore.refusals import END, LIFE, MemoryRefusals, PostgresRefusals, Refusals, Refused, Wanted


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Refusals]:
    """A place for refusals, with room for ten of each kind."""
    if request.param == "memory":
        yield MemoryRefusals(time.time, most=10)
        return
    async with Database(request.getfixturevalue("dsn")) as database:
        yield PostgresRefusals(database, most=10)


def refused(actor: str = "user:a", *, known: bool = True, job: str = "web", tried: str = "") -> Refused:
    return Refused(
        actor, "192.0.2.1", "req_1", "POST", "/v1/jobs", "/v1/jobs", 403, "forbidden", tried, "shop", job, known
    )


async def test_the_same_is_one_row_with_a_count(store: Refusals) -> None:
    began = int(time.time() * 1000) - 1000
    await store.note([refused(), refused("user:b")], 1)
    await store.note([refused()], 1)
    await store.note([refused()], 2)
    rows = await store.page(Wanted(), END, 100)
    assert (rows[0].actor, rows[0].count) == ("user:a", 1)
    assert sorted((row.actor, row.count) for row in rows[1:]) == [("user:a", 2), ("user:b", 1)]
    assert all(began <= row.first <= row.last < began + 60_000 for row in rows)
    assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)


async def test_each_filter_finds_its_own(store: Refusals) -> None:
    await store.note([refused(), refused("user:b", job="db")], 1)
    for wanted in (Wanted(actor="user:b"), Wanted(job="db"), Wanted(actor="user:b", namespace="shop", job="db")):
        assert [row.job for row in await store.page(wanted, END, 100)] == ["db"]
    assert len(await store.page(Wanted(request_id="req_1", address="192.0.2.1"), END, 100)) == 2
    assert await store.page(Wanted(namespace="default"), END, 100) == []
    now = int(time.time() * 1000)
    assert await store.page(Wanted(since=now + 60_000), END, 100) == []
    assert await store.page(Wanted(until=now - 60_000), END, 100) == []


async def test_pages_go_back(store: Refusals) -> None:
    await store.note([refused(f"user:{number}") for number in range(8)], 1)
    first = await store.page(Wanted(), END, 3)
    assert len(first) == 3
    rest = await store.page(Wanted(), first[-1].id, 100)
    assert len({row.actor for row in first + rest}) == 8


async def test_strangers_do_not_push_out_what_insiders_did(store: Refusals) -> None:
    await store.note([refused(f"user:{number}") for number in range(10)], 1)
    for batch in range(20):
        strangers = (refused("anonymous", known=False, tried=f"name-{batch}-{number}") for number in range(5))
        await store.note(list(strangers), 1)
    rows = await store.page(Wanted(), END, 1000)
    assert sum(row.known for row in rows) == 10
    assert sum(not row.known for row in rows) == 10
    assert {row.tried for row in rows if not row.known} >= {f"name-19-{number}" for number in range(5)}


async def test_none_is_kept_for_longer_than_thirty_days(dsn: str, admin: psycopg.Connection) -> None:
    async with Database(dsn) as database:
        store = PostgresRefusals(database)
        await store.note([refused()], 1)
        admin.execute("UPDATE heroctl.refusals SET first = first - %s", [LIFE * 1000 + 1])
        await store.note([refused("user:b")], 1)
        assert [row.actor for row in await store.page(Wanted(), END, 10)] == ["user:b"]
