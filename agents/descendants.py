"""A process and all that came of it: what a command leaves behind is ended with it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def end(pid: int, *, reaped: bool = False) -> None:
    """Kill a process that leads a group, its group, and everything below it, wherever that went.

    `reaped`: it has ended already and its number may be another's by now; only what is left of its group is killed.
    """
    below = [] if reaped else [pid, *_below(pid)]
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for one in below:
        with contextlib.suppress(OSError):
            os.kill(one, signal.SIGKILL)


def end_inside(container: str, pid: int) -> None:
    """Kill a command in a container. The number is an engine's: only what this machine has in that container."""
    with contextlib.suppress(OSError):
        if pid and container in Path(f"/proc/{pid}/cgroup").read_text():
            end(pid)


def _below(pid: int) -> list[int]:
    found, left = list[int](), [pid]
    while left:
        one = left.pop()
        with contextlib.suppress(OSError, ValueError):
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                left += [int(child) for child in children.read_text().split()]
        found.append(one)
    return found[1:]
