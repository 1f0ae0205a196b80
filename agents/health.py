"""Health of what runs: checks made by the agent, and a small machine that decides what their answers mean.

One yes makes healthy; `retries` times no in a row make unhealthy; in the start period a no does not count. Without a
check what runs is healthy. A new container begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agents.clock import Clock
from agents.container import Container
from agents.runtime import Gone, Runtime, Unavailable
from heroctl.domain import lifecycle
from heroctl.domain.spec import Health, Task

HASTE: Final = 1.0  # at most so many seconds between checks until the first yes, within the start period
HURRY: Final = 0.25
_HEADERS: Final = "User-Agent: heroctl\r\nAccept: */*\r\nConnection: close"
_STATUS_LINE: Final = 128  # bytes; an answer without a line end in them is none

# Asks once: "" is yes, prose is no, None: it could not be asked, which says nothing of the workload.
Probe = Callable[[Task, Container], Awaitable[str | None]]


class Pulse(Struct, frozen=True):
    """What is known of a container's health. `since`: healthy without a break from then on; times are monotonic."""

    container: str
    health: lifecycle.Health = "unknown"
    since: float | None = None
    failures: int = 0
    said: str = ""  # what the last check that failed said


def born(check: Health | None, container: Container, now: float) -> Pulse:
    """Begin to watch a container."""
    if check is None:
        return Pulse(container.id, "healthy", now if container.started_at is None else container.started_at)
    return Pulse(container.id)


def heard(pulse: Pulse, check: Health, said: str, age: float, now: float) -> Pulse:
    """Take in the answer of a check: "" is yes. `age`: seconds since the container was started."""
    if not said:
        since = pulse.since if pulse.health == "healthy" else now
        return replace(pulse, health="healthy", since=since, failures=0, said="")
    if pulse.health == "unknown" and age < check.start_period.seconds:
        return replace(pulse, said=said)
    failures = pulse.failures + 1
    if failures < check.retries:
        return replace(pulse, failures=failures, said=said)
    return replace(pulse, health="unhealthy", since=None, failures=failures, said=said)


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


def prober(runtime: Runtime) -> Probe:
    """Make the checks of a runtime's containers: http, tcp or a command inside."""
    endpoints: dict[tuple[str, str], tuple[str, int]] = {}

    async def endpoint(task: Task, container: Container, check: Health) -> tuple[str, int]:
        port = check.tcp or check.port or next(iter(task.ports), "")
        key = container.id, port
        if key not in endpoints:
            endpoints[key] = await runtime.endpoint(container.id, port)
        return endpoints[key]

    async def probe(task: Task, container: Container) -> str | None:
        check = task.health
        if check is None:
            return ""
        try:
            if check.command is not None:
                return await _command(runtime, container, check)
            target = await endpoint(task, container, check)
            async with asyncio.timeout(check.timeout.seconds):
                return await _tcp(target) if check.tcp else await _http(target, check.http or "/")
        except TimeoutError:
            return f"no answer within {check.timeout}"
        except OSError as error:
            return str(error)
        except (Gone, Unavailable):
            return None

    return probe


async def _command(runtime: Runtime, container: Container, check: Health) -> str:
    ran = await runtime.exec(container.id, check.command or (), check.timeout.seconds)
    return "" if ran.exit_code == 0 else f"exit code {ran.exit_code}: {ran.output.strip()}"


async def _tcp(endpoint: tuple[str, int]) -> str:
    _, writer = await asyncio.open_connection(*endpoint)
    writer.close()
    return ""


async def _http(endpoint: tuple[str, int], path: str) -> str:
    """Ask with GET and look at the status alone; a redirect is an answer and is not followed."""
    host, port = endpoint
    reader, writer = await asyncio.open_connection(host, port, limit=_STATUS_LINE)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{_HEADERS}\r\n\r\n".encode())
        line = (await reader.readuntil(b"\r\n")).decode(errors="replace")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return "the answer is not HTTP"
    finally:
        writer.close()
    words = line.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        return "the answer is not HTTP"
    return "" if 200 <= int(words[1]) < 400 else f"status {words[1]}"
