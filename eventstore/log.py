"""The log: what every store of events promises. `postgres` and `memory` keep the same contract tests.

An append is all or nothing and takes one place in the one total order: its events get consecutive indexes, without gaps,
and readers see whole appends, in index order, or nothing. Inside, in this order, under the lock of the head row:

1. the epoch, if the append carries one (`Fenced`);
2. the batch id: an append sent again after a broken connection gets its first answer;
3. the expectations: for each `(stream, seen)`, no event may stand on the stream after index `seen` (`Conflicted`);
4. events, streams, head, and one notification.

A stream is a line of writers; its version is the index of its last event. A writer that decided on a view at index N
expects N of every stream it read, so a view needs no table of stream versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from heroctl.domain.events import Event, Meta, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Append(Struct, frozen=True):
    """What a writer wants to become true, all of it or nothing."""

    events: tuple[Event, ...]
    moves: tuple[str, ...] = ()  # the streams these events stand on
    expects: tuple[tuple[str, int], ...] = ()
    epoch: int | None = None  # a decision carries the coordinator's; a decision without one is refused
    meta: Meta = Meta()


class Appended(Struct, frozen=True):
    """The places that an append took: `first`..`last`, and the log's time (ms since the epoch)."""

    first: int
    last: int
    time: int


class Head(Struct, frozen=True):
    """The log's end, and whose history this is."""

    index: int
    epoch: int
    incarnation: str
    chain: bytes  # hash over everything up to here
    time: int


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
    """Another coordinator was elected since: `epoch` is the head row's."""

    def __init__(self, epoch: int) -> None:
        """Hold the epoch that is on the head row."""
        super().__init__(f"the log is at epoch {epoch}")
        self.epoch = epoch


class Busy(Exception):  # noqa: N818 - an answer: try later
    """The queue of waiting appends is full."""


class LogUnavailable(Exception):  # noqa: N818 - an answer: try later
    """The log cannot be reached or does not answer in time. Whether the append happened was found out: it did not."""


class Log(Protocol):
    """An append-only, totally ordered, gapless log of events."""

    async def append(self, append: Append) -> Appended:
        """Add all events or none. Raises Conflicted, Fenced, Busy or LogUnavailable."""
        ...

    async def head(self) -> Head:
        """Read the log's end. Raises LogUnavailable."""
        ...

    def read(self, after: int) -> AsyncIterator[list[Record]]:
        """Give the records after an index up to the present end, in order, in lists of whole appends."""
        ...

    def wakes(self) -> AsyncIterator[int]:
        """Yield the log's head index whenever it may have moved, never ending; a wake is no promise of a change."""
        ...
