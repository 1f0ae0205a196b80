"""One who waits for a topic of a log, as a long poll does, in a process of its own.

    python -m tests.bench.waiter DSN TOPIC

On stdout a line once the view has caught up; then, when stdin ends, a line of JSON: each wake with the index that the
topic had then, and the moment on the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import structlog
import uvloop

from eventstore.database import Database
from eventstore.log import Log
from eventstore.postgres import open_log
from eventstore.view import View
from tests.waiting import eventually

_PATIENCE: Final = 30.0

Wakes = list[tuple[int, float]]


@contextlib.asynccontextmanager
async def waiting(log: Log, topic: str) -> AsyncIterator[Wakes]:
    """Follow a log and wait for a topic again and again; yield the wakes, which grow meanwhile."""
    view = View(log)
    wakes: Wakes = []
    following = asyncio.create_task(view.run())
    await eventually(lambda: view.started, timeout=_PATIENCE, what="the view's first catch-up")

    async def wait() -> None:
        while True:
            seen = view.topic_index(topic)
            await view.wait(topic, seen, _PATIENCE)
            wakes.append((view.topic_index(topic), time.monotonic()))

    work = asyncio.create_task(wait())
    try:
        yield wakes
    finally:
        for task in (work, following):
            task.cancel()
        await asyncio.gather(work, following, return_exceptions=True)


async def _run(dsn: str, topic: str) -> None:
    async with Database(dsn) as database, open_log(database) as log:
        await eventually(lambda: log.proven, timeout=_PATIENCE, what="a proven listener")
        async with waiting(log, topic) as wakes:
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.buffer.read)
        print(msgspec.json.encode(wakes).decode(), flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for the figures
    uvloop.run(_run(*sys.argv[1:]))
