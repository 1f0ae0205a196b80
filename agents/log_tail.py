"""What was read of one container's output and is still to be shipped. Pure: time is an argument.

It is bounded: what comes faster than it may be shipped, or while nobody takes it, is counted, and a line says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import Struct, field

from agents.log_lines import BEGINNING, Allowance, Position, Said, lines_of
from heroctl.domain.logs import RATE_TOO_HIGH, Batch, Line, marker

QUEUE: Final = 512 * 1024  # bytes that wait
BATCH: Final = 64 * 1024  # bytes of one batch, more or less
TELL: Final = 1.0  # seconds after which dropped lines are told of while they go on


class Whose(NamedTuple):
    """The container that writes, and what it runs."""

    alloc: str
    namespace: str
    job: str
    task: str
    container: str


class Kept(Struct, frozen=True, omit_defaults=True):
    """What is remembered of a container: where the shipped lines end, and the number of the next."""

    alloc: str
    position: Position = BEGINNING
    number: int = 1


class _Piece(NamedTuple):
    lines: list[Line]
    position: Position
    size: int


class Tail:
    """See above. `rate`: bytes a second that may be shipped, for long; of `burst` bytes at once."""

    def __init__(self, whose: Whose, rate: float, burst: float, kept: Kept | None = None) -> None:
        self.whose = whose
        self.kept = kept or Kept(whose.alloc)
        self.done = False  # whether all is read
        self.told_ms = 0  # the time of the newest line
        self._allowance = Allowance(rate, burst)
        self._pieces: deque[_Piece] = deque()
        self._size = 0
        self._dropped = 0
        self._dropped_since = 0.0
        self._position = self.kept.position
        self._why = RATE_TOO_HIGH

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    @property
    def position(self) -> Position:
        """Where reading has come to."""
        return self._position

    def spare(self, now: float) -> bool:
        """Tell whether lines are taken, and not only counted."""
        return self._size < QUEUE and self._allowance.spare(now)

    def take(self, said: Said, now: float, wall_ms: int) -> list[Line]:
        """Take what was read, and give the lines of it."""
        lines = [line for written in said.written for line in lines_of(written)]
        if lines:
            self._tell_dropped(lines[0].time)
            size = sum(line.size for line in lines)
            self._allowance.take(size)
            self._pieces.append(_Piece(lines, said.position, size))
            self._size += size
            self.told_ms = lines[-1].time
        self._position = said.position
        if said.dropped:
            self._drop(said.dropped, now)
            self.told_ms = max(self.told_ms, wall_ms)
        return lines

    def _drop(self, count: int, now: float) -> None:
        if not self._dropped:
            self._dropped_since = now
        self._dropped += count

    def _tell_dropped(self, time_ms: int) -> None:
        if self._dropped:
            line = marker(time_ms, self._dropped, self._why)
            self._pieces.append(_Piece([line], self._position, line.size))
            self._size += line.size
            self._dropped, self._why = 0, RATE_TOO_HIGH

    def batch(self, now: float) -> tuple[Batch, int] | None:
        """Give the next lines to be shipped, and of how many pieces; None: there are none."""
        if self._dropped and (self.done or now >= self._dropped_since + TELL):
            self._tell_dropped(self.told_ms)
        lines: list[Line] = []
        size = count = 0
        for piece in self._pieces:
            if count and size + piece.size > BATCH:
                break
            lines += piece.lines
            size += piece.size
            count += 1
        if not count:
            return None
        whose = self.whose
        made = Batch(whose.namespace, whose.job, whose.task, whose.container[:12], self.kept.number, lines)
        return made, count

    def shipped(self, pieces: int) -> None:
        """Let go of what was taken in: so many pieces."""
        for piece in self._let_go(pieces):
            number = self.kept.number + sum(line.count for line in piece.lines)
            self.kept = Kept(self.whose.alloc, piece.position, number)

    def lost(self, pieces: int, why: str, now: float) -> None:
        """Count as dropped what is not taken in, and never will be."""
        count = sum(line.count for piece in self._let_go(pieces) for line in piece.lines)
        if self._pieces:  # it stands before what waits
            line = marker(self._pieces[0].lines[0].time, count, why)
            self._pieces.appendleft(_Piece([line], self.kept.position, line.size))
            self._size += line.size
            return
        self._drop(count, now)
        self._why = why

    def _let_go(self, pieces: int) -> Iterable[_Piece]:
        gone = [self._pieces.popleft() for _ in range(pieces)]
        self._size -= sum(piece.size for piece in gone)
        return gone

    def waits(self) -> bool:
        """Tell whether there is something to ship, now or soon."""
        return bool(self._pieces or self._dropped)


class Mark(Struct, frozen=True, array_like=True, gc=False):
    """A run of entries in a stream: the id of the first, and how much they hold."""

    first: str
    size: int
    lines: int


class Stream:
    """What is known of an allocation's stream: enough to say what is to go, so that it keeps within its bounds."""

    def __init__(self, marks: list[Mark] | None = None) -> None:
        self.marks = marks or []
        self.trim = ""  # entries before this are to go
        self.lasts = False  # whether it was said how long it is to stay

    def grew(self, entry: str, size: int, lines: int, *, most_bytes: int, most_lines: int) -> None:
        """Count an entry; past the bounds the oldest ones are to go."""
        last = self.marks[-1] if self.marks else None
        if last is None or last.size > most_bytes // 32 or last.lines > most_lines // 32:
            self.marks.append(Mark(entry, size, lines))
        else:
            self.marks[-1] = Mark(last.first, last.size + size, last.lines + lines)
        while len(self.marks) > 1 and (
            sum(mark.size for mark in self.marks) > most_bytes or sum(mark.lines for mark in self.marks) > most_lines
        ):
            del self.marks[0]
            self.trim = self.marks[0].first


class Memory(Struct, frozen=True):
    """What is remembered over the agent's end."""

    tails: dict[str, Kept] = field(default_factory=dict)  # by container
    streams: dict[str, list[Mark]] = field(default_factory=dict)  # by allocation
