"""What this machine has, and how nodes share it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

FIRST_PORT: Final = 20_000  # the range that agents pick host ports from
LAST_PORT: Final = 32_000
PORTS_EACH: Final = 500
_MEMORY_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CPU_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")


class Share(NamedTuple):
    """What one node may use: cores, bytes of memory, host ports (both ends included)."""

    cpu: float
    memory: int
    ports: tuple[int, int]


def shares(count: int, cpu: float, memory: int, first_port: int) -> list[Share]:
    """Split a machine among so many nodes: equal parts, no port twice, from `first_port` on if there is room."""
    first = max(FIRST_PORT, min(first_port, LAST_PORT - count * PORTS_EACH + 1))
    starts = [first + number * PORTS_EACH for number in range(count)]
    return [Share(round(cpu / count, 2), memory // count, (start, start + PORTS_EACH - 1)) for start in starts]


def cores() -> float:
    """Return how many cores this process may use."""
    there = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CPU_LIMIT.read_text().split()
        return min(there, int(quota) / int(period))
    return there


def memory() -> int:
    """Return how many bytes of memory this process may use."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            there = min(there, int(Path(name).read_text()))
    return there


async def docker_answers(host: str) -> bool:
    """Tell whether a Docker engine answers at DOCKER_HOST, or at the usual socket where that is empty."""
    scheme, _, rest = (host or "unix:///var/run/docker.sock").partition("://")
    try:
        async with asyncio.timeout(2):
            if scheme == "unix":
                reader, writer = await asyncio.open_unix_connection(rest)
            elif scheme in ("tcp", "http"):
                name, _, port = rest.rstrip("/").rpartition(":")
                reader, writer = await asyncio.open_connection(name, int(port))
            else:
                return False
            writer.write(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return b" 200 " in line
    except (OSError, TimeoutError, ValueError):
        return False
