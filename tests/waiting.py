"""Waiting for a condition instead of sleeping: the one place in the tests that lets time pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")

_PAUSE: Final = 0.01
_LONG: Final = 30.0  # seconds: nothing takes that long, but on a machine that has other things to do


def until(look: Callable[[], T], *, timeout: float = _LONG, what: str = "") -> T:
    """Look again and again until there is something true, and return it. AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(_too_late(look, timeout, what))
        time.sleep(_PAUSE)
    return seen


@overload
async def eventually(look: Callable[[], Coroutine[Any, Any, T]], *, timeout: float = ..., what: str = ...) -> T: ...


@overload
async def eventually(look: Callable[[], T], *, timeout: float = ..., what: str = ...) -> T: ...


async def eventually(look: Callable[[], Any], *, timeout: float = _LONG, what: str = "") -> Any:
    """As `until`, on the event loop; `look` may be a plain or an async function."""
    deadline = time.monotonic() + timeout
    while True:
        answer = look()
        seen = await answer if isinstance(answer, Awaitable) else answer
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(_too_late(look, timeout, what))
        await asyncio.sleep(_PAUSE)


def _too_late(look: Callable[[], object], timeout: float, what: str) -> str:
    return f"{what or getattr(look, '__qualname__', 'the condition')} did not come true within {timeout:g} s"
