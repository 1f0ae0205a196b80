"""From an append to whoever waits for what it touched, in the same process and in another."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
import uvloop

from eventstore.database import Database
from eventstore.log import Append, Log
from eventstore.postgres import open_log
from heroctl.domain.intents import jobs
from heroctl.domain.intents.change import job_stream
from heroctl.domain.state import State
from heroctl.domain.topics import job_topic
from tests.bench import fill
from tests.bench.rows import Case, Gauge
from tests.bench.store import EVENTS, store
from tests.bench.waiter import Wakes, waiting
from tests.waiting import eventually

_JOB: Final = "job-1"
_WRITES: Final = 600
_WARM: Final = 50
_APART: Final = (0.006, 0.014)  # seconds between two writes


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give percentiles of the time from calling append to the waiter's wake."""
    with store() as there:
        called, same, cross = uvloop.run(_run(there.dsn, there.past.state))
    near, far = _latencies(called, same), _latencies(called, cross)
    say(f"the same process {near[0]:.2f}..{near[-1]:.2f} ms, another {far[0]:.2f}..{far[-1]:.2f} ms")
    return {
        "wake_cross_p50_ms": far[len(far) // 2],
        "wake_cross_p99_ms": far[len(far) * 99 // 100],
        "wake_same_p50_ms": near[len(near) // 2],
        "wake_same_p99_ms": near[len(near) * 99 // 100],
    }


async def _run(dsn: str, state: State) -> tuple[list[tuple[int, float]], Wakes, Wakes]:
    topic = job_topic("default", _JOB)
    async with Database(dsn) as database, open_log(database) as log, _other(dsn, topic) as cross:
        await eventually(lambda: log.proven, what="a proven listener")
        async with waiting(log, topic) as same:
            called = [await _write(log, state) for _ in range(_WRITES + _WARM)][_WARM:]
            await eventually(lambda: same[-1][0] >= called[-1][0], what="the last wake")
    return called, same, cross


async def _write(log: Log, state: State) -> tuple[int, float]:
    """Let a job be stopped, which touches it whether it runs or not; give its index and when append was called."""
    await _pass(random.uniform(*_APART))
    change = jobs.stop_job(state, "default", _JOB)
    append = Append(change.events, (job_stream("default", _JOB),), meta=fill.META)
    began = time.monotonic()
    return (await log.append(append)).last, began


async def _pass(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()


@contextlib.asynccontextmanager
async def _other(dsn: str, topic: str) -> AsyncIterator[Wakes]:
    """Run a waiter in another process; its wakes are there after the body."""
    command = [sys.executable, "-m", "tests.bench.waiter", dsn, topic]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 24)
    assert process.stdin is not None
    assert process.stdout is not None
    wakes: Wakes = []
    try:
        assert await process.stdout.readline() == b"ready\n", "the waiter ended"
        yield wakes
        process.stdin.close()
        wakes += msgspec.json.decode(await process.stdout.readline(), type=Wakes)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _latencies(called: list[tuple[int, float]], wakes: Wakes) -> list[float]:
    """Give the milliseconds from each call to the first wake that showed its event, in order of length."""
    took: list[float] = []
    follow = iter(wakes)
    index, at = next(follow)
    for written, began in called:
        while index < written:
            index, at = next(follow)
        took.append((at - began) * 1000)
    return sorted(took)


CASE: Final = Case(
    gauges=(
        Gauge("wake_cross_p50_ms", "ms", at_most=5),
        Gauge("wake_cross_p99_ms", "ms", at_most=25),
        Gauge("wake_same_p50_ms", "ms"),
        Gauge("wake_same_p99_ms", "ms", at_most=10),
    ),
    run=run,
    method=(
        f"{_WRITES} appends of one event, {_APART[0] * 1000:.0f} to {_APART[1] * 1000:.0f} ms apart, after {_WARM} "
        f"that do not count, to a log of {EVENTS:,} events; a waiter for that job (`View.wait`, which long polls call) "
        "in the process that appends, and one in another process. From the call of `append`, so the commit is within, "
        "to the return of the wait."
    ),
)
