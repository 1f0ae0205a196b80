"""An event loop on which time passes only when nothing else is left to do: timers in tests cost nothing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class FastLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when no file and no callback is ready. Not for code that does I/O."""

    def __init__(self) -> None:
        self.skipped = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the loop's clock: skipped seconds alone, so that every run is the same."""
        return self.skipped


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: FastLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self._loop.skipped += timeout
        elif not ready and timeout is None:
            raise AssertionError("everybody waits, and for nobody")
        return ready


async def elapse(seconds: float) -> None:
    """Let the loop's time pass."""
    passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(seconds, passed.set_result, None)
    try:
        await passed
    finally:
        timer.cancel()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function on a loop of this kind."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(main())
