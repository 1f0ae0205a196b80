"""Gives what workloads write to others, too: to a file, to an OTLP endpoint. Never waited for, never in the way.

Each outlet has a queue of its own, within bounds. What it does not take in time is counted, and a line in its place
says so, as it is in what is shipped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from agents.container import Node
from agents.log_file import LogFile
from agents.log_origin import Forwarded, Origin
from agents.log_tail import Whose
from agents.settings import Settings
from heroctl.domain.logs import RATE_TOO_HIGH, Line, marker
from heroctl.otlp import pump, target
from heroctl.otlp.post import Post

WAITING: Final = 8 << 20  # bytes of lines that wait for one outlet
BATCH: Final = 256 << 10  # bytes of lines that it is given at a time
NOT_TAKEN: Final = "not taken by what logs are forwarded to"
LAST: Final = 3.0  # seconds for what waits at the agent's end
USUAL: Final = pump.Bounds(WAITING, BATCH)


class Outlet(Protocol):
    """Something that takes lines."""

    async def send(self, lines: list[Forwarded]) -> int:
        """Take them, and tell how many were refused. Raises Away and Refused."""
        ...

    async def close(self) -> None:
        """End."""
        ...


class _Missing:
    """Lines of one container that were not taken: how many, and why."""

    __slots__ = ("count", "why")

    def __init__(self) -> None:
        self.count = 0
        self.why = ""


class Queue:
    """What is on its way to one outlet. `dropped`: how many lines did not get there."""

    def __init__(self, name: str, outlet: Outlet, bounds: pump.Bounds = USUAL) -> None:
        self._outlet = outlet
        self._pump = pump.Pump(name, self._send, bounds, lost=self._lost)
        self._missing: dict[Origin, _Missing] = {}
        self.dropped = 0

    def open(self) -> None:
        """Begin."""
        self._pump.open()

    def put(self, origin: Origin, lines: Iterable[Line], unread: int = 0) -> None:
        """Take lines, and the count of those after them that nobody read."""
        for line in lines:
            if not (self._told(origin, line.time) and self._pump.put(Forwarded(origin, line), line.size)):
                self.dropped += line.count
                self._miss(origin, line.count, NOT_TAKEN)
        if unread:
            self._miss(origin, unread, RATE_TOO_HIGH)

    def end(self, origin: Origin) -> None:
        """Tell of what is missing at the end of an output."""
        self._told(origin, round(time.time() * 1000))
        self._missing.pop(origin, None)

    def _miss(self, origin: Origin, count: int, why: str) -> None:
        missing = self._missing.setdefault(origin, _Missing())
        missing.count += count
        missing.why = missing.why if missing.why == NOT_TAKEN else why

    def _told(self, origin: Origin, time_ms: int) -> bool:
        """Put a line in the place of those that are missing; False: there is no room for it."""
        missing = self._missing.get(origin)
        if missing is None:
            return True
        line = marker(time_ms, missing.count, missing.why)
        if not self._pump.put(Forwarded(origin, line), line.size):
            return False
        del self._missing[origin]
        return True

    async def _send(self, lines: list[Forwarded]) -> None:
        self.dropped += await self._outlet.send(lines)

    def _lost(self, lines: list[Forwarded]) -> None:
        self.dropped += sum(each.line.count for each in lines if each.line.source != "system")
        for origin, line in lines:
            self._miss(origin, line.count, NOT_TAKEN)

    async def close(self, within: float) -> None:
        """Give what waits, as far as it is taken in so many seconds."""
        for origin in list(self._missing):
            self.end(origin)
        await self._pump.close(within)
        await self._outlet.close()


class Forward:
    """See above."""

    def __init__(self, node: Node, queues: Iterable[Queue]) -> None:
        self._node = node
        self._queues = tuple(queues)

    def counts(self) -> dict[str, float]:
        """Count the lines that were not taken, of all outlets."""
        return {"forward_dropped": float(sum(queue.dropped for queue in self._queues))}

    def open(self) -> None:
        """Begin."""
        for queue in self._queues:
            queue.open()

    def put(self, whose: Whose, lines: list[Line], unread: int) -> None:
        """Give what was read of a container's output."""
        origin = self._origin(whose)
        for queue in self._queues:
            queue.put(origin, lines, unread)

    def end(self, whose: Whose) -> None:
        """Hear that a container's output was read to its end."""
        for queue in self._queues:
            queue.end(self._origin(whose))

    def _origin(self, whose: Whose) -> Origin:
        node = self._node
        return Origin(whose.namespace, whose.job, whose.task, whose.alloc, whose.container, node.name, node.id)

    async def close(self) -> None:
        """End, once what waits is taken or a moment has passed."""
        await asyncio.gather(*(queue.close(LAST) for queue in self._queues))


def forward(settings: Settings, node: Node, env: Mapping[str, str]) -> Forward | None:
    """Make what was asked for; None: nothing was. Raises Unusable."""
    queues: list[Queue] = []
    if settings.log_forward_file:
        path = Path(settings.log_forward_file)
        if not path.parent.is_dir():
            raise target.Unusable(f"--log-forward-file: there is no folder {path.parent}")
        queues.append(Queue("file", LogFile(path, settings.log_forward_size.bytes, settings.log_forward_files)))
    if settings.log_forward_otlp:
        queues.append(Queue("otlp", _otlp(settings.log_forward_otlp, env)))
    return Forward(node, queues) if queues else None


def _otlp(url: str, env: Mapping[str, str]) -> Outlet:
    try:
        made = target.target(target.asked(url, env, "logs"), env, "logs")
        make = _log_post()
    except target.Unusable as error:
        raise target.Unusable(f"--log-forward-otlp: {error}") from error
    return make(Post(made))


def _log_post() -> Callable[[Post], Outlet]:
    try:
        from agents.log_otlp import LogPost  # noqa: PLC0415 - an extra, which may not be there
    except ImportError as error:
        raise target.Unusable(target.MISSING) from error
    return LogPost
