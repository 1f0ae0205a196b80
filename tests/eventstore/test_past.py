"""Where a moment lies, and the state there: the same over every store."""

from __future__ import annotations

import itertools
import random

import pytest

from eventstore.log import Append, Log, OtherHistory, Position
from eventstore.memory import MemoryLog
from eventstore.past import Outside, Past, find
from heroctl.domain.events import NodeRegistered, Record
from heroctl.domain.evolve import evolve
from heroctl.domain.moment import At, Instant
from heroctl.domain.state import State
from tests.eventstore.samples import everything

SIZES = (1, 1, 3, 1, 200, 1, 7, 90, 1, 1)  # events of each append: some begin farther back than a look reaches


def joined(number: int) -> NodeRegistered:
    """An event that leaves a trace in the state."""
    return NodeRegistered(f"id{number}", f"n{number}", "", "")


async def fill(log: Log) -> list[Record]:
    """Make appends of many sizes; give all that is in the log then."""
    numbers = itertools.count()
    for size in SIZES:
        await log.append(Append(tuple(joined(next(numbers)) for _ in range(size))))
    return await everything(log)


async def test_an_index_is_rounded_down_to_a_whole_append(log: Log) -> None:
    records = await fill(log)
    ends = [record.index for record in records if record.index == record.last]
    for record in records:
        place = await find(log, At(record.index), 0)
        assert place.index == max(end for end in ends if end <= record.index)
        assert place.time == records[place.index - 1].time


async def test_what_the_log_does_not_reach_is_outside(log: Log) -> None:
    head = (await fill(log))[-1]
    for wanted in (At(0), At(head.index + 1), Instant(-1), Instant(head.time + 60_001)):
        with pytest.raises(Outside) as outside:
            await find(log, wanted, head.time + 60_000)
        assert outside.value.compacted is None
    assert (await find(log, Instant(head.time + 60_000), head.time + 60_000)).index == head.index


async def test_a_time_finds_the_last_append_at_or_before_it() -> None:
    """However many share a time, and however large they are."""
    chance, now = random.Random(7), [1000]
    log = MemoryLog(lambda: now[0])
    for _ in range(60):
        now[0] += chance.choice((0, 0, 5, 400))
        await log.append(Append(tuple(joined(n) for n in range(chance.choice((1, 1, 4, 80))))))
    records = await everything(log)
    for ms in range(1000, now[0] + 1, 3):
        expected = max(record.index for record in records if record.time <= ms)
        assert (await find(log, Instant(ms), now[0])).index == expected
    log.compact(500)
    floor = log.floor
    first = next(record.time for record in records if record.index > floor)
    for ms in range(1000, now[0] + 1, 7):
        if ms >= first:
            expected = max(record.index for record in records if record.time <= ms)
            assert (await find(log, Instant(ms), now[0])).index == expected
        else:
            with pytest.raises(Outside) as outside:
                await find(log, Instant(ms), now[0])
            assert outside.value.compacted == floor


async def test_a_state_stands_where_it_is_sent_forth_and_back(log: Log) -> None:
    records = await fill(log)
    ends = [record.index for record in records if record.index == record.last]
    past, chance = Past(log), random.Random(3)
    for index in [*ends, *chance.choices(ends, k=12)]:
        expected = State()
        for record in records[:index]:
            evolve(expected, record)
        assert await past.go(index) == expected


async def test_from_a_snapshot_only_what_follows_is_read() -> None:
    """It is the only way where the log's beginning has gone."""
    log = MemoryLog()
    records = await fill(log)
    log.compact(220)
    floor = log.floor
    state = State()
    for record in records[:floor]:
        evolve(state, record)
    asked: list[int] = []

    async def load(at_most: int) -> tuple[State, Position] | None:
        asked.append(at_most)
        fresh = State()
        for record in records[:floor]:
            evolve(fresh, record)
        return fresh, Position(floor, chain)

    chain = await _chain_at(floor)
    past = Past(log, load)
    assert (await past.go(floor)) == state
    assert (await past.go(records[-1].index)).index == records[-1].index
    assert (await past.go(floor)) == state
    assert asked == [floor, floor]


async def _chain_at(index: int) -> bytes:
    """The same log, whole."""
    log = MemoryLog()
    await fill(log)
    return log._rows[index - 1][7] or b""


async def test_another_history_is_not_folded_on() -> None:
    log = MemoryLog()
    await fill(log)
    past = Past(log)
    await past.go(2)
    log._rows[2] = (*log._rows[2][:6], b"{}", log._rows[2][7])
    with pytest.raises(OtherHistory):
        await past.go(3)
    assert (await past.go(2)).index == 2
