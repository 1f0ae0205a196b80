"""Things on their way to somebody who may be slow, away or hostile: bounded, sent again, and never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import structlog

from heroctl.otlp.post import Away, Refused

T = TypeVar("T")

PAUSES: Final = (0.5, 30.0)  # seconds until it is tried again, first and at most
GATHER: Final = 0.2  # seconds for which things are gathered before they are sent
_log = structlog.get_logger("forward")


class Bounds:
    """How much may wait, and how much is sent at a time: both in whatever a thing's size is counted in."""

    __slots__ = ("batch", "gather", "pauses", "waiting")

    def __init__(
        self, waiting: int, batch: int, *, pauses: tuple[float, float] = PAUSES, gather: float = GATHER
    ) -> None:
        self.waiting = waiting
        self.batch = batch
        self.pauses = pauses
        self.gather = gather


class Pump(Generic[T]):
    """Sends what is put in, in order. `send` raises Away to be called again with the same, Refused to go on without.

    `name`: what it is called in the lines of the process; `lost`: is told of what was put in and will not arrive.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[list[T]], Awaitable[None]],
        bounds: Bounds,
        *,
        lost: Callable[[list[T]], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._send = send
        self._bounds = bounds
        self._lost = lost
        self._waiting: deque[tuple[T, int]] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away = ""

    def open(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run(), name=f"pump-{self._name}")

    def put(self, thing: T, size: int = 1) -> bool:
        """Have it sent; False: there is no room."""
        if self._size + size > self._bounds.waiting:
            return False
        self._waiting.append((thing, size))
        self._size += size
        self._news.set()
        return True

    async def close(self, within: float) -> None:
        """Send what waits, as far as that is possible in so many seconds."""
        self._closing.set()
        self._news.set()
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.shield(self._task)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            left = [thing for thing, _ in self._waiting]
            _log.warning("not_forwarded", to=self._name, count=len(left), because=self._away or "there was no time")
            self._lost(left)
            self._waiting.clear()

    async def _run(self) -> None:
        while not (self._closing.is_set() and not self._waiting):
            await self._news.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._bounds.gather):
                    await self._closing.wait()
            self._news.clear()
            while batch := self._batch():
                await self._deliver(batch)

    def _batch(self) -> list[T]:
        """Give what is sent next: it goes on to wait until somebody has taken it."""
        found: list[T] = []
        size = 0
        for thing, each in self._waiting:
            if found and size + each > self._bounds.batch:
                break
            found.append(thing)
            size += each
        return found

    async def _deliver(self, batch: list[T]) -> None:
        """Send it again and again until it is taken, or refused."""
        pause, most = self._bounds.pauses
        while True:
            try:
                await self._send(batch)
            except Away as error:
                self._tell(str(error))
                await self._rest(max(error.after, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - spreads, hides nothing
                pause = min(pause * 2, most)
            except Refused as error:
                self._tell(str(error))
                self._let_go(batch)
                self._lost(batch)
                await self._rest(pause)
                return
            except Exception:  # noqa: BLE001 - a bug in the sending of one batch ends nobody's work
                _log.exception("forwarding_failed", to=self._name)
                self._let_go(batch)
                self._lost(batch)
                return
            else:
                self._tell("")
                self._let_go(batch)
                return

    async def _rest(self, seconds: float) -> None:
        """Wait; while closing as short as the first pause: there is little time."""
        if self._closing.is_set():
            seconds = min(seconds, self._bounds.pauses[0])
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _let_go(self, batch: list[T]) -> None:
        for _ in batch:
            self._size -= self._waiting.popleft()[1]

    def _tell(self, because: str) -> None:
        """Write a line when it stops to be taken, and when it goes on."""
        if because and not self._away:
            _log.warning("not_taken", to=self._name, because=because)
        elif self._away and not because:
            _log.info("taken_again", to=self._name)
        self._away = because
