"""The past: where in the log a moment lies, and the state as it was there.

A moment is rounded down to the end of a whole append: what was true together is seen together, or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from eventstore import codec
from eventstore.log import MAX_EVENTS, PAGE, Compacted, Head, Log, OtherHistory, Position, Row
from eventstore.view import fold
from heroctl.domain.moment import At, Instant
from heroctl.domain.state import State

FAR: Final = 100_000  # events from which on a snapshot is looked for, rather than folding on
_NEAR: Final = 64  # events within which nearly every append begins
# Gives the nearest state at or before an index, and where it stands; None: there is none but the log's beginning.
Load = Callable[[int], Awaitable[tuple[State, Position] | None]]


class Place(Struct, frozen=True):
    """The end of an append, and its time in ms; None: that event is not kept any more, only the state after it."""

    index: int
    time: int | None


class Outside(Exception):  # noqa: N818 - an answer: ask for another moment
    """The log does not reach there. `compacted`: it did once; now it begins after that index."""

    def __init__(self, message: str, *, compacted: int | None = None) -> None:
        """Say where the log begins, or ends."""
        super().__init__(message)
        self.compacted = compacted


# ── where a moment lies ──────────────────────────────────────────────────────────────────────────────────────────────


async def find(log: Log, wanted: At | Instant, now: int) -> Place:
    """Find the last whole append at or before a moment; `now` in ms. Raises Outside, and LogUnavailable."""
    head = await log.head()
    try:
        if isinstance(wanted, At):
            return await _by_index(log, wanted.index, head)
        return await _by_time(log, wanted.ms, head, now)
    except Compacted as gone:
        if isinstance(wanted, At) and wanted.index == gone.floor:
            return Place(gone.floor, None)
        raise _compacted(gone.floor) from None


def _compacted(floor: int) -> Outside:
    return Outside(f"what was before index {floor} is not kept any more: that is the oldest", compacted=floor)


async def _by_index(log: Log, index: int, head: Head) -> Place:
    if index < 1:
        raise Outside("the log begins at index 1")
    if index > head.index:
        raise Outside(f"the log ends at index {head.index}")
    row = (await log.page(index - 1, 1))[0]
    if row[1] == index:
        return Place(index, row[2])
    for back in (_NEAR, MAX_EVENTS):
        rows, floor = await _kept(log, index - 1 - back, back)
        ends = [each for each in rows if each[0] == each[1] < index]
        if ends:
            return Place(ends[-1][0], ends[-1][2])
        if floor:
            return Place(floor, None)
    raise AssertionError(f"no append ends within {MAX_EVENTS} events before {index}")


async def _kept(log: Log, after: int, events: int) -> tuple[list[Row], int]:
    """Read so many events after an index, or from where the kept log begins, which is given, too: 0: at its start."""
    try:
        return await log.page(max(after, 0), events), 0
    except Compacted as gone:
        return await log.page(gone.floor, events), gone.floor


async def _by_time(log: Log, ms: int, head: Head, now: int) -> Place:
    if ms > max(now, head.time):
        raise Outside("that time has not come yet")
    if ms >= head.time:
        return Place(head.index, head.time)
    [first, *_], floor = await _kept(log, 0, 1)
    if ms < first[2]:
        raise _compacted(floor) if floor else Outside("the log begins after that time")
    low, high, time = first[1], head.index, first[2]
    while low < high:
        middle = (low + high + 1) // 2
        row = (await log.page(middle - 1, 1))[0]
        if row[2] <= ms:
            low, time = row[1], row[2]
        else:
            high = middle - 1
    return Place(low, time)


# ── the state as it was ──────────────────────────────────────────────────────────────────────────────────────────────


async def from_the_start(_at_most: int) -> None:
    """Begin where the log begins."""


class Past:
    """A state that stands at one place of a log, and is moved to another.

    Forward by folding on, with number and hash of every append proven; backward from what `load` gives.
    """

    def __init__(self, log: Log, load: Load = from_the_start) -> None:
        self._log = log
        self._load = load
        self._state = State()
        self._position = Position()

    async def go(self, index: int) -> State:
        """Stand at the end of an append; the state is good until the next call.

        Raises Compacted where the log does not reach back so far, OtherHistory where it is not what it was, and
        LogUnavailable.
        """
        here = self._position.index
        if not here <= index <= here + FAR:
            await self._load_nearer(index)
        try:
            while self._position.index < index:
                await self._on(index)
        except OtherHistory:
            self._state, self._position = State(), Position()
            raise
        return self._state

    async def _on(self, index: int) -> None:
        """Fold another page, up to an index."""
        try:
            rows = await self._log.page(self._position.index, PAGE)
        except Compacted:
            if not await self._load_nearer(index):
                raise
            return
        wanted = [row for row in rows if row[0] <= index]
        if not wanted:
            raise OtherHistory(f"the log ends at {self._position.index}, and {index} was read")
        position = codec.verify(wanted, self._position)
        fold(self._state, codec.records(wanted))
        self._position = position

    async def _load_nearer(self, index: int) -> bool:
        """Begin anew where that is nearer, or the only way back."""
        here = self._position.index
        state, position = await self._load(index) or (State(), Position())
        nearer = here > index or position.index > here
        if nearer:
            self._state, self._position = state, position
        return nearer
