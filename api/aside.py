"""Work that would hold the loop: done by one thread beside it, piece by piece, one work after the other.

Python runs one thread at a time, and changes over every 5 ms if a thread does not let go by itself. So the loop waits
for as long at most, whatever the work; and hardly at all where the pieces are short, as the thread rests between them.
What is worked on must be nobody else's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, cast

from eventstore.internals import INTERNALS
from heroctl.domain.errors import Unavailable

T = TypeVar("T")

_QUEUE: Final = 16  # works that are being done or wait to be
_REST: Final = 0.000_5  # seconds, between two pieces


class Aside:
    """One such thread, made when it is needed first."""

    def __init__(self, most: int = _QUEUE) -> None:
        self._thread = ThreadPoolExecutor(1, "aside")
        self._most = most
        self._waiting = 0
        INTERNALS.gauge("heroctl_aside_queue", "Long work that is being done or waits for that", lambda: self._waiting)

    async def do(self, work: Generator[None, None, T]) -> T:
        """Let something be done. Raises what it raises, or `busy`. Who leaves before its turn has it not done."""
        if self._waiting >= self._most:
            raise Unavailable("busy", "too many ask for as much at the same time: try again", retry_after=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _gently, work)
        finally:
            self._waiting -= 1


def _gently(work: Generator[None, None, T]) -> T:
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("T", end.value)
        time.sleep(_REST)
