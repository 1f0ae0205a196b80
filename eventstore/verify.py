"""The proof of a log: that nobody has changed, removed, moved or added an event.

`Check` follows rows from a place on and names by index what is not as it must be: numbers without a gap, whole appends,
the chain of hashes, times that never go back. After a fault it goes on from the hash that stands there, so that it can
tell how much is wrong and from where on all is sound again. `Proof` runs it over a source: against the head row, the
streams' versions and the snapshots, of which each knows a place that the chain must pass through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from eventstore import codec
from eventstore.log import Position, Row

STRIDE: Final = 100_000  # events between lines of progress
MOST_FAULTS: Final = 100  # that are told one by one; all are counted

Marks = Mapping[int, tuple[bytes, str]]  # places that the chain must pass through: their hash, and who says so


class Fault(Struct, frozen=True):
    """Something that is not as it must be. It is one of the events `index`..`last`, which are one append's."""

    index: int
    last: int
    code: str  # missing, changed, torn, reversed, head, beyond, cut, mark, snapshot
    problem: str


class Progress(Struct, frozen=True, tag_field="line", tag="progress"):
    """How far a check is."""

    checked: int
    head: int
    faults: int


class Found(Struct, frozen=True, tag_field="line", tag="fault"):
    """A fault, told as soon as it is found."""

    index: int
    last: int
    code: str
    problem: str


class Verdict(Struct, frozen=True, tag_field="line", tag="verdict", omit_defaults=True):
    """How a check ended. `index`: of the first fault, or the log's end where there is none."""

    ok: bool
    index: int
    first: int
    head: int
    events: int
    appends: int
    chain: str
    last: int = 0  # the first fault lies in `index`..`last`
    code: str = ""
    problem: str = ""
    faults: int = 0
    failed_appends: int = 0
    sound_after: int | None = None  # all that comes after this index follows from it
    marks: int = 0  # snapshots, or ends of exports, that the chain passes through
    incarnation: str = ""


Line = Progress | Found | Verdict


