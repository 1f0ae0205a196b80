"""The snapshotter: has a snapshot made whenever a partition of the log has ended. A child process does it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from eventstore.log import LogUnavailable

LOOK: Final = 10.0  # seconds, jittered, between looks at what is due
LONGEST: Final = 3600.0  # seconds, to a child; it holds itself to that as well
_FIRST, _LAST = 60.0, 3600.0  # seconds to wait after a failure, doubled each time
_COMMAND: Final = (sys.executable, "-P", "-m", "eventstore", "snapshot")

_log: Final = structlog.get_logger(__name__)


class Due(Protocol):
    """Whatever knows what is due; see Snapshots.due."""

    async def due(self) -> list[int]:
        """Name the ends of partitions that have passed without a snapshot. Raises LogUnavailable."""
        ...


class Snapshotter:
    """Looks now and then, when it is `mine` to do, and has it made by `child`, which tells whether it succeeded."""

    def __init__(self, snapshots: Due, mine: Callable[[], bool], child: Callable[[], Awaitable[bool]]) -> None:
        self._snapshots = snapshots
        self._mine = mine
        self._child = child
        self._failures = 0

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(self._pause() * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            if self._mine():
                await self.look()

    async def look(self) -> None:
        """Have made what is due."""
        try:
            due = await self._snapshots.due()
        except LogUnavailable:
            return  # who reads the log complains
        if not due:
            return
        _log.info("snapshots_due", indexes=due)
        if await self._child():
            self._failures = 0
        else:
            self._failures += 1
            _log.error("snapshots_failed", indexes=due, failures=self._failures, again_in=self._pause())

    def _pause(self) -> float:
        return min(_FIRST * 2 ** min(self._failures - 1, 10), _LAST) if self._failures else LOOK


async def child(dsn: str, *, longest: float = LONGEST) -> bool:
    """Run the child to its end, and no longer than allowed or than the caller lives; tell whether it succeeded.

    `dsn` leads to the database directly. The child's log lines come out where this process's do.
    """
    try:
        process = await asyncio.create_subprocess_exec(*_COMMAND, env={**os.environ, "HEROCTL_DSN": dsn})
    except OSError as error:
        _log.error("snapshot_not_begun", reason=str(error))
        return False
    try:
        async with asyncio.timeout(longest):
            return await process.wait() == 0
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # what it leaves behind does not count
            await process.wait()
