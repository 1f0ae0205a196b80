"""Lines that were written before: the last of each stream, put together."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, NamedTuple

from api.log_feed import Sieve
from api.logs import STEP, Entry, LogStore, Seen, Told

MOST_BYTES: Final = 8 << 20  # of one answer
_TOGETHER: Final = 20  # streams
_LATE: Final = 60_000  # ms by which an entry may be older than its lines' times say
_TWICE: Final = 120_000  # ms after which an entry is not shipped once more


class Mark(NamedTuple):
    """A place to go on after: an entry, and the number of a line in it."""

    ms: int
    seq: int
    number: int
    alloc: str

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """Read what `Told.mark` wrote; None: it is none."""
        ms, seq, number, alloc = [*text.split("-", 3), "", "", "", ""][:4]
        if not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in (ms, seq, number)) or not alloc:
            return None
        return cls(int(ms), int(seq), int(number), alloc)

    @property
    def entry(self) -> str:
        """The id of its entry."""
        return f"{self.ms}-{self.seq}"

    def is_before(self, told: Told) -> bool:
        """Tell whether a line comes after it."""
        return (*told.entry.place, told.number) > (self.ms, self.seq, self.alloc, self.number)


class Span(NamedTuple):
    """Which lines: the last `tail`, written not before `since` (ms), of entries before `end` (ms), after a mark."""

    tail: int
    since: int = 0
    end: int | None = None
    mark: Mark | None = None


async def lines(store: LogStore, sieve: Sieve, span: Span) -> list[Told]:
    """Read them, in the order of their places."""
    newest: list[tuple[tuple[int, int, str], int, Told]] = []
    size = 0
    keys = sorted(sieve.allocs.values())
    for at in range(0, len(keys), _TOGETHER):
        for told in await _of_some(store, keys[at : at + _TOGETHER], sieve, span):
            heapq.heappush(newest, (told.entry.place, told.number, told))
            size += told.line.size
            while len(newest) > span.tail or (size > MOST_BYTES and len(newest) > 1):
                size -= heapq.heappop(newest)[2].line.size
    return [told for _, _, told in sorted(newest, key=lambda each: each[:2])]


async def _of_some(store: LogStore, keys: list[str], sieve: Sieve, span: Span) -> list[Told]:
    """Read some streams backwards, until there is enough of each."""
    begin = str(max(span.since - _LATE, span.mark.ms - _TWICE if span.mark else 0, 0))
    ends = dict.fromkeys(keys, "+" if span.end is None else f"{span.end - 1}")
    entries: dict[str, list[Entry]] = {key: [] for key in keys}
    counts = dict.fromkeys(keys, 0)
    while ends:
        found = await store.backwards(ends, begin)
        for key, some in found.items():
            entries[key] += some
            counts[key] += _count(some, sieve, span)
            if counts[key] > span.tail:  # perhaps: what was shipped twice counts once, which only all of it tells
                counts[key] = _count(entries[key], sieve, span)
        ends = {key: _before(some[-1]) for key, some in found.items() if len(some) >= STEP and counts[key] <= span.tail}
    return [told for some in entries.values() for told in _told(some) if _within(told, sieve, span)]


def _count(entries: list[Entry], sieve: Sieve, span: Span) -> int:
    return sum(_within(told, sieve, span) for told in _told(entries))


def _told(entries: list[Entry]) -> Iterator[Told]:
    """Give the lines of entries, newest first, in their order."""
    seen = Seen()
    for entry in reversed(entries):
        yield from seen.fresh(entry)


def _within(told: Told, sieve: Sieve, span: Span) -> bool:
    return sieve.passes(told) and told.line.time >= span.since and (span.mark is None or span.mark.is_before(told))


def _before(entry: Entry) -> str:
    return f"{entry.ms}-{entry.seq - 1}" if entry.seq else f"{entry.ms - 1}-{2**64 - 1}"
