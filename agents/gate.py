"""A door for a few at a time, which one who hangs does not hold shut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Lets `width` in at a time. Whoever stays longer than `patience` seconds no longer counts."""

    def __init__(self, width: int, patience: float) -> None:
        self._free = asyncio.Semaphore(width)
        self._patience = patience

    @asynccontextmanager
    async def through(self) -> AsyncIterator[None]:
        """Wait for a place, and have it until the end of the block or of the patience."""
        await self._free.acquire()
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if not given_back:
                given_back = True
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._patience, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()
