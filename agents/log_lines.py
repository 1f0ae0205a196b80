"""What a workload writes, made fit to be kept: bytes in, tidy lines out. Pure: time is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from heroctl.domain.logs import LINE, Line, Output

# What colours a terminal, names its window or moves its cursor.
_STEERING: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
# Control and direction characters but the tab; unpaired surrogates cannot come out of a decoder.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Written(Struct, frozen=True, gc=False):
    """A line as it was written, or a part of one. `time`: ms since the epoch."""

    time: int
    output: Output
    raw: bytes
    partial: bool = False


class Said(Struct, frozen=True):
    """What was read of an output: lines, then `dropped` more that were only counted. `position`: where it ends."""

    written: list[Written]
    dropped: int
    position: Position


class Place(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where one of the two outputs was read to: bytes of a file, or a time and how many lines of just that time."""

    offset: int = 0
    stamp: str = ""
    seen: int = 0


class Position(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where the outputs of a container were read to."""

    stdout: Place = Place()
    stderr: Place = Place()

    def of(self, output: Output) -> Place:
        """Give the place of one output."""
        return self.stdout if output == "stdout" else self.stderr

    def moved(self, output: Output, place: Place) -> Position:
        """Give the same with one output read further."""
        return Position(place, self.stderr) if output == "stdout" else Position(self.stdout, place)


BEGINNING: Final = Position()


def tidy(raw: bytes) -> str:
    """Decode; take out what steers a terminal, and put a mark in the place of what is no text."""
    text = raw.decode(errors="replace")
    if text.isprintable():
        return text
    return _CONTROL.sub("\ufffd", _STEERING.sub("", text.rstrip("\r\n")))


def lines_of(written: Written) -> Iterator[Line]:
    """Make lines of what was written; one that is too long is cut, and each part but the last says so."""
    raw = written.raw
    for at in range(0, max(len(raw), 1), LINE):
        partial = written.partial or at + LINE < len(raw)
        yield Line(written.time, tidy(raw[at : at + LINE]), written.output, partial)


class Allowance:
    """So many bytes a second, and `burst` at once. What was taken beyond it is paid back before more is."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def spare(self, now: float) -> bool:
        """Tell whether there is anything left."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        return self._left > 0

    def take(self, size: int) -> None:
        """Take so many bytes."""
        self._left -= size
