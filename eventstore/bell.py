"""The bell: tells those who tail a log that it may have moved, and, from time to time, to look all the same."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable


class Bell:
    """Rings everybody who listens. Rings that nobody has heard yet become one, with the greatest index.

    `interval` gives the seconds until the next unasked wake; it is asked again after each.
    """

    def __init__(self, interval: Callable[[], float] = lambda: math.inf) -> None:
        self._interval = interval
        self._ears: set[_Ear] = set()

    def ring(self, index: int = 0) -> None:
        """Say that the log has reached an index; 0: that everybody should look at its head."""
        for ear in self._ears:
            ear.ring(index)

    async def wakes(self) -> AsyncIterator[int]:
        """Yield 0 at once and at every interval, and the index of each ring; never ends."""
        ear = _Ear()
        self._ears.add(ear)
        now = asyncio.get_running_loop().time
        try:
            due = 0.0
            while True:
                index = await ear.hear(due) if now() < due else 0
                if index == 0:
                    due = now() + self._interval()
                yield index
        finally:
            self._ears.discard(ear)


class _Ear:
    __slots__ = ("_index", "_look", "_rung")

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._index = 0
        self._look = False

    def ring(self, index: int) -> None:
        self._index = max(self._index, index)
        self._look = self._look or index == 0
        self._rung.set()

    async def hear(self, due: float) -> int:
        """Wait for a ring, or until a moment of the loop's clock."""
        try:
            async with asyncio.timeout_at(due if due != math.inf else None):
                await self._rung.wait()
        except TimeoutError:
            return 0
        index = 0 if self._look else self._index
        self._rung.clear()
        self._index, self._look = 0, False
        return index
