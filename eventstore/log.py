"""The log: what every store of events promises. `postgres` and `memory` keep the same contract tests.

An append is all or nothing and takes one place in the one total order: its events get consecutive indexes, without
gaps, and readers see whole appends, in index order, or nothing. Inside, in this order, under the lock of the head row:

1. the epoch, if the append carries one (`Fenced`);
2. the batch id: an append sent again after a broken connection gets its first answer;
3. the client's key, if the append carries one: for a day, another with the same key gets the place of the first,
   `replayed`, and nothing is appended; unless its body is another (`KeyReused`);
4. the place of the view that the append was decided on, if it names one: this log must have been there (`Displaced`);
5. the expectations: for each `(stream, seen)`, no event may stand on the stream after index `seen` (`Conflicted`);
6. events, streams, head, the key, and one notification.

An append that is refused leaves no trace, not even its key. One with a key may be without events: a client asked for
what is so already, and is to be told the same again.

A stream is a line of writers; its version is the index of its last event. A writer that decided on a view at index N
expects N of every stream it read, so a view needs no table of stream versions.

Each append is hashed together with the hash of the one before (`codec.link`). A reader that stands at a `Position`
proves with every append it reads that it still reads the same history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from heroctl.domain.events import Event, Meta, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_EVENTS: Final = 5_000  # of one append; a planner stays under 1,000
KEY_LIFE: Final = 24 * 3600 * 1000  # ms for which a key counts
PAGE: Final = 5_000  # events that are read at once
# One encoded event: index, last, time (ms), tag, schema, meta, data, chain (on the last event of an append, else None).
Row = tuple[int, int, int, str, int, bytes, bytes, bytes | None]


class Key(Struct, frozen=True):
    """A client's word for one append, so that it may ask again. Digests: no text of a client stands in a row."""

    name: bytes  # of the word, whose it is, and what for
    body: bytes  # of all that was asked


class Position(Struct, frozen=True):
    """Where a reader stands: it has read everything up to `index`, which hashes to `chain`."""

    index: int = 0
    chain: bytes = bytes(32)


class Append(Struct, frozen=True):
    """What a writer wants to become true, all of it or nothing."""

    events: tuple[Event, ...]
    moves: tuple[str, ...] = ()  # the streams these events stand on
    expects: tuple[tuple[str, int], ...] = ()
    epoch: int | None = None  # a decision carries the coordinator's; a decision without one is refused
    meta: Meta = Meta()
    level: int = 1  # of the log, as its writer knows it; events of a later level are refused
    key: Key | None = None
    view: Position | None = None  # where the view stood that this was decided on; None: on none


class Appended(Struct, frozen=True):
    """The places that an append took: `first`..`last`. Without events: `last` is the log's end then, `first` beyond."""

    first: int
    last: int
    replayed: bool = False  # that is what an earlier append with the same key took


class Head(Struct, frozen=True):
    """The log's end, and whose history this is."""

    index: int
    epoch: int
    incarnation: str
    chain: bytes  # hash over everything up to here
    time: int
    level: int = 1  # events of a newer release are written only once every member can fold them


class Lease(Struct, frozen=True):
    """Who coordinates, under which epoch, and for how many more seconds by the database's clock."""

    holder: str
    epoch: int
    remaining: float


class Conflicted(Exception):  # noqa: N818 - an answer: decide again
    """An expectation did not hold: the stream moved at `index`, after what the writer had seen."""

    def __init__(self, stream: str, index: int) -> None:
        """Name the stream and where it is now."""
        super().__init__(f"{stream} moved at {index}")
        self.stream = stream
        self.index = index


class Fenced(Exception):  # noqa: N818 - an answer: step down
    """Another coordinator was elected since: `epoch` is the head row's.

    An append whose connection broke may have happened before that election all the same: the view tells.
    """

    def __init__(self, epoch: int) -> None:
        """Hold the epoch that is on the head row."""
        super().__init__(f"the log is at epoch {epoch}")
        self.epoch = epoch


class Displaced(Exception):  # noqa: N818 - an answer: look for the other history, and decide on it
    """The log never was where the view stood: what the append was decided on is lost, and another history goes on."""


class KeyReused(Exception):  # noqa: N818 - an answer: the client's mistake
    """The key stands for another body."""


class Busy(Exception):  # noqa: N818 - an answer: try later
    """The queue of waiting appends is full."""


class LogUnavailable(Exception):  # noqa: N818 - an answer: try later
    """The log cannot be reached or does not answer in time.

    An append did not happen, unless `unknown`: then it was sent, its connection broke, and no other could be had
    before its deadline. It may be in the log, or still enter it within seconds. A coordinator that gets `unknown` lets
    itself be elected anew: the new epoch fences what may be under way. An api says 503, and the view tells in time.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        """Say what is away, and whether the append may have happened."""
        super().__init__(message)
        self.unknown = unknown


class Rejected(Exception):  # noqa: N818 - an answer, though one that only a bug gets
    """The store refuses this very append, now and ever: a bug of its writer. Nothing of it happened."""


class Compacted(Exception):  # noqa: N818 - an answer: begin with a state
    """The log is not kept from where the reader stands: it begins after index `floor`. Go on from a snapshot."""

    def __init__(self, floor: int) -> None:
        """Hold the index after which the log begins."""
        super().__init__(f"the log is kept after index {floor} only")
        self.floor = floor


class OtherHistory(Exception):  # noqa: N818 - an answer: reload
    """The log is not a continuation of what the reader has read: a lossy fail-over, or a restore."""


class Log(Protocol):
    """An append-only, totally ordered, gapless log of events."""

    async def append(self, append: Append) -> Appended:
        """Add all events or none.

        Raises Conflicted, Displaced, Fenced, KeyReused, Busy, LogUnavailable, Rejected or, of the domain, TooNew.

        A caller that is cancelled while its append waits in the queue takes it back; later it happens unheard.
        """
        ...

    async def recall(self, key: Key) -> Appended | None:
        """Give the place of the append that had this key; None: there is none. Raises KeyReused or LogUnavailable."""
        ...

    async def head(self) -> Head:
        """Read the log's end. Raises LogUnavailable."""
        ...

    async def page(self, after: int, events: int = PAGE) -> list[Row]:
        """Give encoded events after an index, in order: so many, and the rest of their append; none at the log's end.

        Fewer where they are large: a page has some 16 MiB at most, so that a reader's memory is bounded. Raises
        Compacted where the first of them is not kept any more, and LogUnavailable.
        """
        ...

    def read(self, after: int) -> AsyncIterator[list[Record]]:
        """Give the records after an index up to the present end, in order, in lists of whole appends; see `page`."""
        ...

    def wakes(self) -> AsyncIterator[int]:
        """Yield whenever the log may have moved, never ending; a wake is no promise of a change.

        The number is an index that the log is said to have reached; 0: it is time to look at the head all the same.
        """
        ...

    async def redraw(self, held: str, reason: str) -> None:
        """Give the log a new incarnation, told by an event, unless it has had one since `held`, which the caller held.

        An older copy, from before `held` was drawn, has not: under its old name it would go on where it once went.
        Raises LogUnavailable.
        """
        ...
