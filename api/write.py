"""Writes: an intent is decided on this process's view, appended, and answered once the view has caught up with it.

Intents that move one stream queue here from decide to applied, so that those of one process never conflict with each
other. A conflict with another process is ours, not the client's: wait until the view has it and decide again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from msgspec import Struct

from api import traced
from api.disk import Disk
from eventstore.log import Append, Appended, Conflicted, Displaced, Key, Log, LogUnavailable, Row
from eventstore.view import STALE_AFTER, View
from heroctl.domain.errors import Unavailable
from heroctl.domain.events import Event, Meta
from heroctl.domain.intents.change import Change
from heroctl.domain.state import State

ATTEMPTS: Final = 5
CATCH_UP: Final = 2.0  # seconds that an answer waits for the view
TURN: Final = 5.0  # seconds that a write waits for those before it

Decide = Callable[[State], Change]


class Done(Struct, frozen=True):
    """What a write did: its events, and the index of the last; 0: there was nothing to change.

    With a key: the index at which there was nothing to change.
    """

    events: tuple[Event, ...]
    index: int


class Replayed(Exception):  # noqa: N818 - an answer
    """The write was done before, under the same key, and nothing was done now."""

    def __init__(self, place: Appended) -> None:
        """Hold where it stands in the log."""
        super().__init__(f"done before, up to {place.last}")
        self.place = place


class Lines:
    """A lock for each stream that is being written, made when it is needed and gone when it is not."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def first(self, stream: str) -> AsyncIterator[None]:
        """Wait until everybody before us is done with a stream."""
        lock, waiting = self._locks.get(stream, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[stream] = (lock, waiting + 1)
        try:
            await _turn(lock)
            try:
                yield
            finally:
                lock.release()
        finally:
            waiting = self._locks[stream][1] - 1
            if waiting:
                self._locks[stream] = (lock, waiting)
            else:
                del self._locks[stream]


async def _turn(lock: asyncio.Lock) -> None:
    try:
        async with asyncio.timeout(TURN):
            await lock.acquire()
    except TimeoutError:
        raise Unavailable("busy", "many write to this at the same time: try again", retry_after=1) from None


class Writer:
    """Appends what intents decide."""

    def __init__(self, log: Log, view: View, disk: Disk | None = None) -> None:
        self._log = log
        self._view = view
        self._disk = disk or Disk()
        self._lines = Lines()

    async def write(self, stream: str, decide: Decide, meta: Meta, key: Key | None = None) -> Done:
        """Decide on a stream and make it so, once for each key.

        Raises Replayed, what `decide` raises, `busy` after five conflicts, and whatever the log raises. A process that
        could not fold every event would decide on a wrong state: it refuses as `outdated`. One whose state was taken
        away by a fail-over loads the other history, and refuses as `behind`: who may do what was read off the lost one.
        """
        if self._view.stale_seconds > STALE_AFTER:
            raise LogUnavailable("the log does not answer")  # who waits in line for it only makes the line longer
        async with self._lines.first(stream):
            for _ in range(ATTEMPTS):
                if not self._view.sound:
                    raise outdated()
                change = decide(self._view.state)
                self._disk.check(change.events)
                if not change.events and key is None:
                    return Done((), 0)
                try:
                    return await self._append(stream, change, meta, key)
                except Conflicted as conflict:
                    await self._view.reached(conflict.index, CATCH_UP)
                except Displaced:
                    await self._view.doubt()
                    raise Unavailable(
                        "behind", "the log's history was replaced just now: try again", retry_after=1
                    ) from None
        raise Unavailable("busy", "others write to this at the same time: try again", retry_after=1)

    async def recall(self, key: Key) -> Appended | None:
        """Find what was done under a key, and let the view have it. Raises KeyReused or LogUnavailable."""
        place = await self._log.recall(key)
        if place is not None:
            await self._view.reached(place.last, CATCH_UP)
        return place

    async def rows(self, place: Appended) -> list[Row]:
        """Read an append back. Raises Compacted where it is not kept any more, and LogUnavailable."""
        return await self._log.page(place.first - 1, 1)

    async def _append(self, stream: str, change: Change, meta: Meta, key: Key | None) -> Done:
        state = self._view.state
        # Nothing to change: that is true for as long as what it was decided on stands still.
        expects = tuple((each, state.index) for each in (change.expects if change.events else (stream,)))
        append = Append(
            change.events, change.moves, expects, meta=meta, level=state.level, key=key, view=self._view.position
        )
        began = time.time_ns()
        appended = await self._log.append(append)
        if not appended.replayed:
            traced.appended(change.events, appended.first, state.incarnation, began)
        await self._view.reached(appended.last, CATCH_UP)
        if appended.replayed:
            raise Replayed(appended)
        return Done(change.events, appended.last)


def outdated() -> Unavailable:
    """Refuse because this process is of a release that cannot fold all that is, or may be, in the log."""
    return Unavailable("outdated", "the log is of a newer release than this process: ask another", retry_after=5)
