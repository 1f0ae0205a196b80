"""The feed: the log's events as everybody reads them, one tail and one encoding for all who read.

The newest events are kept in a ring, while somebody reads and as far as so many bytes go; what is older comes from the
log in pages, which all who read there share. Readers are told of news at a pace: at once while little happens, else as
often as so many readers can be served, so that a burst is one frame for each and not a thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from api.wire import stamp
from eventstore import codec
from eventstore.log import Compacted, Log
from eventstore.view import Change, View
from eventstore.waiters import Waiters, Woken
from heroctl.domain.events import EVENTS, Opaque, Record
from heroctl.domain.ids import event_id
from heroctl.domain.policy import Grants
from heroctl.domain.state import State
from heroctl.domain.visibility import Subject, subject, told

PAGE: Final = 256  # events of the log that are read at a time
CHUNK: Final = 256 << 10  # bytes of one answer, or the one event that has more
_RING: Final = 32 << 20  # bytes of events that are kept
_PAGES: Final = 64  # pages of the log that are kept
_CHUNKS: Final = 256  # chunks that may be shared
_SLOWEST: Final = 0.25  # seconds
_READERS_A_SECOND: Final = 4_000  # that are told of news
_NEWS: Final = "events"
_OVERHEAD: Final = 600  # bytes of an entry beside its text


class EventItem(Struct, frozen=True):
    """An event as it is told: `type` is its tag, `topics` are what it is about, `data` what it says."""

    index: int
    id: str
    type: str
    time: str
    actor: str
    request_id: str
    namespace: str
    topics: tuple[str, ...]
    data: dict[str, Any]


class Filter(Struct, frozen=True):
    """Which events are asked for; nothing said: all. A type may end in `*`, a topic may be a kind alone: `job`."""

    topics: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    namespace: str = ""
    request_id: str = ""

    def passes(self, entry: Entry) -> bool:
        """Tell whether an event is one of these."""
        about = entry.subject
        return (
            self.namespace in ("", about.namespace)
            and self.request_id in ("", entry.request_id)
            and (not self.types or any(_is_a(wanted, about.tag) for wanted in self.types))
            and (not self.topics or any(_concerns(wanted, about.topics) for wanted in self.topics))
        )


def _is_a(wanted: str, tag: str) -> bool:
    return tag.startswith(wanted[:-1]) if wanted.endswith("*") else tag == wanted


def _concerns(wanted: str, topics: tuple[str, ...]) -> bool:
    kind, _, name = wanted.partition(":")
    if name in ("", "*"):
        return any(topic.partition(":")[0] == kind for topic in topics)
    return wanted in topics


class Entry:
    """One event, written down once for all who are told of it."""

    __slots__ = ("data", "index", "request_id", "subject")

    def __init__(self, record: Record, about: Subject, incarnation: str) -> None:
        self.index = record.index
        self.request_id = record.meta.request_id
        self.subject = about
        self.data = b""
        if about.need is not None:
            self.data = msgspec.json.encode(
                EventItem(
                    index=record.index,
                    id=event_id(incarnation, record.index),
                    type=about.tag,
                    time=stamp(record.time),
                    actor=record.meta.actor or "system",
                    request_id=record.meta.request_id,
                    namespace=about.namespace,
                    topics=about.topics,
                    data=told(record.event),
                )
            )

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.data) + _OVERHEAD

    @property
    def frame(self) -> bytes:
        """It as a message of a stream."""
        return b"id: %d\ndata: %b\n\n" % (self.index, self.data)


class Sieve:
    """What one reader is told: events that pass its filter, and of which all its grants let it know."""

    __slots__ = ("__weakref__", "_filter", "_grants")

    def __init__(self, grants: tuple[Grants, ...], wanted: Filter) -> None:
        self._grants = grants
        self._filter = wanted

    def passes(self, entry: Entry) -> bool:
        """Tell whether the reader is told of an event."""
        need = entry.subject.need
        return need is not None and self._filter.passes(entry) and need.met(self._grants)


class Chunk(NamedTuple):
    """What follows a position, and the index up to which there is no more."""

    entries: list[Entry]
    last: int


class Page(NamedTuple):
    """What is kept of a page of the log: everything after an index."""

    after: int
    entries: list[Entry]

    def ends(self, index: int) -> bool:
        """Tell whether it goes as far as an index."""
        return bool(self.entries) and self.entries[-1].index >= index


class Feed:
    """See above. `clock` gives monotonic seconds. `follow` is to be called after each application of the view."""

    def __init__(self, view: View, log: Log, *, ring: int = _RING, clock: Callable[[], float] = time.monotonic) -> None:
        self.history = 0  # rises when the log turns out to be another: what was told may never have been
        self._view = view
        self._log = log
        self._clock = clock
        self._most = ring
        self._ring: dict[int, Entry] = {}  # by index: all of `_first` < index <= `_last`
        self._first = 0
        self._last = 0
        self._bytes = 0
        self._readers = 0
        self._published = 0
        self._told_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiters = Waiters(lambda _: self._published)
        self._pages: OrderedDict[int, asyncio.Future[Page]] = OrderedDict()
        self._chunks: OrderedDict[tuple[Sieve, int, int], tuple[bytes, int]] = OrderedDict()
        self._sieves: WeakValueDictionary[tuple[tuple[Grants, ...], Filter], Sieve] = WeakValueDictionary()

    @property
    def index(self) -> int:
        """Index up to which readers have been told."""
        return self._published if self._readers else self._view.index

    def sieve(self, grants: tuple[Grants, ...], wanted: Filter) -> Sieve:
        """Give the sieve of these grants and this filter: one for all who have the same."""
        key = (grants, wanted)
        found = self._sieves.get(key)
        if found is None:
            found = self._sieves[key] = Sieve(grants, wanted)
        return found

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the newest events at hand meanwhile."""
        self._readers += 1
        if self._readers == 1:
            self._empty(self._view.index)
            self._published = self._last
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._empty(self._last)

    def follow(self, change: Change) -> None:
        """Take what the view has applied."""
        if change.reloaded:
            self.history += 1
            self._empty(self._view.index)
            self._pages.clear()
            self._published = self._last
            self._waiters.touch_all()
        elif self._readers and change.records:
            if change.records[0].index != self._last + 1:
                self._empty(change.records[0].index - 1)
            for record in change.records:
                self._keep(_entry(record, self._view.state))
            self._publish()

    async def wait(self, index: int, seconds: float, ended: asyncio.Future[Any] | None = None) -> Woken:
        """Wait until there may be something after an index, which the caller has read; `ended` ends it."""
        return await self._waiters.wait((_NEWS,), index, seconds, ended)

    async def after(self, index: int, sieve: Sieve, most: int = PAGE) -> Chunk:
        """Give what passes after an index: of at most a page of the log, and so many events and bytes.

        Raises Compacted where the log is kept from a later index on, LogUnavailable where it cannot be read.
        """
        found: list[Entry] = []
        size = 0
        for entry in await self._from(index):
            if sieve.passes(entry):
                if len(found) == most or (found and size + len(entry.data) > CHUNK):
                    return Chunk(found, index)
                found.append(entry)
                size += len(entry.data)
            index = entry.index
        return Chunk(found, index)

    async def frames(self, index: int, sieve: Sieve) -> tuple[bytes, int]:
        """Give the same as frames of a stream, and how far they go; made once for all who stand there."""
        key = (sieve, index, self._published)
        made = self._chunks.get(key)
        if made is None:
            newest = index >= self._first
            chunk = await self.after(index, sieve)
            made = b"".join([entry.frame for entry in chunk.entries]), chunk.last
            if newest:
                self._chunks[key] = made
                if len(self._chunks) > _CHUNKS:
                    self._chunks.popitem(last=False)
        return made

    # ── the ring ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _empty(self, index: int) -> None:
        """Begin anew after an index."""
        self._ring.clear()
        self._chunks.clear()
        self._bytes = 0
        self._first = self._last = index

    def _keep(self, entry: Entry) -> None:
        self._ring[entry.index] = entry
        self._last = entry.index
        self._bytes += entry.size
        while self._bytes > self._most and len(self._ring) > 1:
            self._first += 1
            self._bytes -= self._ring.pop(self._first).size

    def _publish(self) -> None:
        """Tell the readers, now or when they have rested."""
        if self._timer is not None:
            return
        pace = min(self._readers / _READERS_A_SECOND, _SLOWEST)
        rest = self._told_at + pace - self._clock()
        if rest <= 0:
            self._tell()
        else:
            self._timer = asyncio.get_running_loop().call_later(rest, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._told_at = self._clock()
        self._published = max(self._published, self._last)
        self._chunks.clear()
        self._waiters.touch((_NEWS,))

    # ── from wherever it is ──────────────────────────────────────────────────────────────────────────────────────────

    async def _from(self, index: int) -> list[Entry]:
        """Give the entries after an index, as far as a page of them goes; none: there are none yet."""
        if self._readers and index >= self._first:
            return [self._ring[each] for each in range(index + 1, min(index + PAGE, self._published) + 1)]
        page = await self._page(index // PAGE)
        if page.after > index:
            raise Compacted(page.after)
        return [each for each in page.entries if each.index > index]

    async def _page(self, number: int) -> Page:
        """Read a page of the log, together with all who need it; one that is full is kept."""
        reading = self._pages.get(number)
        if reading is None:
            reading = self._pages[number] = asyncio.ensure_future(self._read(number))
            reading.add_done_callback(lambda done: self._settle(number, done))
        return await asyncio.shield(reading)

    def _settle(self, number: int, done: asyncio.Future[Page]) -> None:
        """Keep a page that was read, unless there is more to come of it, or it could not be."""
        full = not done.cancelled() and done.exception() is None and done.result().ends((number + 1) * PAGE)
        if not full and self._pages.get(number) is done:
            del self._pages[number]
        elif len(self._pages) > _PAGES:
            self._pages.popitem(last=False)

    async def _read(self, number: int) -> Page:
        index, end = number * PAGE, (number + 1) * PAGE
        try:
            rows = await self._log.page(index, PAGE)
        except Compacted as gone:
            if gone.floor >= end:
                raise
            index = gone.floor
            rows = await self._log.page(index, end - index)
        page = Page(index, [])
        while rows:
            last = min(end, self._view.index)
            records = [record for record in codec.records(rows) if record.index <= last]
            page.entries.extend(_entry(record, self._view.state) for record in records)
            index = rows[-1][0]
            rows = await self._log.page(index, end - index) if index < end else []  # there were fewer: they are large
        return page


def _entry(record: Record, state: State) -> Entry:
    event = record.event
    tag = event.tag if isinstance(event, Opaque) else event.TAG
    about = subject(tag, event, state) if tag in EVENTS else Subject(tag, "", (), None)
    return Entry(record, about, state.incarnation)
