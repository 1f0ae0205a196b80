"""The tail: reads a log from a position on, and proves with every append that it is still the same history."""

from __future__ import annotations

from collections.abc import AsyncIterator

from eventstore import codec
from eventstore.log import Head, Log, OtherHistory, Position
from heroctl.domain.events import Record


class Tail:
    """Stands at `position`, which moves with each page given: whoever takes one applies it before it awaits again."""

    def __init__(self, log: Log, position: Position | None = None) -> None:
        self.position = position or Position()
        self._log = log

    async def pages(self) -> AsyncIterator[list[Record]]:
        """Give what is new, in lists of whole appends. Raises OtherHistory on a wrong number or hash."""
        while rows := await self._log.page(self.position.index):
            self.position = codec.verify(rows, self.position)
            yield list(codec.records(rows))

    async def look(self) -> Head:
        """Compare the log's head with what was read. Raises OtherHistory if it is behind or differs; LogUnavailable."""
        head = await self._log.head()
        here = self.position
        if head.index < here.index:
            raise OtherHistory(f"the log ends at {head.index}, and {here.index} was read")
        if head.index == here.index and head.chain != here.chain:
            raise OtherHistory(f"the log ends at {head.index} with another chain")
        return head
