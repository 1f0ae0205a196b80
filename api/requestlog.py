"""One line a request, made cheaply: encoded by msgspec, kept for a moment, and written with many others.

What happens seldom goes by structlog; `heroctl.logs` sets both up.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from heroctl import logs

_AT_ONCE: Final = 256
_DELAY: Final = 0.25  # seconds that a line waits for company


class Subject(Struct, frozen=True, gc=False):
    """What a request was about, as far as it was found out: a job, an allocation; and the index that was answered."""

    namespace: str = ""
    job: str = ""
    alloc: str = ""
    index: int = 0


NOTHING: Final = Subject()


class Line(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is said of a request. Never its query string or body: those may hold what is secret."""

    event: str
    level: logs.Level
    timestamp: str
    request_id: str
    method: str
    path: str
    status: int
    ms: float
    actor: str
    client: str
    namespace: str = ""
    job: str = ""
    alloc: str = ""
    index: int = 0
    trace_id: str = ""


class RequestLog:
    """Collects lines and hands them to `write` as bytes; `flush` hands over what is left."""

    def __init__(self, write: Callable[[bytes], object], clock: Callable[[], float] = time.time) -> None:
        self._write = write
        self._clock = clock
        self._lines: list[bytes] = []
        self._encode: Final = msgspec.json.Encoder().encode
        self._second, self._text = 0, ""
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self,
        request_id: bytes,
        method: str,
        path: str,
        status: int,
        *,
        ms: float,
        actor: str,
        client: str,
        about: Subject = NOTHING,
        trace: str = "",
    ) -> None:
        """Say that a request was answered."""
        level = _level(status)
        if not logs.is_heard(level):
            return
        said = Line(
            *("request", level, self._stamp(), request_id.decode("ascii"), method, logs.clean(path), status, ms),
            *(actor, client, about.namespace, about.job, about.alloc, about.index, trace),
        )
        self._lines.append(_words(said) if logs.for_people() else self._encode(said))
        if len(self._lines) >= _AT_ONCE:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self.flush)

    def _stamp(self) -> str:
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second, self._text = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        """Write what was collected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(b"\n".join(lines) + b"\n")


def _level(status: int) -> logs.Level:
    """Say how bad an answer is: a bug of ours, something away, or all as it should be."""
    return "info" if status < 500 else "error" if status == 500 else "warning"


def _words(line: Line) -> bytes:
    """Write a line for people."""
    told = {"method": line.method, "path": line.path, "status": line.status, "ms": line.ms}
    more = {"actor": line.actor, "job": line.job, "alloc": line.alloc, "index": line.index, "trace_id": line.trace_id}
    told |= {name: value for name, value in more.items() if value} | {"request_id": line.request_id}
    return f"{line.timestamp} [{line.level:<8}] {line.event:<30} {logs.words(told)}".encode()


def to_stdout(lines: bytes) -> None:
    """Write lines that are encoded already."""
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()
