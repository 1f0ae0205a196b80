"""The log in memory: the same contract as the Postgres log, for tests and for whatever needs no durability.

Deterministic: the clock is given, ids are given, and nothing happens between two awaits. It keeps encoded bytes, so
that what is read has gone through the codec, chain included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from eventstore import codec
from eventstore.bell import Bell
from eventstore.log import (
    KEY_LIFE,
    PAGE,
    Append,
    Appended,
    Compacted,
    Conflicted,
    Displaced,
    Fenced,
    Head,
    Key,
    KeyReused,
    LogUnavailable,
    Position,
    Row,
)
from heroctl.domain.events import ClusterCreated, IncarnationDrawn, Record


class MemoryLog:
    """A log that begins with `cluster.created`.

    `clock` gives ms since the epoch; by default it stands still. `away = True` makes every call raise LogUnavailable.
    """

    def __init__(
        self,
        clock: Callable[[], int] = lambda: 0,
        cluster: str = "cluster",
        incarnation: str = "incarnation",
    ) -> None:
        """Begin a log at index 1."""
        self.away = False
        self.epoch = 0
        self.level = 1
        self.floor = 0  # the log is kept after this index
        self.incarnation = incarnation
        self._clock = clock
        self._time = 0
        self._end = Position()
        self._rows: list[Row] = []
        self._streams: dict[str, int] = {}
        self._moves: list[tuple[str, int]] = []
        self._keys: dict[bytes, tuple[bytes, Appended, int]] = {}  # body, place and time
        self._bell = Bell()
        self._drawn = 0
        self._names: set[str] = set()
        self._put(codec.seal(Append((ClusterCreated(cluster, incarnation),))))

    async def append(self, append: Append) -> Appended:
        """See Log.append; never Busy."""
        sealed = codec.seal(append)
        self._reach()
        if append.epoch is not None and append.epoch != self.epoch:
            raise Fenced(self.epoch)
        first = None if append.key is None else self._recalled(append.key)
        if first is not None:
            return first
        if append.view is not None and not self._has_been(append.view):
            raise Displaced
        for stream, seen in append.expects:
            if (now := self._streams.get(stream, 0)) > seen:
                raise Conflicted(stream, now)
        return self._put(sealed)

    async def recall(self, key: Key) -> Appended | None:
        """See Log.recall."""
        self._reach()
        return self._recalled(key)

    async def head(self) -> Head:
        """See Log.head."""
        self._reach()
        return Head(self._end.index, self.epoch, self.incarnation, self._end.chain, self._time, self.level)

    async def page(self, after: int, events: int = PAGE) -> list[Row]:
        """See Log.page."""
        self._reach()
        if after < self.floor:
            raise Compacted(self.floor)
        rows, after = self._rows, after - self.floor
        if after >= len(rows):
            return []
        to = rows[min(after + events, len(rows)) - 1][1]
        return rows[after : to - self.floor]

    async def read(self, after: int) -> AsyncIterator[list[Record]]:
        """See Log.read."""
        while rows := await self.page(after):
            after = rows[-1][0]
            yield list(codec.records(rows))

    def wakes(self) -> AsyncIterator[int]:
        """See Log.wakes: at once, then at every append and every `ring`."""
        return self._bell.wakes()

    async def redraw(self, held: str, reason: str) -> None:
        """See Log.redraw."""
        self._reach()
        if self.incarnation != held and (not held or held in self._names):
            return
        self._drawn += 1
        self.incarnation = f"{held}{self._drawn}"
        self._names |= {held, self.incarnation}
        self._put(codec.seal(Append((IncarnationDrawn(self.incarnation, reason),))))

    def ring(self, index: int = 0) -> None:
        """Wake every reader."""
        self._bell.ring(index)

    def elect(self, append: Append) -> Appended:
        """Raise the epoch and append the event that says so, in one."""
        self.epoch += 1
        return self._put(codec.seal(append))

    def raise_level(self, append: Append, level: int) -> Appended:
        """Raise the level and append the event that says so, in one."""
        self.level = level
        return self._put(codec.seal(append))

    def lose(self, index: int) -> None:
        """Forget what came after an index, as a lossy fail-over does. The incarnation stays: nobody has noticed yet."""
        self._rows = self._rows[: self._rows[index - self.floor - 1][1] - self.floor]
        last = self._rows[-1]
        self._end = Position(last[0], last[7] or b"")
        self._moves = [move for move in self._moves if move[1] <= last[0]]
        self._streams = dict(self._moves)
        self._keys = {name: kept for name, kept in self._keys.items() if kept[1].last <= last[0]}
        self.ring()

    def compact(self, index: int) -> None:
        """Keep only what comes after the append that holds an index, as retention does."""
        floor = self._rows[index - self.floor - 1][1]
        self._rows, self.floor = self._rows[floor - self.floor :], floor

    def _reach(self) -> None:
        if self.away:
            raise LogUnavailable("the log is away")

    def _has_been(self, place: Position) -> bool:
        if self.floor < place.index < self._end.index:
            return self._rows[place.index - self.floor - 1][7] == place.chain
        return place.index <= self.floor or place == self._end

    def _recalled(self, key: Key) -> Appended | None:
        body, place, at = self._keys.get(key.name, (b"", None, 0))
        if place is None or at <= max(self._clock(), self._time) - KEY_LIFE:
            return None
        if body != key.body:
            raise KeyReused
        return place

    def _put(self, sealed: codec.Sealed) -> Appended:
        place = self._place(sealed) if sealed.events else Appended(self._end.index + 1, self._end.index)
        if sealed.append.key is not None:
            known = Appended(place.first, place.last, replayed=True)
            self._keys[sealed.append.key.name] = (sealed.append.key.body, known, max(self._clock(), self._time))
        return place

    def _place(self, sealed: codec.Sealed) -> Appended:
        first = self._end.index + 1
        time = self._time = max(self._clock(), self._time)
        end = self._end = codec.link(self._end, time, sealed.meta, sealed.events)
        for index, (tag, schema, data) in enumerate(sealed.events, first):
            chain = end.chain if index == end.index else None
            self._rows.append((index, end.index, time, tag, schema, sealed.meta, data, chain))
        moves = [(stream, end.index) for stream in sealed.append.moves]
        self._moves += moves
        self._streams.update(moves)
        self.ring(end.index)
        return Appended(first, end.index)
