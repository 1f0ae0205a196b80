"""A file that lines are appended to, as JSON: rotated by size, the oldest gone by count, whole lines only.

It is opened anew for each batch, so that whoever moves it away (logrotate) gets no more of it.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import json

from agents.log_origin import Forwarded
from heroctl.otlp.post import Away


class LogFile:
    """See above. `size`: bytes of one file; `files`: how many there are at most, the one that grows among them."""

    def __init__(self, path: Path, size: int, files: int) -> None:
        self._path = path
        self._size = size
        self._files = files

    async def send(self, lines: list[Forwarded]) -> int:
        """Append lines. Raises Away where the disk refuses: nothing of them is in the file then."""
        try:
            await asyncio.to_thread(self._append, b"".join(map(_json, lines)))
        except OSError as error:
            raise Away(f"cannot be written: {error.strerror or error}") from error
        return 0

    async def close(self) -> None:
        """Do nothing: it is closed."""

    def _append(self, data: bytes) -> None:
        before = self._path.stat().st_size if self._path.exists() else 0
        if before and before + len(data) > self._size:
            self._rotate()
            before = 0
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            whole = not before or os.pread(handle, 1, before - 1) == b"\n"  # else somebody was killed while writing
            _write(handle, data if whole else b"\n" + data, before)
        finally:
            os.close(handle)

    def _rotate(self) -> None:
        """Give each file the next number; the last one's place is taken."""
        for number in range(self._files - 1, 0, -1):
            younger = self._numbered(number - 1)
            if younger.exists():
                younger.replace(self._numbered(number))
        if self._files == 1:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def _write(handle: int, data: bytes, before: int) -> None:
    """Write all of it or nothing."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        os.ftruncate(handle, before)
        raise


def _json(one: Forwarded) -> bytes:
    origin, line = one
    time = datetime.fromtimestamp(line.time / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said: dict[str, Any] = {
        "time": time,
        "namespace": origin.namespace,
        "job": origin.job,
        "task": origin.task,
        "alloc": origin.alloc,
        "node": origin.node,
        "stream": line.source,
        "text": line.text,
    }
    if line.partial:
        said["partial"] = True
    if line.dropped:
        said["dropped"] = line.dropped
    return json.encode(said) + b"\n"
