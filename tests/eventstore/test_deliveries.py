"""One contract for deliveries, in memory and in Postgres: rows and cursor move together, under the epoch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

import pytest

from eventstore.cursors import Cursors, MemoryCursors, PostgresCursors
from eventstore.database import Database
from eventstore.deliveries import CURSOR, Again, Attempt, Deliveries, New, PostgresDeliveries, Waiting
from eventstore.lease import Leases, MemoryLeases, PostgresLeases
from eventstore.memory import MemoryLog
from eventstore.memory_deliveries import MemoryDeliveries

NOW: Final = 1_790_000_000_000


class Store(NamedTuple):
    """The rows, and the cursor that they come by."""

    rows: Deliveries
    cursors: Cursors
    elect: Callable[[], Awaitable[int]]


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        log, cursors = MemoryLog(), MemoryCursors()
        yield Store(MemoryDeliveries(lambda: log.epoch, cursors), cursors, _elects(MemoryLeases(log)))
        return
    async with Database(request.getfixturevalue("dsn")) as database:
        yield Store(PostgresDeliveries(database), PostgresCursors(database), _elects(PostgresLeases(database)))


def _elects(leases: Leases) -> Callable[[], Awaitable[int]]:
    async def elect() -> int:
        epoch = await leases.take("holder", 15.0)
        assert epoch is not None
        return epoch

    return elect


def new(index: int, webhook: str = "w1", identity: str = "") -> New:
    return New(webhook, index, identity or f"evt_a_{index}", "job.deployed", b"{}", b'{"n":\0}', NOW - 1)


def failed(due: int, state: str = "pending") -> Attempt:
    return Attempt(state, due, NOW, 12, 500, "it said \0 no", b"sorry\xff")  # type: ignore[arg-type] # one of them


async def test_rows_come_with_the_cursor_or_not_at_all(store: Store) -> None:
    rows, cursors, elect = store
    epoch = await elect()
    await cursors.begin(CURSOR, 4)
    assert await rows.enqueue(epoch, 4, 7, NOW, new=[new(6), new(7), new(7, "w2")])
    assert await cursors.listed() == {CURSOR: 7}
    assert not await rows.enqueue(epoch, 4, 9, NOW, new=[new(9)]), "it has moved"
    assert not await rows.enqueue(epoch + 1, 7, 9, NOW, new=[new(9)]), "another epoch"
    later = await elect()
    assert not await rows.enqueue(epoch, 7, 9, NOW, new=[new(9)]), "an epoch that is over"
    assert await cursors.listed() == {CURSOR: 7}
    assert await rows.pending() == {"w1": Waiting(2, NOW - 1), "w2": Waiting(1, NOW - 1)}
    assert await rows.enqueue(later, 7, 9, NOW, new=[new(9)])
    assert [row.index for row in await rows.first("w1", 10)] == [6, 7, 9]
    assert [row.index for row in await rows.first("w1", 2)] == [6, 7]
    [only] = await rows.first("w2", 10)
    assert (only.id, only.body, only.at, only.state, only.due) == ("evt_a_7", b'{"n":\0}', NOW - 1, "pending", NOW)


async def filled(store: Store, *indexes: int) -> int:
    epoch = await store.elect()
    await store.cursors.begin(CURSOR, 0)
    assert await store.rows.enqueue(epoch, 0, 100, NOW, new=[new(index) for index in indexes])
    return epoch


async def test_what_was_tried_waits_for_its_time_and_holds_nothing_back(store: Store) -> None:
    await filled(store, 1, 2, 3)
    one, two, _ = await store.rows.first("w1", 10)
    await store.rows.settle(one, failed(NOW + 9))
    await store.rows.settle(two, failed(NOW + 5))
    assert [row.index for row in await store.rows.first("w1", 10)] == [3]
    again = await store.rows.due("w1", 10)
    assert [(row.index, row.due, row.tried, row.attempts) for row in again] == [(2, NOW + 5, 1, 1), (1, NOW + 9, 1, 1)]
    assert (again[0].status, again[0].took, again[0].last_at) == (500, 12, NOW)
    assert (again[0].error, again[0].answer) == ("it said \0 no", b"sorry\xff")
    await store.rows.settle(again[0], Attempt("delivered", NOW, NOW, 3, 204))
    assert [row.index for row in await store.rows.due("w1", 10)] == [1]
    done = await store.rows.found("w1", 2)
    assert done is not None
    assert (done.state, done.attempts, done.status, done.error) == ("delivered", 2, 204, "")
    await store.rows.settle(again[0], failed(NOW + 99))
    assert await store.rows.found("w1", 2) == done, "what is over stays over, whoever comes late"


async def test_what_is_over_can_be_told_again(store: Store) -> None:
    epoch = await filled(store, 1, 2, 3)
    one, two, _ = await store.rows.first("w1", 10)
    await store.rows.settle(one, Attempt("delivered", NOW, NOW, 3, 204))
    await store.rows.settle(two, failed(NOW, "failed"))
    some, all_ = Again("w1", 1, 3, failed_only=True), Again("w1", 1, 3, failed_only=False)
    assert (await store.rows.over(some), await store.rows.over(all_)) == (1, 2)
    assert await store.rows.over(Again("w2", 1, 3, failed_only=False)) == 0
    assert await store.rows.enqueue(epoch, 100, 101, NOW + 1, again=[some])
    assert [row.index for row in await store.rows.first("w1", 10)] == [2, 3]
    assert await store.rows.enqueue(epoch, 101, 102, NOW + 2, again=[all_])
    first = await store.rows.first("w1", 10)
    assert [(row.index, row.attempts, row.due) for row in first] == [(1, 1, NOW + 2), (2, 1, NOW + 1), (3, 0, NOW)]


async def test_another_history_takes_the_place_of_a_row(store: Store) -> None:
    epoch = await filled(store, 1, 2)
    for row in await store.rows.first("w1", 10):
        await store.rows.settle(row, Attempt("delivered", NOW, NOW, 3, 204))
    assert await store.rows.enqueue(epoch, 100, 101, NOW, new=[new(1), new(2, identity="evt_b_2")])
    assert [row.id for row in await store.rows.first("w1", 10)] == ["evt_b_2"], "the same event is told once"


async def test_rows_are_listed_the_newest_first_and_forgotten(store: Store) -> None:
    await filled(store, 1, 2, 3, 4)
    one, two, three, _ = await store.rows.first("w1", 10)
    await store.rows.settle(one, failed(NOW, "failed"))
    await store.rows.settle(two, Attempt("delivered", NOW + 10, NOW + 10, 3, 204))
    await store.rows.drop(three, "nobody may read it", NOW + 10)
    assert [row.index for row in await store.rows.listed("w1", 2)] == [4, 3]
    assert [row.index for row in await store.rows.listed("w1", 9, before=3)] == [2, 1]
    assert [(row.index, row.error) for row in await store.rows.listed("w1", 9, state="dropped")] == [
        (3, "nobody may read it")
    ]
    await store.rows.prune(["w1"], NOW + 5)
    assert [row.index for row in await store.rows.listed("w1", 9)] == [4, 3, 2]
    await store.rows.prune([], NOW)
    assert await store.rows.listed("w1", 9) == []


async def test_as_many_rows_are_forgotten_as_there_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.deliveries._PRUNED", 2)
    await filled(store, *range(1, 8))
    await store.rows.prune([], NOW)
    assert await store.rows.listed("w1", 9) == []