# ── one pass ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Check:
    """Follows rows, in the order of their index, from the place `start` on; its `faults` are told by `take`."""

    def __init__(self, start: Position, marks: Marks | None = None) -> None:
        self.end = start
        self.time = 0
        self.events = 0
        self.appends = 0
        self.failed = 0  # appends
        self.faults = 0
        self.worst: Fault | None = None  # the first
        self.sound_after: int | None = None
        self.marked = 0
        self._marks = dict(marks or {})
        self._body: list[Row] = []
        self._torn = False
        # The chains that the next append may continue; none: what stood before it is gone.
        self._chains: tuple[bytes, ...] = (start.chain,)
        self._seen(start)

    def take(self, rows: Sequence[Row]) -> Iterator[Fault]:
        """Judge more rows."""
        for row in rows:
            expected = (self._body[-1][0] if self._body else self.end.index) + 1
            if row[0] != expected:
                yield self._fault(expected, row[0] - 1, "missing", _missing(expected, row[0] - 1))
                self._torn = bool(self._body)
                self._chains = self._chains if self._body else ()
            self._body.append(row)
            if row[7] is not None or row[0] == self._body[0][1]:
                yield from self._close()

    def finish(self, index: int, chain: bytes, time: int, who: str) -> Iterator[Fault]:
        """Judge the end against what somebody else holds to be the end."""
        if self._body:
            first, last = self._body[0][0], self._body[-1][0]
            yield self._fault(first, last, "torn", f"the append that begins at {first} ends at {last} without a hash")
            self.failed += 1
            self.end = Position(last, b"")
        if self.end.index < index:
            problem = f"{who} stands at {index}, and the last event is {self.end.index}: its tail is gone"
            yield self._fault(self.end.index + 1, index, "cut", problem)
        elif self.end.index == index and self.end.chain != chain:
            yield self._fault(index, index, "head", f"{who} has another hash than event {index}")
        elif self.end.index == index and time and self.time != time:
            yield self._fault(index, index, "head", f"{who} has another time than event {index}")
        for place, (_, name) in sorted(self._marks.items()):
            if place > self.end.index:
                problem = f"the log ends at {self.end.index}, and {name} knows event {place}: its tail was cut"
                yield self._fault(self.end.index + 1, place, "cut", problem)

    def fault(self, index: int, last: int, code: str, problem: str) -> Fault:
        """Note a fault that was found beside the rows."""
        return self._fault(index, last, code, problem)

    def _close(self) -> Iterator[Fault]:
        body, torn = self._body, self._torn
        self._body, self._torn = [], False
        first, (end, _, time, _, _, meta, _, stored) = body[0][0], body[-1]
        events = [(row[3], row[4], row[6]) for row in body]
        fault = None if torn else odd(body, self._chains)
        computed = {codec.link(Position(first - 1, chain), time, meta, events).chain for chain in self._chains}
        if not torn and fault is None and computed and stored not in computed:
            what = f"event {end}" if first == end else f"one of the events {first} to {end}"
            problem = f"{what} was changed, or what stands before it together with its hash"
            fault = Fault(first, end, "changed", problem)
        if not torn and fault is None and time < self.time:
            fault = Fault(first, end, "reversed", f"event {first} is older than the one before it")
        if fault is not None:
            yield self._fault(fault.index, fault.last, fault.code, fault.problem)
        self.events += len(body)
        self.appends += 1
        if torn or fault is not None:
            self.failed += 1
            self.sound_after = end
            self._chains = tuple(each for each in ({stored} | computed) if each)
        else:
            self._chains = (stored,) if stored else ()
            self.time = time
        self.end = Position(end, stored or b"")
        yield from self._pass(first, end, stored)

    def _pass(self, first: int, end: int, stored: bytes | None) -> Iterator[Fault]:
        """Look whether somebody knows this place, and by which hash."""
        if not self._marks:
            return
        for index in range(first, end + 1):
            mark = self._marks.pop(index, None)
            if mark is None:
                continue
            if index == end and mark[0] == stored:
                self.marked += 1
            else:
                yield self._fault(first, end, "mark", f"{mark[1]} knows event {index} by another hash")

    def _seen(self, start: Position) -> None:
        mark = self._marks.pop(start.index, None)
        self._marks = {index: mark for index, mark in self._marks.items() if index > start.index}
        if mark is None:
            return
        if mark[0] == start.chain:
            self.marked += 1
        else:
            self._fault(start.index, start.index, "mark", f"{mark[1]} knows event {start.index} by another hash")

    def _fault(self, index: int, last: int, code: str, problem: str) -> Fault:
        fault = Fault(index, last, code, problem)
        self.faults += 1
        if self.worst is None or index < self.worst.index:
            self.worst = fault
        return fault


def odd(body: Sequence[Row], chains: Sequence[bytes]) -> Fault | None:
    """Find the row of an append that does not fit the others; None: they fit."""
    end, stored = body[-1][0], body[-1][7]
    if stored is None:
        return Fault(end, end, "torn", f"event {end} ends an append and has no hash")
    strays = [row for row in body if row[1] != end]
    if strays and len(body) > 1 and len({row[1] for row in strays}) == 1 and 2 * len(strays) > len(body):
        return Fault(end, end, "torn", f"event {end} has a hash, and its append goes on to {strays[0][1]}")
    if strays:
        index, last = strays[0][:2]
        return Fault(index, index, "torn", f"event {index} says that its append ends at {last}, not at {end}")
    return _stranger(body, chains)


