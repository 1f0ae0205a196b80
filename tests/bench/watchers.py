"""Many clients that wait for one job, in a process of their own. On stdin a plan, then one line for each round.

    {"address": ["127.0.0.1", 8080], "token": "…", "path": "/v1/jobs/web", "watchers": 5000}
    {"write": {…a job spec…}}            → after the plan and after each round a line of JSON on stdout

A round: the write goes out on a connection of its own, and every watcher gets the job at a newer index. Then all wait
again, at the index that they were given.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

import msgspec
import uvloop
from msgspec import Struct

from tests.bench import wire

_PATIENCE: Final = 60.0
_SOURCES: Final = 16


class Plan(Struct):
    """Where to wait, for what, and how many."""

    address: tuple[str, int]
    token: str
    path: str
    watchers: int


class Gathered(Struct):
    """All are connected and have asked."""

    waiting: int


class Round(Struct):
    """What to write."""

    write: dict[str, Any]


class Woken(Struct):
    """What a round gave, in milliseconds since the write was sent."""

    last: float
    p99: float
    p50: float
    written: float  # until the writer had its own answer
    bytes: int  # of one body


async def _run() -> None:
    plan = msgspec.json.decode(await _line(), type=Plan)
    flock = _Flock(plan)
    await flock.gather()
    _tell(Gathered(plan.watchers))
    while line := await _line():
        _tell(await flock.wake(msgspec.json.decode(line, type=Round)))
        flock.wait()
    flock.close()


class _Flock:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._connections: list[wire.Connection] = []
        self._waits: list[asyncio.Future[wire.Answer]] = []
        self._writer: wire.Connection | None = None

    async def gather(self) -> None:
        """Connect, read the job once for its index, and wait for the next."""
        plan = self._plan
        self._connections = await wire.connect_many(
            plan.address, plan.watchers, lambda number: f"127.0.0.{2 + number % _SOURCES}"
        )
        self._writer = await wire.connect(plan.address)
        answer = await self._writer.ask(wire.request("GET", plan.path, plan.token))
        _expect(answer, 0)
        self._index = answer.index
        self.wait()

    def wait(self) -> None:
        """Ask for what comes after the newest index."""
        request = wire.request("GET", f"{self._plan.path}?index={self._index}&wait=5m", self._plan.token)
        self._waits = [connection.ask(request) for connection in self._connections]

    async def wake(self, order: Round) -> Woken:
        """Write, and wait until the last watcher has its whole answer."""
        assert self._writer is not None
        early = sum(wait.done() for wait in self._waits)
        assert not early, f"{early} watchers were answered before the write: {self._waits[0]}"
        body = msgspec.json.encode(order.write)
        request = wire.request("POST", "/v1/jobs", self._plan.token, body)
        sent = time.monotonic()
        written = await self._writer.ask(request)
        assert written.status == 200, (written.status, written.body[:300])
        async with asyncio.timeout(_PATIENCE):
            answers = await asyncio.gather(*self._waits)
        for answer in answers:
            _expect(answer, self._index)
        took = sorted((answer.at - sent) * 1000 for answer in answers)
        self._index = max(answer.index for answer in answers)
        return Woken(
            last=took[-1],
            p99=took[len(took) * 99 // 100],
            p50=took[len(took) // 2],
            written=(written.at - sent) * 1000,
            bytes=len(answers[-1].body),
        )

    def close(self) -> None:
        for connection in [*self._connections, self._writer]:
            if connection is not None:
                connection.close()


def _expect(answer: wire.Answer, after: int) -> None:
    if answer.status != 200 or answer.index <= after or not answer.body:
        raise ValueError(f"status {answer.status}, index {answer.index} after {after}: {answer.body[:300]!r}")


async def _line() -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)


def _tell(what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_run())
