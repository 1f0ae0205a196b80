"""What may go from the log's beginning, and what keeps it: decided here, done by `partitions`.

A partition goes when it is beyond the window that the operator wants kept, every cursor has read it, the audit export
of it is complete, and a verified snapshot stands exactly at its end. Partitions go one by one, the oldest first. The
one that the head is in, and the one before it, stay whatever is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from eventstore.log import Position

Export = Literal["wanted", "unwanted", "unsaid"]
Reason = Literal["export_unsaid", "export_missing", "cursor_behind", "snapshot_missing"]
STAY: Final = 2  # partitions at the log's end


class Partition(Struct, frozen=True):
    """A part of the log, [first, stop), with its size in bytes.

    `end` is the end of the append that holds its last event, `time` (ms) that append's; None while it is not full. An
    append may straddle the boundary: then its end lies in the next partition.
    """

    first: int
    stop: int
    bytes: int = 0
    end: Position | None = None
    time: int = 0


class Window(Struct, frozen=True):
    """What is kept: by age in ms, by size in bytes; whichever is passed first. 0: there is no such bound."""

    ms: int = 0
    bytes: int = 0


class Standing(Struct, frozen=True):
    """Everything that counts. `partitions` are those that are kept, oldest first; `now` is the database's time in ms.

    `snapshots` and `exports` are the places at whose index, in this very history, a verified one ends.
    """

    partitions: Sequence[Partition]
    head: int
    now: int
    cursors: Mapping[str, int]
    snapshots: frozenset[Position]
    exports: frozenset[Position] = frozenset()
    export: Export = "unsaid"


class Waits(Struct, frozen=True):
    """Why a partition that is beyond the window stays: a stable word, and what an operator wants to know beside it."""

    partition: Partition
    reason: Reason
    detail: str


def decide(standing: Standing, window: Window) -> Partition | Waits | None:
    """Tell which partition goes now, or why it waits; None: nothing is beyond the window."""
    full = settled(standing.partitions, standing.head)
    if not full or not _beyond(full[0], standing, window):
        return None
    oldest = full[0]
    return _held(oldest, standing) or oldest


def settled(partitions: Sequence[Partition], head: int) -> list[Partition]:
    """Give the partitions that the head has left far behind: all but the one it is in, and the one before it."""
    return [each for each in [each for each in partitions if each.first <= head][:-STAY] if each.end is not None]


def unexported(partitions: Sequence[Partition], exports: frozenset[Position]) -> list[Partition]:
    """Give the full partitions that are to be exported, oldest first: at once, not only when they are to go."""
    return [each for each in partitions if each.end is not None and each.end not in exports]


def _beyond(oldest: Partition, standing: Standing, window: Window) -> bool:
    if window.ms and standing.now - oldest.time > window.ms:
        return True
    return bool(window.bytes) and sum(each.bytes for each in standing.partitions) > window.bytes


def _held(oldest: Partition, standing: Standing) -> Waits | None:
    end = oldest.end
    assert end is not None  # noqa: S101 - it is settled
    if standing.export == "unsaid":
        return Waits(oldest, "export_unsaid", "say where audit exports go: --audit-dir DIR, or none if none are wanted")
    if standing.export == "wanted" and end not in standing.exports:
        return Waits(oldest, "export_missing", f"the audit export of events {oldest.first} to {end.index}")
    if behind := [name for name, index in sorted(standing.cursors.items()) if index < end.index]:
        return Waits(oldest, "cursor_behind", ", ".join(f"{name} at {standing.cursors[name]}" for name in behind))
    if end not in standing.snapshots:
        return Waits(oldest, "snapshot_missing", f"a verified snapshot at {end.index}")
    return None
