"""Passwords, hashed beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from eventstore import passwords
from heroctl.domain.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE: Final = 4  # threads
_MOST_WAITING: Final = 100


class Passwords:
    """Hashes and checks passwords in threads of its own, few of them: logins exhaust neither memory nor cores."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "password")
        self._waiting = 0
        self._nobody = passwords.unknown()

    async def hashed(self, password: str) -> bytes:
        """Return what the vault keeps of a password. Raises `busy` when too many wait."""
        return await self._run(passwords.hashed, password)

    async def match(self, kept: bytes | None, password: str) -> bool:
        """Compare; takes as long where there is nothing to compare with. Raises `busy` when too many wait."""
        return await self._run(passwords.fits, kept or self._nobody, password) and kept is not None

    async def stretched(self, data: bytes, salt: bytes) -> bytes:
        """Return what may be kept to compare other data with. Raises `busy` when too many wait."""
        return await self._run(passwords.stretched, data, salt)

    async def _run(self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("busy", "too many logins at once: try again", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*given, **named))
        finally:
            self._waiting -= 1
