"""The floor under an api process: the same server and the same bytes, with nothing of ours between them.

One body at one index for everybody; a GET with `index` waits for the next index; a POST makes it and wakes them all. No
token is checked, nothing is parsed, nothing is stored.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

Message = dict[str, Any]

_body: Final = Path(os.environ["BENCH_BODY"]).read_bytes()
_waiters: Final[set[asyncio.Future[None]]] = set()
_index = 1


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    if scope["method"] == "POST":
        await _wake(receive)
    elif b"index=" in scope["query_string"]:
        await _wait(receive)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_body)).encode()),
        (b"x-heroctl-index", str(_index).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _body})


async def _wake(receive: Callable[[], Awaitable[Message]]) -> None:
    global _index  # noqa: PLW0603 - the whole state of this process
    while (await receive()).get("more_body"):
        pass
    _index += 1
    for waiter in _waiters:
        _set(waiter)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _wait(receive: Callable[[], Awaitable[Message]]) -> None:
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    _waiters.add(waiter)
    gone = loop.create_task(_gone(receive))
    gone.add_done_callback(lambda _: _set(waiter))
    try:
        await waiter
    finally:
        _waiters.discard(waiter)
        gone.cancel()


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
