"""Lines that are given to others: where each comes from, and who takes it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from agents.log_tail import Whose
from heroctl.domain.logs import Line


class Origin(NamedTuple):
    """A container, what it runs, and where."""

    namespace: str
    job: str
    task: str
    alloc: str
    container: str
    node: str
    node_id: str


class Forwarded(NamedTuple):
    """One line, and where it comes from."""

    origin: Origin
    line: Line


class Forward(Protocol):
    """Who else is given what is read; see `log_forward`."""

    def open(self) -> None:
        """Begin."""
        ...

    def put(self, whose: Whose, lines: list[Line], unread: int) -> None:
        """Take lines, and how many more were only counted."""
        ...

    def end(self, whose: Whose) -> None:
        """Hear that an output has ended."""
        ...

    async def close(self) -> None:
        """End, after a moment at most."""
        ...
