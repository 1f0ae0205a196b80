"""A command beside a workload that somebody is attached to: what it reads and writes passes through as it comes."""

from __future__ import annotations

from typing import Protocol


class Attached(Protocol):
    """It runs, or has just ended. Whoever leaves its context ends it, with all that it started."""

    async def write(self, part: bytes) -> None:
        """Give it input, as fast as it reads; what nobody reads any more is dropped."""
        ...

    async def end_input(self) -> None:
        """Let it see the end of its input. In a terminal that is for whoever types to say."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """Give its terminal so many columns and rows, where it has one."""
        ...

    async def read(self) -> tuple[int, bytes] | None:
        """Return a channel of `domain.execs` and what was written to it; None: it has ended, and all is read."""
        ...

    async def wait(self) -> int:
        """Return how it ended, once nothing is left to read: 128 + the number of a signal."""
        ...
