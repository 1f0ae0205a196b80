"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
PATIENCE: Final = 2.0  # real seconds that time waits for what a thread does: one that waits for the test itself is left


class Threads(ThreadPoolExecutor):
    """Threads of a loop that remember what they were given, so that time can wait until it is done."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="clock")
        self._begun: list[Future[object]] = []

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future = super().submit(fn, *args, **kwargs)
        self._begun.append(future)  # type: ignore[arg-type] # of any kind: only its end matters
        return future

    async def done(self) -> bool:
        """Wait until all that was begun is done and told to the loop; say whether there was any."""
        begun, self._begun = self._begun, []
        if begun:  # these are told after those who were there before: whoever awaits the thread knows already
            await asyncio.wait([asyncio.wrap_future(each) for each in begun], timeout=PATIENCE)
        return bool(begun)


class ManualClock:
    """Sleepers wake in order when `advance` passes their time; in between everyone gets a turn, threads too."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._threads: Threads | None = None
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), sleeper))
        await sleeper

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if seconds is None or event.is_set():
            return await event.wait()
        waiting = asyncio.ensure_future(event.wait())
        sleeping = asyncio.ensure_future(self.sleep(seconds))
        try:
            await asyncio.wait([waiting, sleeping], return_when=asyncio.FIRST_COMPLETED)
            return event.is_set()
        finally:
            waiting.cancel()
            sleeping.cancel()
            await asyncio.gather(waiting, sleeping, return_exceptions=True)

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self._now + seconds
        await self._turns()
        while self._sleepers and self._sleepers[0][0] <= end:
            until, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                self._now = max(self._now, until)
                sleeper.set_result(None)
                await self._turns()
        self._now = end
        await self._turns()

    async def _turns(self) -> None:
        """Let everyone who can go on go on, until all wait."""
        if self._threads is None:
            self._threads = Threads()
            asyncio.get_running_loop().set_default_executor(self._threads)
        await self._steps()
        while await self._threads.done():
            await self._steps()

    @staticmethod
    async def _steps() -> None:
        ready: deque[object] = asyncio.get_running_loop()._ready  # type: ignore[attr-defined] # what is to run next
        for _ in range(1000):
            await asyncio.sleep(0)
            if not ready:
                return