def _stranger(body: Sequence[Row], chains: Sequence[bytes]) -> Fault | None:
    """All events of an append have one time and one meta. Name one whose are others: the hash tells which are right."""
    votes = Counter((row[2], row[5]) for row in body)
    if len(votes) == 1:
        return None
    first, stored = body[0][0], body[-1][7]
    events = [(row[3], row[4], row[6]) for row in body]
    right = next(
        (
            (time, meta)
            for time, meta in votes
            for chain in chains
            if codec.link(Position(first - 1, chain), time, meta, events).chain == stored
        ),
        votes.most_common(1)[0][0],
    )
    index = next(row[0] for row in body if (row[2], row[5]) != right)
    return Fault(index, index, "torn", f"event {index} has another time or author than the rest of its append")


def _missing(first: int, last: int) -> str:
    return f"event {first} is missing" if first == last else f"the events {first} to {last} are missing"


# ── a whole log ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Ends(Struct, frozen=True):
    """Where a kept log begins and ends, all of it seen at one moment, and who else knows a place of it."""

    floor: Position
    head: Position
    time: int
    incarnation: str
    newest: int  # the greatest index that an event has
    moved: int = 0  # the greatest index that a stream's version has
    marks: dict[int, tuple[bytes, str]] = {}


class Source(Protocol):
    """A log as it is stored, whatever became of it."""

    async def ends(self) -> Ends:
        """Look at both ends."""
        ...

    async def rows(self, after: int, to: int) -> list[Row]:
        """Give some thousand rows after an index, up to another, in order; none: there are none."""
        ...


async def prove(source: Source) -> AsyncIterator[Line]:
    """Check a log up to where its head is now; the last line is the verdict."""
    ends = await source.ends()
    head = ends.head
    check = Check(ends.floor, ends.marks)
    told = 0
    if check.worst:
        yield _found(check.worst)
    yield Progress(ends.floor.index, head.index, check.faults)
    after = stride = ends.floor.index
    while rows := await source.rows(after, head.index):
        if rows[0][0] > after + 1 and (await source.ends()).floor.index > after:
            async for line in prove(source):  # retention took what was to be read next
                yield line
            return
        after = rows[-1][0]
        for fault in check.take(rows):
            told += 1
            if told <= MOST_FAULTS:
                yield _found(fault)
        if after >= stride + STRIDE:
            stride = after
            yield Progress(after, head.index, check.faults)
    for fault in _ending(check, ends):
        yield _found(fault)
    yield verdict(check, ends.floor.index + 1, head.index, ends.incarnation)


def _ending(check: Check, ends: Ends) -> Iterator[Fault]:
    head = ends.head
    yield from check.finish(head.index, head.chain, ends.time, "the head row")
    if ends.newest > head.index:
        problem = f"the head row stands at {head.index}, and there are events up to {ends.newest}"
        yield check.fault(head.index + 1, ends.newest, "beyond", problem)
    if ends.moved > head.index:
        problem = f"the log ends at {head.index}, and event {ends.moved} moved a stream: its tail was cut"
        yield check.fault(head.index + 1, ends.moved, "cut", problem)


def _found(fault: Fault) -> Found:
    return Found(fault.index, fault.last, fault.code, fault.problem)


def verdict(check: Check, first: int, head: int, incarnation: str = "") -> Verdict:
    """Sum a check up."""
    fault = check.worst
    plain = Verdict(
        ok=fault is None,
        index=check.end.index if fault is None else fault.index,
        first=first,
        head=head,
        events=check.events,
        appends=check.appends,
        chain=check.end.chain.hex(),
        marks=check.marked,
        incarnation=incarnation,
    )
    if fault is None:
        return plain
    return Verdict(
        ok=False,
        index=fault.index,
        first=first,
        head=head,
        events=check.events,
        appends=check.appends,
        chain=check.end.chain.hex(),
        last=fault.last,
        code=fault.code,
        problem=fault.problem,
        faults=check.faults,
        failed_appends=check.failed,
        sound_after=check.sound_after if check.sound_after != check.end.index else None,
        marks=check.marked,
        incarnation=incarnation,
    )
