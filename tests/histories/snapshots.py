"""Recorded snapshots: what former releases wrote, which this release must read: `<history>.format-<n>.snapshot`.

Each stands half-way through its history, so that the rest is folded on from it. `python -m tests.histories.snapshots
NAME ...` records one in this release's format; FileExistsError where there is one already, for it stays as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from eventstore import codec
from eventstore.log import Position, Row
from eventstore.snapshot import FORMAT, Reading, Writing
from heroctl.domain.state import State
from tests.histories import history


def files() -> list[Path]:
    """Find all of them."""
    return sorted(history.FOLDER.glob("*.snapshot"))


def of(file: Path) -> str:
    """Name the history that a file belongs to."""
    return file.name.partition(".")[0]


def read(rows: Iterable[bytes]) -> tuple[State, Reading]:
    """Read a snapshot whole."""
    reading = Reading()
    for row in rows:
        reading.feed(row)
    return reading.end(), reading


def write(rows: list[Row]) -> list[bytes]:
    """Fold a history and give the rows of its snapshot."""
    return list(Writing(history.fold(rows), codec.verify(rows, Position()), "0.1.0"))


def record(name: str) -> None:
    """Record one, at the end of the append in the middle."""
    rows = history.read(name)
    with (history.FOLDER / f"{name}.format-{FORMAT}.snapshot").open("xb") as file:
        file.writelines(write(rows[: rows[len(rows) // 2][1]]))


if __name__ == "__main__":
    for each in sys.argv[1:]:
        record(each)
