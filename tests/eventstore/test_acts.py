"""One contract for acts, in memory and in Postgres: what somebody did, newest first, found with bounded work."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from eventstore import acts as module
from eventstore.acts import BULK, END, NO_ACTS, Acts, MemoryActs, PostgresActs, Wanted
from eventstore.log import Append, Log
from eventstore.postgres import PostgresLog
from heroctl.domain.assignment import Report
from heroctl.domain.events import EVENTS, AllocReported, Event, JobBlocked, JobStopped, Meta, UserCreated
from tests.eventstore.conftest import Store, opened


@pytest.fixture
def acts(store: Store) -> Acts:
    """The acts of the store's log."""
    return PostgresActs(store.log.database) if isinstance(store.log, PostgresLog) else MemoryActs(store.log)


async def act(log: Log, *events: Event, actor: str = "user:a", request: str = "r1", address: str = "192.0.2.1") -> int:
    return (await log.append(Append(events, meta=Meta(actor, request, address)))).last


def stopped(job: str = "web", namespace: str = "default") -> JobStopped:
    return JobStopped(1, namespace, job)


async def indexes(acts: Acts, before: int = END, limit: int = 100, after: int = 0, **wanted: Any) -> list[int]:  # noqa: ANN401 - see Wanted
    found = await acts.page(Wanted(**wanted), before, limit, after=after)
    return [record.index for _, record in found.acts]


async def test_acts_alone_and_the_newest_first(acts: Acts, log: Log, store: Store) -> None:
    first = await act(log, stopped())
    epoch = await store.elect()
    await log.append(Append((JobBlocked(1, "default", "web"),), epoch=epoch))
    await act(log, AllocReported("n1", Report("a1", 1, "running")), actor="node:n1")
    second = await act(log, stopped(), UserCreated("b", (), "row"))
    assert await indexes(acts) == [second, second - 1, first, 1]
    assert await acts.newest() == second
    await act(log, AllocReported("n1", Report("a1", 1, "running")), actor="node:n1")
    assert await acts.newest() == second


async def test_each_filter_finds_its_own(acts: Acts, log: Log) -> None:
    mine = await act(log, stopped("web", "shop"), actor='user:"é', request="r2", address="2001:db8::1")
    await act(log, stopped("web-2"), actor="user:ab")
    other = await act(log, UserCreated("web", (), "row"), actor="user:ac")
    for word, value in {
        "actor": 'user:"é',
        "request_id": "r2",
        "address": "2001:db8::1",
        "namespace": "shop",
        "job": "web",
    }.items():
        assert await indexes(acts, **dict[str, Any]({word: value})) == [mine], word
    assert await indexes(acts, type="user.created") == [other]
    assert await indexes(acts, type="user.*") == [other]
    assert await indexes(acts, type="user.create") == []
    assert await indexes(acts, actor="user:ab", job="web") == []
    assert await indexes(acts, actor='x" OR 1=1', request_id="%", job="_") == []


async def test_pages_leave_nothing_out_and_say_nothing_twice(
    acts: Acts, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few acts a page may look through, and however few it may give."""
    made = [await act(log, stopped(f"job-{number % 3}"), actor=f"user:{number % 2}") for number in range(60)]
    for scan, limit, wanted in ((7, 5, Wanted()), (7, 5, Wanted(job="job-1")), (100, 5, Wanted(actor="user:1"))):
        monkeypatch.setattr(module, "SCAN", scan)
        seen, before, rounds = list[int](), END, 0
        while True:
            found = await acts.page(wanted, before, limit)
            seen += [record.index for _, record in found.acts]
            assert len(found.acts) <= limit
            assert found.beyond < before
            if found.done:
                break
            before, rounds = found.beyond + 1, rounds + 1
            assert rounds < 100
        expected = [
            index
            for number, index in enumerate(made)
            if wanted.job in ("", f"job-{number % 3}") and wanted.actor in ("", f"user:{number % 2}")
        ]
        assert seen == [*reversed(expected), *([1] if wanted == Wanted() else [])]


async def test_from_an_index_to_an_index(acts: Acts, log: Log) -> None:
    made = [await act(log, stopped()) for _ in range(5)]
    assert await indexes(acts, before=made[3], after=made[0]) == [made[2], made[1]]


async def test_large_acts_come_few_at_a_time(postgres: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", 1000)
    acts = PostgresActs(postgres.database)
    made = [await act(postgres, stopped("x" * 600)) for _ in range(6)]
    found = await acts.page(Wanted(type="job.*"), END, 100)
    assert [record.index for _, record in found.acts] == [made[5], made[4]]
    assert (found.done, found.beyond) == (False, made[4] - 1)


async def test_the_index_serves_and_holds_acts_alone(dsn: str, admin: psycopg.Connection) -> None:
    """Among thousands of reports the acts are found without reading those; appends still find their partition's."""
    async with opened(dsn) as log:
        await act(log, stopped())
        for _ in range(20):
            await act(log, *(AllocReported("n1", Report(f"a{n}", 1, "running")) for n in range(500)), actor="node:n1")
        admin.execute("VACUUM ANALYZE")
        acts = PostgresActs(log.database)
        await acts.page(Wanted(), END, 10)
    query = (
        "SELECT index FROM heroctl.events WHERE " + module._INDEXED + " AND index < 9999999 ORDER BY index DESC LIMIT 5"
    )
    plan = "\n".join(line for (line,) in admin.execute("EXPLAIN (ANALYZE, BUFFERS) " + query))
    assert "events_1_index" in plan, plan
    assert "Rows Removed" not in plan, plan


def test_no_act_is_left_out_of_the_index() -> None:
    """What is in masses is named, and none of it is an act: a tag that is forgotten is in the index all the same."""
    assert set(BULK) <= set(NO_ACTS)
    assert {tag for tag, kind in EVENTS.items() if kind.WRITER == "intent"}.isdisjoint(NO_ACTS)
