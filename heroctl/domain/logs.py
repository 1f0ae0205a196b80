"""Lines that workloads write: as agents ship them, as Redis keeps them, and as they are told.

One stream of Redis for each allocation, under its node's name; one entry of it is a batch. Every line has a number
within its container's life, so that a batch that was sent twice is told once.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

LINE: Final = 16 * 1024  # bytes of one line; what is longer goes on in the next, which is said
FIELD: Final = "batch"  # of an entry
KEEP: Final = 24 * 3600  # seconds that lines stay after their allocation's end
MOST_LINES: Final = 10_000  # of one answer, and of what is kept of an allocation
RATE_TOO_HIGH: Final = "written faster than logs are taken"
AWAY: Final = "Redis was away"

Output = Literal["stdout", "stderr"]
Source = Literal["stdout", "stderr", "system"]
_ALLOC: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Line(Struct, frozen=True, gc=False, omit_defaults=True, rename={"time": "t", "source": "s", "text": "l"}):
    """One line. `time`: ms since the epoch; `partial`: it goes on in the next one.

    `dropped`: it stands for so many lines that are not kept, and its text says why.
    """

    time: int
    text: str
    source: Source = "stdout"
    partial: bool = False
    dropped: int = 0

    @property
    def count(self) -> int:
        """How many lines of the workload it stands for."""
        return self.dropped or 1

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.text) + 64


class Batch(Struct, frozen=True, gc=False, rename={"namespace": "ns", "container": "c", "first": "n"}):
    """Lines of one container, in order; `first`: the number of the first."""

    namespace: str
    job: str
    task: str
    container: str
    first: int
    lines: list[Line]


class Shipment(Struct, frozen=True, gc=False):
    """What is to be done to the stream of one allocation.

    `trim`: entries before this id are to go; `keep`: seconds from now until the stream may go, 0: as it was.
    """

    alloc: str
    batch: Batch | None = None
    trim: str = ""
    keep: Annotated[int, Meta(ge=0, le=32 * 86_400)] = 0


class LogsRequest(Struct, frozen=True):
    """Body of `POST /v1/agent/logs`: for nodes that do not reach Redis themselves."""

    session: int
    shipments: list[Shipment] = field(default_factory=list)


class LogsReply(Struct, frozen=True):
    """The answer: for each shipment the id of its entry; "": it was not kept, and never will be."""

    ids: list[str] = field(default_factory=list)


def log_key(node: str, alloc: str) -> str:
    """Name the stream of an allocation's lines."""
    return f"heroctl:logs:{node}:{alloc}"


def alloc_of(key: str) -> str:
    """Read back from its stream's name which allocation it is of."""
    return key.rpartition(":")[2]


def is_alloc(text: str) -> bool:
    """Tell whether a text may be the id of an allocation, or begin one."""
    return _ALLOC.fullmatch(text) is not None


def marker(time: int, count: int, why: str) -> Line:
    """Say that lines are not here."""
    lines = "line was" if count == 1 else "lines were"
    return Line(time, f"{count} {lines} dropped: {why}", "system", dropped=count)
