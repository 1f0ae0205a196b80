"""The outputs of a process as they stand in its files: read on from an offset. Blocking calls, for a thread."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from agents.log_lines import Place, Position, Said, Written
from heroctl.domain.logs import LINE, Output

PIECE: Final = 64 * 1024  # bytes that are read at a time and output
SKIP: Final = 4 << 20  # the same, where lines are only counted
_FILES: Final[tuple[tuple[Output, str], ...]] = (("stdout", "stdout.log"), ("stderr", "stderr.log"))


class _Part(NamedTuple):
    written: list[Written]
    dropped: int
    offset: int


def read(folder: Path, position: Position, now: int, *, count: bool, ended: bool) -> Said:
    """Read on in both files. `count`: only count lines; `ended`: a line without an end is whole, too."""
    written: list[Written] = []
    dropped = 0
    for output, name in _FILES:
        part = _read(folder / name, position.of(output).offset, now, output, count=count, ended=ended)
        written += part.written
        dropped += part.dropped
        position = position.moved(output, Place(part.offset))
    return Said(written, dropped, position)


def _read(path: Path, offset: int, now: int, output: Output, *, count: bool, ended: bool) -> _Part:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return _Part([], 0, offset)
    try:
        offset = _begun(file, offset)
        raw = os.pread(file, SKIP if count else PIECE, offset)
    finally:
        os.close(file)
    if count:
        end = raw.rfind(b"\n") + 1
        if not end and len(raw) == SKIP:
            end = SKIP  # no line is as long as that: what is left of it is told later
        return _Part([], raw.count(b"\n"), offset + end)
    return _cut(raw, offset, now, output, ended=ended)


def _begun(file: int, offset: int) -> int:
    """Say where to read on: what is before that was taken away, and a file that began anew is read anew."""
    size = os.fstat(file).st_size
    if offset > size:
        return 0
    if offset == size:
        return offset
    try:
        return max(offset, os.lseek(file, offset, os.SEEK_DATA))
    except OSError:
        return offset


def _cut(raw: bytes, offset: int, now: int, output: Output, *, ended: bool) -> _Part:
    *whole, rest = raw.split(b"\n")
    written = [Written(now, output, line) for line in whole]
    at = offset + len(raw) - len(rest)
    while len(rest) >= LINE:
        written.append(Written(now, output, rest[:LINE], partial=True))
        rest, at = rest[LINE:], at + LINE
    if rest and ended and len(raw) < PIECE:
        written.append(Written(now, output, rest))
        at += len(rest)
    return _Part(written, 0, at)
