"""The outputs of a container as its engine streams them: frames that begin with the time of their line.

Where lines come faster than they are taken, whole pieces are counted and not looked at: what ends a frame and begins
the next one stands nowhere else, since a line break only ends a line. A long line comes in several frames; it is
counted once, and of one whose beginning was passed by the rest is, too.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from agents.log_lines import BEGINNING, Place, Position, Written
from heroctl.domain.logs import LINE, Output

MARGIN: Final = 2.0  # seconds by which the lines of two outputs may be out of order
_HEADER: Final = struct.Struct(">BxxxL")
_STAMP: Final = 30  # letters of a time in nanoseconds, UTC
_BREAKS: Final = (b"\n\x01\0\0\0", b"\n\x02\0\0\0")
_LONG: Final = struct.pack(">L", _STAMP + 1 + LINE)  # in the head of a frame that may be a part of a line
_NAMES: Final[dict[int, Output]] = {1: "stdout", 2: "stderr"}


class Frames:
    """Takes pieces of a stream, and gives the lines in it that come after a position."""

    def __init__(self, position: Position = BEGINNING) -> None:
        self.position = position
        self._known = position  # nothing that stands before it is given again
        self._newest = max(position.stdout.stamp, position.stderr.stamp)  # "": all that comes is new
        self._met: dict[Output, Place] = {}
        self._passing: set[Output] = set()  # whose line was passed by and counted, and is not at its end
        self._buffer = b""

    def take(self, part: bytes) -> list[Written]:
        """Give the lines that are whole now, and parts of those that are long."""
        found = []
        for line in self._read(part):
            if line.output in self._passing:
                self._pass(line)
            else:
                found.append(line)
        return found

    def skip(self, part: bytes) -> int:
        """Count the lines that are passed by now. Those that were given before are no more of them."""
        buffer, count = self._buffer + part, 0
        if not self._newest and not self._passing and _LONG not in buffer:
            count, part = self._count(buffer), b""
        return count + sum(self._pass(line) for line in self._read(part))

    def _count(self, buffer: bytes) -> int:
        """Count lines by their breaks, but the last one: it and what follows it are left to be read."""
        last = max(0, *(buffer.rfind(mark) for mark in _BREAKS))
        begin = max(buffer.rfind(mark, 0, last) for mark in _BREAKS) + 1  # of the last frame that is whole
        self._buffer = buffer[begin:]
        return sum(buffer.count(mark, 0, last) for mark in _BREAKS)

    def _pass(self, line: Written) -> bool:
        """Pass a line by, or a part of one; tell whether it is one more."""
        more = line.output not in self._passing
        (self._passing.add if line.partial else self._passing.discard)(line.output)
        return more

    def _read(self, part: bytes) -> list[Written]:
        buffer, at, found = self._buffer + part, 0, []
        size = _HEADER.size
        while len(buffer) - at >= size:
            kind, length = _HEADER.unpack_from(buffer, at)
            if len(buffer) - at - size < length:
                break
            line = self._line(_NAMES.get(kind, "stdout"), buffer[at + size : at + size + length])
            if line is not None:
                found.append(line)
            at += size + length
        self._buffer = buffer[at:]
        return found

    def _line(self, output: Output, content: bytes) -> Written | None:
        stamp, raw = content[:_STAMP].decode("ascii", "replace"), content[_STAMP + 1 :]
        if self._is_known(output, stamp):
            return None
        if stamp > self._newest:
            self._newest = ""
        before = self.position.of(output)
        seen = before.seen + 1 if before.stamp == stamp else 1
        self.position = self.position.moved(output, Place(stamp=stamp, seen=seen))
        whole = raw.endswith(b"\n")
        return Written(_ms(stamp), output, raw.rstrip(b"\n") if whole else raw, not whole and len(raw) >= LINE)

    def _is_known(self, output: Output, stamp: str) -> bool:
        known = self._known.of(output)
        if not known.stamp or stamp > known.stamp:
            return False
        if stamp < known.stamp:
            return True
        met = self._met.get(output, Place()).seen + 1
        self._met[output] = Place(seen=met)
        return met <= known.seen


def since(position: Position) -> str:
    """Say from when on an engine is to tell again: seconds and nanoseconds; "": from the beginning."""
    newest = max(position.stdout.stamp, position.stderr.stamp)
    return f"{_seconds(newest[:19]) - MARGIN:.9f}" if newest else ""


@lru_cache(maxsize=64)
def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _ms(stamp: str) -> int:
    millis = stamp[20:23]
    return int(_seconds(stamp[:19])) * 1000 + (int(millis) if millis.isdecimal() else 0)
