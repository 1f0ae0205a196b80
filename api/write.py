"""Writes: an intent is decided on this process's view, appended, and answered once the view has caught up with it.

Intents that move one stream queue here from decide to applied, so that those of one process never conflict with each
other. A conflict with another process is ours, not the client's: wait until the view has it and decide again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from eventstore.log import Append, Conflicted, Log
from eventstore.view import View
from heroctl.domain.errors import Unavailable
from heroctl.domain.events import Meta
from heroctl.domain.intents.change import Change
from heroctl.domain.state import State

ATTEMPTS: Final = 5
CATCH_UP: Final = 2.0  # seconds that an answer waits for the view

Decide = Callable[[State], Change]


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
            async with lock:
                yield
        finally:
            waiting = self._locks[stream][1] - 1
            if waiting:
                self._locks[stream] = (lock, waiting)
            else:
                del self._locks[stream]


class Writer:
    """Appends what intents decide."""

    def __init__(self, log: Log, view: View) -> None:
        self._log = log
        self._view = view
        self._lines = Lines()

    async def write(self, stream: str, decide: Decide, meta: Meta) -> int:
        """Decide on a stream and make it so; return the last event's index, 0: nothing was to be changed.

        Raises what `decide` raises, `busy` after five conflicts, and whatever the log raises. A process that could not
        fold every event would decide on a wrong state: it refuses as `outdated`.
        """
        async with self._lines.first(stream):
            for _ in range(ATTEMPTS):
                if not self._view.sound:
                    raise outdated()
                change = decide(self._view.state)
                if not change.events:
                    return 0
                try:
                    return await self._append(change, meta)
                except Conflicted as conflict:
                    await self._view.reached(conflict.index, CATCH_UP)
        raise Unavailable("busy", "others write to this at the same time: try again", retry_after=1)

    async def _append(self, change: Change, meta: Meta) -> int:
        state = self._view.state
        expects = tuple((stream, state.index) for stream in change.expects)
        appended = await self._log.append(Append(change.events, change.moves, expects, meta=meta, level=state.level))
        await self._view.reached(appended.last, CATCH_UP)
        return appended.last


def outdated() -> Unavailable:
    """Refuse because this process is of a release that cannot fold all that is, or may be, in the log."""
    return Unavailable("outdated", "the log is of a newer release than this process: ask another", retry_after=5)
