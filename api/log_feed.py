"""Lines as they are written, for all who read: one read of Redis for everybody, one encoding of each line.

The newest lines are kept in a ring, as far as so many bytes go. A reader has a place in it and nothing else, so that
one who is slow costs nothing: it is told of a gap once the ring has gone past it. Lines are told in the order of their
places (`api.logs`), each once what is before it cannot become more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple
from weakref import WeakSet, WeakValueDictionary

import structlog
from msgspec import Struct

from api import sse
from api.logs import AT_ONCE, AWAY, Entry, LogStore, Seen, Told
from eventstore.view import View
from eventstore.waiters import Waiters, Woken
from heroctl.domain.logs import log_key
from heroctl.domain.policy import Grants
from heroctl.domain.records import Alloc
from heroctl.domain.state import State
from heroctl.domain.topics import ALLOCS

RIGHT: Final = "log:read"
TICK: Final = 0.1  # seconds between two reads
CHUNK: Final = 64 << 10  # bytes that a reader gets at a time
EARLIER: Final = 5_000  # ms before it was heard of, of a new allocation's lines
_RING: Final = 16 << 20
_CHUNKS: Final = 64
_LINGER: Final = 30.0  # seconds for which one that nobody knows any more is still read
_OVERHEAD: Final = 340  # of a line: what holds its text and its frame
_NEWS: Final = "lines"
_log: Final = structlog.get_logger(__name__)


class Wish(Struct, frozen=True):
    """Which lines are asked for; nothing said: all that may be read."""

    alloc: str = ""
    key: str = ""  # of an allocation that is not known any more: its stream
    namespace: str = ""
    job: str = ""
    task: str = ""
    node: str = ""  # its id
    output: str = ""
    grep: str = ""

    def passes(self, told: Told) -> bool:
        """Tell whether a line is one of these. What tells of missing lines always is."""
        line = told.line
        return line.source == "system" or (self.output in ("", line.source) and self.grep in line.text)


class Sieve:
    """Which lines some readers are told: those they ask for, of jobs whose logs all their grants let them read."""

    def __init__(self, grants: tuple[Grants, ...], wish: Wish) -> None:
        self.wish = wish
        self.allocs: dict[str, str] = {}  # by allocation: its stream
        self._grants = grants
        self._gone: dict[str, float] = {}
        self._may: dict[tuple[str, str], bool] = {}

    def look(self, state: State, now: float) -> None:
        """See which allocations are meant now."""
        if self.wish.key:
            self.allocs = {self.wish.alloc: self.wish.key}
            return
        there = {alloc.id: log_key(alloc.node, alloc.id) for alloc in self._meant(state)}
        for alloc in self.allocs.keys() - there.keys():
            self._gone.setdefault(alloc, now + _LINGER)
        left = {
            alloc: self.allocs[alloc] for alloc, until in self._gone.items() if until > now and alloc in self.allocs
        }
        self._gone = {alloc: self._gone[alloc] for alloc in left if alloc not in there}
        self.allocs = left | there

    def _meant(self, state: State) -> Iterator[Alloc]:
        wish = self.wish
        if wish.alloc:
            found = state.allocs.get(wish.alloc)
            yield from [found] if found is not None and self._allowed(found.namespace, found.job) else []
            return
        for alloc in state.allocs.values():
            if (
                wish.job in ("", alloc.job)
                and wish.task in ("", alloc.task)
                and wish.node in ("", alloc.node)
                and wish.namespace in ("", alloc.namespace)
                and self._allowed(alloc.namespace, alloc.job)
            ):
                yield alloc

    def _allowed(self, namespace: str, job: str) -> bool:
        key = (namespace, job)
        if key not in self._may:
            self._may[key] = bool(self._grants) and all(each.allows(RIGHT, *key) for each in self._grants)
        return self._may[key]

    def passes(self, told: Told) -> bool:
        """Tell whether a line is told. Of an allocation that nobody knows any more its entries say whose it is."""
        batch = told.entry.batch
        known = not self.wish.key or self._allowed(batch.namespace, batch.job)
        return known and told.entry.alloc in self.allocs and self.wish.passes(told)


class _Kept(NamedTuple):
    told: Told
    frame: bytes

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.frame) + self.told.line.size + _OVERHEAD


class _Stream:
    __slots__ = ("cursor", "seen")

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self.seen = Seen()


class LogFeed:
    """See above. `clock` gives monotonic seconds."""

    def __init__(self, view: View, store: LogStore, clock: Callable[[], float], *, ring: int = _RING) -> None:
        self.store = store
        self.away = False  # whether the last read failed
        self.end = 0  # the number of the next line
        self.horizon = 0  # ms: all that is older was told
        self._view = view
        self._clock = clock
        self._most = ring
        self._ring: deque[_Kept] = deque()
        self._bytes = 0
        self._sieves: WeakSet[Sieve] = WeakSet()
        self._streams: dict[str, _Stream] = {}
        self._chunks: OrderedDict[tuple[Sieve, int, int], tuple[bytes, int]] = OrderedDict()
        self._readers = 0
        self._reading: asyncio.Task[None] | None = None
        self._waiters = Waiters(lambda _: self.end)
        self._known: WeakValueDictionary[tuple[tuple[Grants, ...], Wish], Sieve] = WeakValueDictionary()
        self._looked = (-1, 0.0)

    @property
    def begin(self) -> int:
        """The number of the oldest line that is kept."""
        return self.end - len(self._ring)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keep reading meanwhile."""
        self._readers += 1
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="logs")
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                if self._reading is not None:
                    self._reading.cancel()
                    self._reading = None
                self._ring.clear()
                self._bytes = 0
                self._streams.clear()
                self._chunks.clear()

    def sieve(self, grants: tuple[Grants, ...], wish: Wish) -> Sieve:
        """Give the sieve of these grants and this wish: one for all who read with the same."""
        key = (grants, wish)
        known = self._known.get(key)
        if known is None:
            known = Sieve(grants, wish)
            known.look(self._view.state, self._clock())
            self._known[key] = known
        return known

    async def join(self, sieve: Sieve) -> int:
        """Have the streams of a sieve read from now on; return the number from which its reader goes on.

        All lines before that have a place before `horizon`, and all after it one behind.
        """
        if not self._streams:
            self.horizon = max(self.horizon, await self.store.now())
        self._sieves.add(sieve)
        for key in sieve.allocs.values():
            self._streams.setdefault(key, _Stream(f"{self.horizon - 1}-{2**64 - 1}"))
        return self.end

    def welcome(self, sieve: Sieve) -> None:
        """Have a sieve read from the next round on, as new allocations are."""
        self._sieves.add(sieve)
        self._looked = (-1, 0.0)

    async def wait(self, number: int, seconds: float, ended: asyncio.Future[Any]) -> Woken:
        """Wait for a line of this number."""
        return await self._waiters.wait((_NEWS,), number, seconds, ended)

    def frames(self, number: int, sieve: Sieve) -> tuple[bytes, int]:
        """Give what is told from this line on, as messages of a stream, and how far it goes; made once for all."""
        key = (sieve, number, self.end)
        made = self._chunks.get(key)
        if made is None:
            made = self._chunks[key] = self._framed(number, sieve)
            if len(self._chunks) > _CHUNKS:
                self._chunks.popitem(last=False)
        return made

    def _framed(self, number: int, sieve: Sieve) -> tuple[bytes, int]:
        found, size = [], 0
        for kept in islice(self._ring, number - self.begin, None):
            number += 1
            if sieve.passes(kept.told):
                found.append(kept.frame)
                size += len(kept.frame)
                if size >= CHUNK:
                    break
        return b"".join(found), number

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        while True:
            try:
                more = await self._round()
                self.away = False
            except AWAY as error:
                more = False
                if not self.away:
                    _log.warning("logs_away", error=str(error) or type(error).__name__)
                    self.away = True
                    self._waiters.touch_all()
            await asyncio.sleep(0 if more else TICK)

    async def _round(self) -> bool:
        """Read once, and tell what can be told; True: there is more already."""
        self._look()
        if not self._streams:
            return False
        now, found = await self.store.after({key: stream.cursor for key, stream in self._streams.items()})
        full = [entries[-1].ms for entries in found.values() if len(entries) >= AT_ONCE]
        until = min([now, *full])
        ready = [(entry, key) for key, entries in found.items() for entry in entries if entry.ms < until]
        before = self.end
        for entry, key in sorted(ready, key=lambda each: each[0].place):
            if (stream := self._streams.get(key)) is not None:
                self._tell(entry, stream)
        self.horizon = max(self.horizon, until)
        if self.end > before:
            self._chunks.clear()
            self._waiters.touch((_NEWS,))
        return bool(full)

    def _look(self) -> None:
        """See which streams are meant now, where allocations have come or gone."""
        index, now = self._view.topic_index(ALLOCS), self._clock()
        if index == self._looked[0] and now < self._looked[1] + _LINGER:
            return
        self._looked = (index, now)
        for sieve in self._sieves:
            sieve.look(self._view.state, now)
        meant = {key for sieve in self._sieves for key in sieve.allocs.values()}
        for key in meant - self._streams.keys():
            self._streams[key] = _Stream(f"{max(0, self.horizon - EARLIER)}-0")
        for key in self._streams.keys() - meant:
            del self._streams[key]

    def _tell(self, entry: Entry, stream: _Stream) -> None:
        stream.cursor = f"{entry.ms}-{entry.seq}"
        for told in stream.seen.fresh(entry):
            kept = _Kept(told, framed(told))
            self._ring.append(kept)
            self._bytes += kept.size
            self.end += 1
        while self._bytes > self._most and self._ring:
            self._bytes -= self._ring.popleft().size


def framed(told: Told) -> bytes:
    """Write a line as a message of a stream."""
    return sse.message(told.shown, event="log", id=told.mark)
