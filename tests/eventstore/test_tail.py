"""The tail: to the end or to a place, in pages that fit into memory, and from no place that another history had."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import tail as tails
from eventstore.log import PAGE, Append, Position, Row
from eventstore.memory import MemoryLog
from eventstore.postgres import PostgresLog
from eventstore.tail import Tail, continues
from heroctl.domain.events import JobStopped
from tests.eventstore.samples import intent, verified
from tests.eventstore.test_view import following, joined
from tests.waiting import eventually

_LARGE = 16 << 20  # bytes of a page


@pytest.mark.parametrize(("until", "end"), [(1, 1), (2, 4), (4, 4), (5, 5), (6, 9), (9, 9), (99, 9)])
async def test_stops_where_the_append_ends_that_holds_a_place(until: int, end: int) -> None:
    log = MemoryLog()
    for append in (intent(1, 2, 3), intent(4), intent(5, 6, 7, 8)):
        await log.append(append)
    tail = Tail(log)
    assert [record.index async for records in tail.pages(until) for record in records] == list(range(1, end + 1))
    assert tail.position.index == end
    assert await continues(log, tail.position)


async def test_continues_only_from_where_an_append_of_its_own_ended() -> None:
    log = MemoryLog()
    await log.append(intent(1, 2, 3))
    end = await verified(log)
    assert not await continues(log, Position(3, end.chain)), "in the middle of an append"
    assert not await continues(log, Position(4, bytes(32))), "another chain"
    assert not await continues(log, Position(5, end.chain)), "beyond the end"
    await log.append(intent(4))
    log.compact(4)
    assert await continues(log, end)
    assert not await continues(log, Position(4, bytes(32)))
    assert not await continues(log, Position(3, end.chain)), "what followed is gone"


class Counting(MemoryLog):
    """Counts how often it is asked for events."""

    asked = 0

    async def page(self, after: int, events: int = PAGE) -> list[Row]:
        """See Log.page."""
        self.asked += 1
        return await super().page(after, events)


async def read(log: MemoryLog) -> Tail:
    tail = Tail(log)
    async for _ in tail.pages():
        pass
    return tail


async def test_the_log_passed_where_its_appends_ended_and_nowhere_else() -> None:
    log = Counting()
    ends = [Position(1, (await log.head()).chain)]
    for number in range(2, 8, 2):
        await log.append(intent(number, number + 1))
        ends.append(Position(number + 1, (await log.head()).chain))
    tail = await read(log)
    before = log.asked
    assert all([await tail.passed(end) for end in ends])
    assert not await tail.passed(Position(5, ends[0].chain)), "another chain"
    assert log.asked == before, "all that was read lately is remembered"
    fresh = Tail(log, ends[2])
    assert await fresh.passed(ends[2])
    assert not await fresh.passed(Position(5, bytes(32)))
    assert log.asked == before
    assert [await fresh.passed(end) for end in ends] == [True] * 4, "beyond what it has read, too"
    assert not await fresh.passed(Position(4, ends[1].chain)), "in the middle of an append"
    assert not await fresh.passed(Position(8, ends[3].chain)), "beyond the end"
    assert log.asked > before
    log.compact(5)
    assert await fresh.passed(Position(3, bytes(32))), "who knows"


async def test_what_was_read_longest_ago_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "_ENDS", 3)
    log = Counting()
    ends = [Position(1, (await log.head()).chain)]
    tail = await read(log)
    for number in range(2, 9):
        await log.append(intent(number))
        ends.append(Position(number, (await log.head()).chain))
        async for _ in tail.pages():
            pass
    before = log.asked
    assert all([await tail.passed(end) for end in ends[-3:]])
    assert log.asked == before
    assert all([await tail.passed(end) for end in ends[:-3]])
    assert log.asked == before + 5


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.data())
def test_a_copy_passed_what_was_told_before_it_was_made_and_nothing_after(
    sizes: list[int], data: st.DataObject
) -> None:
    """However far it has gone on since, and whoever reads it from wherever."""

    async def tell() -> None:
        log, number = MemoryLog(), 10
        told = [Position(1, (await log.head()).chain)]
        for size in sizes:
            await log.append(intent(*range(number, number + size)))
            told.append(await verified(log))
            number += size
        copied = data.draw(st.integers(0, len(sizes)))
        log.lose(told[copied].index)
        for size in data.draw(st.lists(st.integers(1, 3), max_size=9)):
            number += 1_000
            await log.append(intent(*range(number, number + size)))
        begin = data.draw(st.sampled_from(told[: copied + 1]))
        for tail in (Tail(log), Tail(log, begin), await read(log)):
            assert [await tail.passed(one) for one in told] == [index <= copied for index in range(len(told))]

    asyncio.run(tell())


async def test_one_event_is_looked_up_in_postgres(postgres: PostgresLog) -> None:
    await postgres.append(intent(1, 2, 3))
    end = await verified(postgres)
    await postgres.append(intent(4))
    fresh = Tail(postgres)
    assert await fresh.passed(end)
    assert not await fresh.passed(Position(end.index, bytes(32)))
    assert not await fresh.passed(Position(end.index - 1, end.chain))
    assert not await fresh.passed(Position(2**62, end.chain))


async def test_large_events_come_in_short_pages(postgres: PostgresLog) -> None:
    """A megabyte each, as a job's spec may be: five thousand of them at once would be no page."""
    text = "x" * (1 << 20)
    for number in range(40):
        await postgres.append(Append((JobStopped(number, "default", text),)))
    pages, after = [], 0
    while rows := await postgres.page(after):
        after = rows[-1][0]
        pages.append(sum(len(row[6]) for row in rows))
    assert after == (await postgres.head()).index == 41
    assert len(pages) == 3
    assert all(_LARGE <= page < _LARGE + (2 << 20) for page in pages[:-1])
    await verified(postgres)


async def test_what_rings_once_is_read_once() -> None:
    class Counted(MemoryLog):
        reads = 0

        async def page(self, after: int, events: int = PAGE) -> list[Row]:
            self.reads += 1
            return await super().page(after, events)

    log = Counted()
    async with following(log) as view:
        await eventually(lambda: view.started)
        before = log.reads
        for n in range(3):
            place = await log.append(joined(f"m{n}"))
            assert await view.reached(place.last)
        await asyncio.sleep(0)
        assert log.reads == before + 3, "nobody asks again whether there is more"
