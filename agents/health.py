"""Health of what runs: checks made by the agent, and a small machine that decides what their answers mean.

One yes makes healthy; `retries` times no in a row make unhealthy; in the start period a no does not count. Without a
check what runs is healthy. A new attempt begins anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agents.clock import Clock
from agents.container import Container
from agents.output import last_lines
from agents.runtime import Gone, Runtime, Unavailable
from heroctl.domain import lifecycle
from heroctl.domain.spec import Health, Task

HASTE: Final = 1.0  # at most so many seconds between checks until the first yes, within the start period
HURRY: Final = 0.25
LASTING: Final = 10  # noes in a row after which a long start is told of
_HEADERS: Final = "User-Agent: heroctl\r\nAccept: */*\r\nConnection: close"
_STATUS_LINE: Final = 1024  # bytes; an answer without a line end in them is none
_REMEMBERED: Final = 1000  # addresses

# Asks once: "" is yes, prose is no, None: it could not be asked, which says nothing of the workload.
Probe = Callable[[Task, Container], Awaitable[str | None]]


class Pulse(Struct, frozen=True):
    """What is known of a container's health. `since`: healthy without a break from then on; times are monotonic."""

    container: str
    attempt: int = 0
    health: lifecycle.Health = "unknown"
    since: float | None = None
    failures: int = 0  # in a row, of those that count
    noes: int = 0  # in a row, whether they count or not
    said: str = ""  # what the last check that failed said


def born(check: Health | None, container: Container, attempt: int, now: float) -> Pulse:
    """Begin to watch a container in this attempt."""
    if check is None:
        since = now if container.started_at is None else container.started_at
        return Pulse(container.id, attempt, "healthy", since)
    return Pulse(container.id, attempt)


def heard(pulse: Pulse, check: Health, said: str, age: float, now: float) -> Pulse:
    """Take in the answer of a check: "" is yes. `age`: seconds since the container was started."""
    if not said:
        since = pulse.since if pulse.health == "healthy" else now
        return replace(pulse, health="healthy", since=since, failures=0, noes=0, said="")
    pulse = replace(pulse, noes=pulse.noes + 1, said=said)
    if pulse.health == "unknown" and age < check.start_period.seconds:
        return pulse
    failures = pulse.failures + 1
    if failures < check.retries:
        return replace(pulse, failures=failures)
    return replace(pulse, health="unhealthy", since=None, failures=failures)


def news(before: Pulse | None, after: Pulse) -> bool:
    """Tell whether others should hear of it: another health, or why one is not healthy yet, once that is no haste."""
    if before is None or (before.container, before.attempt) != (after.container, after.attempt):
        return True
    if before.health != after.health:
        return True
    counts = after.failures == 1 and before.failures == 0
    lasts = after.noes == LASTING and before.noes < LASTING
    return after.health == "unknown" and (counts or lasts)


def pause(pulse: Pulse, check: Health, age: float) -> float:
    """Say how long to wait for the next check: the interval, less while a young container has never said yes."""
    if pulse.health == "unknown" and age < check.start_period.seconds:
        return min(check.interval.seconds, HASTE, max(HURRY, age / 2))
    return check.interval.seconds


async def watch(
    task: Task, container: Container, pulse: Pulse, probe: Probe, clock: Clock, *, told: Callable[[Pulse], None]
) -> None:
    """Check again and again, for ever, and tell what is known after each check."""
    check = task.health
    if check is None:
        return
    started = clock.now() if container.started_at is None else container.started_at
    while True:
        said = await probe(task, container)
        now = clock.now()
        if said is not None:
            pulse = heard(pulse, check, said, now - started, now)
            told(pulse)
        await clock.sleep(pause(pulse, check, now - started))


class Prober:
    """Makes the checks of a runtime's containers: http, tcp or a command inside. What it says names the check."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._endpoints: dict[tuple[str, str], tuple[str, int]] = {}

    async def __call__(self, task: Task, container: Container) -> str | None:
        """Ask once."""
        check = task.health
        if check is None:
            return ""
        try:
            if check.command is not None:
                return await self._command(container, check, check.command)
            return await self._asked(task, container, check)
        except TimeoutError:
            return f"{_named(check)}: no answer within {check.timeout}"
        except (Gone, Unavailable):
            return None

    async def _command(self, container: Container, check: Health, command: tuple[str, ...]) -> str:
        ran = await self._runtime.exec(container.id, command, check.timeout.seconds)
        if ran.exit_code == 0:
            return ""
        said = last_lines(ran.output.encode())
        return f"{_named(check)}: exit code {ran.exit_code}" + (f"\n{said}" if said else "")

    async def _asked(self, task: Task, container: Container, check: Health) -> str:
        port = check.tcp or check.port or next(iter(task.ports), "")
        host, number = await self._endpoint(container, port)
        try:
            async with asyncio.timeout(check.timeout.seconds):
                said = await (_tcp(host, number) if check.tcp else _http(host, number, check.http or "/"))
        except TimeoutError:
            raise
        except OSError as error:
            self._endpoints.pop((container.id, port), None)  # it may be elsewhere now
            return f"{_named(check)}: {os.strerror(error.errno) if error.errno else error} ({host}:{number})"
        return f"{_named(check)} {said}" if said else ""

    async def _endpoint(self, container: Container, port: str) -> tuple[str, int]:
        key = container.id, port
        if key not in self._endpoints:
            if len(self._endpoints) >= _REMEMBERED:
                self._endpoints.clear()
            self._endpoints[key] = await self._runtime.endpoint(container.id, port)
        return self._endpoints[key]


def _named(check: Health) -> str:
    if check.command is not None:
        return "command"
    return f"tcp {check.tcp}" if check.tcp else f"GET {check.http or '/'}"


async def _tcp(host: str, port: int) -> str:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return ""


async def _http(host: str, port: int, path: str) -> str:
    """Ask with GET and look at the status alone; a redirect is an answer and is not followed."""
    reader, writer = await asyncio.open_connection(host, port, limit=_STATUS_LINE)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{_HEADERS}\r\n\r\n".encode())
        line = (await reader.readuntil(b"\r\n")).decode(errors="replace")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return "did not answer with HTTP"
    finally:
        writer.close()
    words = line.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        return "did not answer with HTTP"
    return "" if 200 <= int(words[1]) < 400 else f"answered {words[1]}"
