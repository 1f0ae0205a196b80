"""Permits: how many requests a bucket lets through in any window, counted by many processes over one ledger. Pure.

A bucket has as many permits as its limit, and each serves one request in any window. A process draws some at a time
from the ledger as a *chunk*, spends them for a few seconds without asking, and tells with its next draw how many it
spent, and when the last: those are free again a window after that, the others at once. What a process draws and never
tells of counts as spent at the last moment that it could have been. So the ledger errs towards too many held: never
more than the limit are spent in any window. It errs by at most two chunks a process, of which one is the asker's own,
and chunks are as small as that takes: nobody is refused below nine tenths of a limit.

Where the ledger is away, or has forgotten, a process knows what it spent itself: that is its part of the truth, and
it tells it again.

All times are seconds of this process's own monotonic clock. What it tells is how long ago something was: clocks that
are set, here or there, change nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct

LEASES: Final = 12  # a chunk may be spent for this part of the window
_LARGEST: Final = 0.05  # of the limit
_ASTRAY: Final = 0.1  # of the limit, that all processes together may hold unspent, or tell too late
_MARGIN: Final = 1 / 60  # of the window: what is that close to its end need not be missed


class Size(NamedTuple):
    """So many requests in any so many seconds."""

    limit: int
    window: float

    @property
    def lease(self) -> float:
        """Seconds for which a chunk may be spent."""
        return self.window / LEASES

    def chunk(self, processes: int) -> int:
        """Say how many permits are drawn at a time."""
        part = min(_LARGEST, _ASTRAY / (2 * max(1, processes) - 1))
        return max(1, int(self.limit * part))

    def share(self, processes: int) -> Size:
        """Say what a process grants by itself while it cannot ask."""
        return Size(max(1, self.limit // max(1, processes)), self.window)


class Chunk(Struct, gc=False):
    """Permits drawn at once. It may be spent before `until`; `last` is when one was."""

    number: int
    granted: int = 0
    until: float = 0.0
    spent: int = 0
    last: float = 0.0


class Told(NamedTuple):
    """What the ledger is told of a chunk: how many were spent, and how long ago the last."""

    number: int
    spent: int
    age: float


class Draw(NamedTuple):
    """What the ledger is asked: `want` permits as chunk `number`, after taking in what is told.

    `mine` is what it should know already as spent by this process.
    """

    number: int
    want: int
    told: tuple[Told, ...]
    mine: int


class Grant(NamedTuple):
    """What the ledger answers: permits, how many are left after them, and seconds until more come free.

    `forgot`: it granted none, since it does not know what it was told before.
    """

    permits: int
    free: int
    wait: float
    forgot: bool = False


class Bucket:
    """One process's side of a bucket. `numbers` are for its chunks: no two of a process share one."""

    __slots__ = ("_chunk", "_numbers", "_past", "_untold", "alone", "free", "refused_until", "resets", "size", "used")

    def __init__(self, size: Size, numbers: Iterator[int]) -> None:
        self.size = size
        self.refused_until = -math.inf
        self.alone = False  # whether it was this process that granted or refused last, and not the ledger
        self.free = size.limit  # beside the present chunk, as far as was told
        self.resets = -math.inf  # when the oldest spent permit comes free
        self.used = -math.inf
        self._numbers = numbers
        self._chunk = Chunk(0)
        self._past: deque[Chunk] = deque()  # spent within the window, oldest first
        self._untold: list[Chunk] = []

    # ── spending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def spend(self, now: float) -> bool:
        """Spend a permit that is at hand."""
        chunk = self._chunk
        if chunk.spent < chunk.granted and now < chunk.until:
            chunk.spent += 1
            chunk.last = now
            return True
        return False

    def left(self) -> int:
        """Say how many requests more would be let through, as far as is known here."""
        return max(0, self.free + self._chunk.granted - self._chunk.spent)

    def retry_after(self, now: float) -> int:
        """Say after how many whole seconds a permit is free."""
        return max(1, math.ceil(self.refused_until - now))

    def idle(self, now: float) -> bool:
        """Tell whether there is nothing to remember: forgetting this bucket would change no answer."""
        return self.used + self.size.window + self.size.lease <= now

    def resize(self, size: Size) -> None:
        """Take another limit from the next draw on."""
        self.size = size
        self.refused_until = -math.inf

    # ── asking the ledger ────────────────────────────────────────────────────────────────────────────────────────────

    def draw(self, now: float, want: int) -> Draw:
        """Put the chunk at hand away, and make the question for the next."""
        self._close(now)
        told = tuple(self._tell(self._untold, now))
        return Draw(next(self._numbers), want, told, self._mine(now))

    def again(self, draw: Draw, now: float) -> Draw:
        """Make the question anew for a ledger that has forgotten: with everything."""
        told = self._tell([*self._past, *(chunk for chunk in self._untold if not chunk.spent)], now)
        return draw._replace(told=tuple(told), mine=self._mine(now))

    def take(self, draw: Draw, grant: Grant, sent: float, now: float) -> None:
        """Take in an answer. The chunk is good from when it was asked for; it may come too late."""
        self._close(now)
        heard = {told.number for told in draw.told}
        self._untold = [chunk for chunk in self._untold if chunk.number not in heard]
        self.alone, self.refused_until = False, -math.inf
        self.free, self.resets, self.used = grant.free, now + grant.wait, now
        if grant.permits > 0:
            self._chunk = Chunk(draw.number, grant.permits, sent + self.size.lease)
        else:
            self.refused_until = now + grant.wait

    def lost(self, draw: Draw, sent: float) -> None:
        """Note that a question was not answered: it may have been heard all the same."""
        self._untold.append(Chunk(draw.number, until=sent + self.size.lease))

    # ── without the ledger ───────────────────────────────────────────────────────────────────────────────────────────

    def draw_alone(self, now: float, want: int, share: int) -> None:
        """Grant a chunk to oneself: no more than the share is spent here in any window, counting what was before."""
        self._close(now)
        held = sum(chunk.spent for chunk in self._past)
        permits = min(want, share - held)
        self.alone, self.refused_until = True, -math.inf
        self.free, self.used = max(0, share - held - permits), now
        self.resets = self._past[0].last + self.size.window if self._past else now + self.size.window
        if permits > 0:
            self._chunk = Chunk(next(self._numbers), permits, now + self.size.lease)
            return
        for chunk in self._past:
            held -= chunk.spent
            if held < share:
                self.refused_until = chunk.last + self.size.window
                return

    # ── what was spent ───────────────────────────────────────────────────────────────────────────────────────────────

    def _close(self, now: float) -> None:
        chunk, self._chunk = self._chunk, Chunk(0)
        if chunk.number:
            self._untold.append(chunk)
            if chunk.spent:
                self._past.append(chunk)
        while self._past and self._past[0].last + self.size.window <= now:
            self._past.popleft()
        gone = now - self.size.window - self.size.lease  # of no more interest to the ledger
        self._untold = [chunk for chunk in self._untold if chunk.until > gone]

    def _mine(self, now: float) -> int:
        """Count what was spent here and the ledger must know of still."""
        recent = self.size.window * (1 - _MARGIN)
        return sum(chunk.spent for chunk in self._past if now - chunk.last < recent)

    @staticmethod
    def _tell(chunks: Iterable[Chunk], now: float) -> Iterable[Told]:
        return (Told(chunk.number, chunk.spent, max(0.0, now - chunk.last) if chunk.spent else 0.0) for chunk in chunks)
