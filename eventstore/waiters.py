"""Those who wait for a topic to move: long polls by the thousand.

One future and one timer each, resolved by callbacks. They are woken in slices, so that waking ten thousand does not
hold up the loop; whoever waits for a collection is woken a little later, so that a burst of events wakes it once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

SLICE: Final = 256
LINGER: Final = 0.02  # seconds

Woken = Literal["moved", "timeout", "ended"]


def is_collection(topic: str) -> bool:
    """Tell a list (`jobs`, `allocs:job=web`) from a single thing (`jobs:default/web`)."""
    return ":" not in topic or "=" in topic


class _Waiter:
    __slots__ = ("future", "index", "topics")

    def __init__(self, topics: tuple[str, ...], index: int, future: asyncio.Future[Woken]) -> None:
        self.topics = topics
        self.index = index
        self.future = future

    def end(self, how: Woken) -> None:
        if not self.future.done():
            self.future.set_result(how)


class Waiters:
    """Waiters by topic. `topic_index` gives the index of the last event that touched a topic."""

    def __init__(self, topic_index: Callable[[str], int]) -> None:
        self._topic_index = topic_index
        self._by_topic: dict[str, set[_Waiter]] = {}
        self._lingering: set[str] = set()
        self._due: deque[_Waiter] = deque()

    def __len__(self) -> int:
        """Return how many wait, counted once for each of their topics."""
        return sum(map(len, self._by_topic.values()))

    def index(self, topics: Iterable[str]) -> int:
        """Return the greatest index of some topics."""
        return max(map(self._topic_index, topics))

    async def wait(
        self, topics: tuple[str, ...], index: int, seconds: float, ended: asyncio.Future[Any] | None = None
    ) -> Woken:
        """Wait until a topic's index is above `index`, at most so long, and no longer than until `ended` is done."""
        if self.index(topics) > index:
            return "moved"
        loop = asyncio.get_running_loop()
        waiter = _Waiter(topics, index, loop.create_future())
        for topic in topics:
            self._by_topic.setdefault(topic, set()).add(waiter)
        timer = loop.call_later(seconds, waiter.end, "timeout")

        def end(_: object) -> None:
            waiter.end("ended")

        if ended is not None:
            ended.add_done_callback(end)
        try:
            return await waiter.future
        finally:
            timer.cancel()
            if ended is not None:
                ended.remove_done_callback(end)
            self._forget(waiter)

    def touch(self, topics: Iterable[str]) -> None:
        """Wake whoever waits for one of these topics and has not seen its present index."""
        for topic in topics:
            if topic not in self._by_topic or topic in self._lingering:
                continue
            if is_collection(topic):
                self._lingering.add(topic)
                asyncio.get_running_loop().call_later(LINGER, self._ripe, topic)
            else:
                self._wake(topic)

    def touch_all(self) -> None:
        """Wake everybody, whatever they have seen: the past they know is not the present's."""
        self._schedule([waiter for waiters in self._by_topic.values() for waiter in waiters])

    def _ripe(self, topic: str) -> None:
        self._lingering.discard(topic)
        self._wake(topic)

    def _wake(self, topic: str) -> None:
        now = self._topic_index(topic)
        self._schedule([waiter for waiter in self._by_topic.get(topic, ()) if waiter.index < now])

    def _schedule(self, waiters: list[_Waiter]) -> None:
        idle = not self._due
        self._due.extend(waiters)
        if idle and self._due:
            self._wake_slice()

    def _wake_slice(self) -> None:
        for _ in range(min(SLICE, len(self._due))):
            self._due.popleft().end("moved")
        if self._due:
            asyncio.get_running_loop().call_soon(self._wake_slice)

    def _forget(self, waiter: _Waiter) -> None:
        for topic in waiter.topics:
            waiters = self._by_topic[topic]
            waiters.discard(waiter)
            if not waiters:
                del self._by_topic[topic]
