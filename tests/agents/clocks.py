"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque


class ManualClock:
    """Sleepers wake in order when `advance` passes their time; in between everyone gets a turn."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
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

    @staticmethod
    async def _turns() -> None:
        """Let everyone who can go on go on, until all wait."""
        ready: deque[object] = asyncio.get_running_loop()._ready  # type: ignore[attr-defined] # what is to run next
        for _ in range(1000):
            await asyncio.sleep(0)
            if not ready:
                return
