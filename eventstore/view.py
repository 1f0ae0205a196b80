"""The view: this process's own fold of the log, and everybody who waits for it to move."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import structlog
from msgspec import Struct

from eventstore.internals import INTERNALS
from eventstore.log import Compacted, Head, Log, LogUnavailable, OtherHistory, Position
from eventstore.snapshots import Snapshots, StartGone
from eventstore.tail import Tail
from eventstore.waiters import Waiters, Woken
from heroctl.domain.events import Opaque, Record, release_level
from heroctl.domain.evolve import Touch, apply
from heroctl.domain.state import State

T = TypeVar("T")

STALE_AFTER: Final = 5.0  # seconds without an answer of the log after which what is read of it is marked

_log: Final = structlog.get_logger(__name__)


class Change(Struct, frozen=True):
    """What an application of appends touched, up to which index; `reloaded`: everything, it is another history.

    `records`: what was applied; none where the view began with a snapshot, or anew.
    """

    index: int
    topics: frozenset[str]
    reloaded: bool = False
    records: Sequence[Record] = ()


class View:
    """A State that follows a log while `run` runs. Whole appends are applied between two awaits, or nothing.

    `state` is to be read, never changed or kept over an await: a reload replaces it. `clock` gives monotonic seconds,
    `level` is the release's own unless it is given. It begins with the newest of the `snapshots` that holds, else with
    the log's start; StartGone comes out of what needs the log when neither can be had.
    """

    def __init__(
        self,
        log: Log,
        snapshots: Snapshots | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        level: int | None = None,
    ) -> None:
        self.state = State()
        self.started = False  # whether the first catch-up is done
        self.level: Final = release_level() if level is None else level  # the greatest that this process can fold
        self.failed: int | None = None  # index of the first event that this release could not fold
        self._log = log
        self._snapshots = snapshots
        self._clock = clock
        self._tail = Tail(log)
        self._pulling = asyncio.Lock()
        self._head = Shared(log.head)
        self._waiters = Waiters(self.topic_index)
        self._reaching: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._subscribers: list[Callable[[Change], None]] = []
        self._contact = clock()
        self._away = False
        self._known = 0  # the greatest index that the log is known to have
        self._behind_since: float | None = None
        INTERNALS.gauge("heroctl_view_index", "The last event that was applied", lambda: self.index)
        INTERNALS.gauge("heroctl_view_lag_events", "Events known of that were not", lambda: self._lag)
        INTERNALS.gauge("heroctl_view_behind_seconds", "For how long there are such", lambda: self.behind_seconds)

    @property
    def index(self) -> int:
        """Index of the last event applied."""
        return self.state.index

    @property
    def position(self) -> Position:
        """Where the state stands, for who decides on it and lets the log compare."""
        return self._tail.position

    @property
    def sound(self) -> bool:
        """Whether all that is, and may be, in the log can be folded.

        A view that is not sound may serve reads; its process must not append, coordinate or write a snapshot.
        """
        return self.failed is None and not self.outdated

    @property
    def outdated(self) -> bool:
        """Whether the log may hold events of a newer release than this one."""
        return self.state.level > self.level

    @property
    def stale_seconds(self) -> float:
        """Seconds since the log last answered."""
        return self._clock() - self._contact

    @property
    def behind_seconds(self) -> float:
        """Seconds for which the log has been known to hold more than was applied; 0.0: nothing is missing."""
        return 0.0 if self._behind_since is None else self._clock() - self._behind_since

    @property
    def _lag(self) -> int:
        return max(0, self._known - self.index)

    def topic_index(self, topic: str) -> int:
        """Return the index of the last event that touched a topic, ≥ 1; a missing thing's is its collection's."""
        return self.state.topic_index(topic)

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call back after every application of appends; the function returned ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def run(self) -> None:
        """Follow the log, for ever, whatever becomes of it."""
        async with contextlib.aclosing(self._log.wakes()) as wakes:  # type: ignore[type-var] # a generator
            async for index in wakes:
                if index and index <= self.index and self.started:
                    continue
                self._hear(index)
                try:
                    await self._pull(look=not index or not self.started)
                except (LogUnavailable, OtherHistory, Compacted) as error:
                    self._lose(error)

    async def head(self) -> Head:
        """Read the log's head as it is now or later; callers at the same time share a read. Raises LogUnavailable."""
        head = await self._head.read()
        self._hear(head.index)
        return head

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[State]:
        """Apply nothing meanwhile: this state may be kept over awaits. Nobody who waits for an index belongs inside."""
        async with self._pulling:
            yield self.state

    async def catch_up(self) -> None:
        """Apply everything that is in the log now. Raises LogUnavailable."""
        head = await self.head()
        if self.index < head.index:
            await self._ask(head.index)

    async def doubt(self) -> None:
        """Compare with the log, which is said never to have been where the view stands. Raises LogUnavailable."""
        await self._ask(look=True)

    async def passed(self, position: Position) -> bool:
        """Tell whether the log came by a position that somebody was told of; see Tail. Raises LogUnavailable."""
        return await self._tail.passed(position)

    async def disown(self, why: str) -> None:
        """Give the log another name: somebody was told of it what it does not hold. Raises LogUnavailable."""
        _log.error("other_history", reason=why, index=self.index, incarnation=self.state.incarnation)
        await self._log.redraw(self.state.incarnation, why)
        await self.catch_up()

    async def reached(self, index: int, seconds: float | None = None) -> bool:
        """Wait until the view has applied an index; False: it has not within so many seconds."""
        if self.index >= index:
            return True
        entry = (index, next(self._numbers), asyncio.get_running_loop().create_future())
        heapq.heappush(self._reaching, entry)
        try:
            async with asyncio.timeout(seconds):
                await entry[2]
        except TimeoutError:
            return self.index >= index
        finally:
            if entry[2].cancelled():
                with contextlib.suppress(ValueError):
                    self._reaching.remove(entry)
                heapq.heapify(self._reaching)
        return True

    async def wait(
        self, topics: str | tuple[str, ...], index: int, seconds: float, ended: asyncio.Future[Any] | None = None
    ) -> Woken:
        """Wait as a long poll does: until a topic's index is above `index`, which the caller has seen.

        At once if it is, or if the log has never reached `index`; at most `seconds`, and no longer than until `ended`
        is done: the caller's client has gone, its token was revoked, the server drains. A wake is no promise of change.
        """
        if index > self.index:
            began = self._clock()
            if await self._beyond(index, seconds):
                return "moved"
            seconds -= self._clock() - began
        return await self._waiters.wait((topics,) if isinstance(topics, str) else topics, index, seconds, ended)

    async def _beyond(self, index: int, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return index > (await self.head()).index
        except (LogUnavailable, TimeoutError):
            return False  # who knows; wait for it

    async def _ask(self, target: int | None = None, *, look: bool = False) -> None:
        try:
            await self._pull(target, look=look)
        except (OtherHistory, Compacted) as error:  # again, while it was folded anew: the next to ask begins once more
            raise LogUnavailable(str(error)) from error

    async def _pull(self, target: int | None = None, *, look: bool = False) -> None:
        async with self._pulling:
            if target is not None and self.index >= target:
                return
            try:
                if not self.index:
                    await self._begin()
                await self._follow(look=look)
            except OtherHistory as error:
                _log.error("other_history", reason=str(error), index=self.index, incarnation=self.state.incarnation)
                await self._log.redraw(self.state.incarnation, str(error))
                await self._renew()
            except Compacted as error:
                _log.error("left_behind", reason=str(error), index=self.index)
                await self._renew()

    async def _begin(self) -> None:
        state, position = await self._stand()
        if state.index:
            self.state, self._tail = state, Tail(self._log, position)
            self._announce(set(state.topics), reloaded=False)

    async def _stand(self) -> tuple[State, Position]:
        """Load the newest snapshot that holds; without one stand before the log's start. Raises StartGone."""
        found = None if self._snapshots is None else await self._snapshots.load()
        if found is not None:
            return found
        try:
            await self._log.page(0)
        except Compacted as error:
            raise StartGone(error.floor) from error
        _log.info("folding_from_start")
        return State(), Position()

    async def _follow(self, *, look: bool) -> None:
        asked = self._clock()
        if look:
            self._hear((await self._tail.look()).index)
        if not look or self._known > self.index:
            async for records in self._tail.pages(enough=self._known):
                began = time.perf_counter()
                topics, failed = fold(self.state, records)
                INTERNALS.fold.observe(time.perf_counter() - began)
                self.failed = self.failed or failed
                self._announce(topics, reloaded=False, records=records)
                self._contact, asked = asked, self._clock()
        self.started = self.started or look
        self._contact = asked
        if self._away:
            self._away = False
            _log.info("log_back", index=self.index)

    async def _renew(self) -> None:
        """Fold the log anew, beside the old state, which serves reads until then."""
        state, position = await self._stand()
        tail, failed = Tail(self._log, position), None
        async for records in tail.pages():
            failed = failed or fold(state, records)[1]
        self.state, self.failed, self._tail, self._known = state, failed, tail, state.index
        self._announce(set(state.topics), reloaded=True)

    def _announce(self, touched: set[str], *, reloaded: bool, records: Sequence[Record] = ()) -> None:
        index = self.index
        if index >= self._known:
            self._behind_since = None
        while self._reaching and self._reaching[0][0] <= index:
            _, _, future = heapq.heappop(self._reaching)
            if not future.done():
                future.set_result(None)
        if reloaded:
            self._waiters.touch_all()
        else:
            self._waiters.touch(touched)
        change = Change(index, frozenset(touched), reloaded, records)
        for callback in tuple(self._subscribers):
            callback(change)

    def _hear(self, index: int) -> None:
        self._known = max(self._known, index)
        if self._known > self.index and self._behind_since is None:
            self._behind_since = self._clock()

    def _lose(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            _log.warning("log_away", error=str(error))


def fold(state: State, records: Iterable[Record]) -> tuple[set[str], int | None]:
    """Apply records; return the topics touched and the index of the first event that could not be folded.

    Such an event, unknown to this release or raising, is passed over: the process goes on, and must not coordinate.
    """
    touch = Touch()
    failed: int | None = None
    for record in records:
        try:
            apply(state, record, touch)
        except Exception:  # noqa: BLE001 - whatever it is, the others' events must be folded all the same
            _log.exception("event_failed", index=record.index, tag=record.event.TAG)
            failed = failed or record.index
        if isinstance(record.event, Opaque):
            _log.error("event_unknown", index=record.index, tag=record.event.tag, schema=record.event.schema)
            failed = failed or record.index
    return touch.settle(state), failed


class Shared(Generic[T]):
    """A read that callers at the same time share; nobody gets one that began before asking."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def read(self) -> T:
        """Read, together with everybody who asks before that read begins."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._running))
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())  # callers may all be gone
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        return await self._read()
