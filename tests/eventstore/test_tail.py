"""The tail: to the end or to a place, in pages that fit into memory, and from no place that another history had."""

from __future__ import annotations

import pytest

from eventstore.log import Append, Position
from eventstore.memory import MemoryLog
from eventstore.postgres import PostgresLog
from eventstore.tail import Tail, continues
from heroctl.domain.events import JobStopped
from tests.eventstore.samples import intent, verified

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
