"""Log lines: JSON, one a line, on standard output. What happens seldom goes by structlog.

One line a request is made cheaply: encoded by msgspec, kept for a moment, and written with many others.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog
from msgspec import Struct

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_AT_ONCE: Final = 256
_DELAY: Final = 0.25  # seconds that a line waits for company


class Line(Struct, frozen=True, gc=False):
    """What is said of a request. Never its query string or body: those may hold what is secret."""

    event: str
    timestamp: str
    request_id: str
    method: str
    path: str
    status: int
    ms: float
    actor: str
    client: str


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
        self, request_id: bytes, method: str, path: str, status: int, *, ms: float, actor: str, client: str
    ) -> None:
        """Say that a request was answered."""
        line = Line("request", self._stamp(), request_id.decode("ascii"), method, path, status, ms, actor, client)
        self._lines.append(self._encode(line))
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


def configure(level: str) -> None:
    """Set structlog up for this process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )


def to_stdout(lines: bytes) -> None:
    """Write lines that are encoded already."""
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()
