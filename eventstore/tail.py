"""The tail: reads a log from a position on, and proves with every append that it is still the same history."""

from __future__ import annotations

from collections.abc import AsyncIterator

from eventstore import codec
from eventstore.log import Compacted, Head, Log, OtherHistory, Position, Row
from heroctl.domain.events import Record


class Tail:
    """Stands at `position`, which moves with each page given: whoever takes one applies it before it awaits again."""

    def __init__(self, log: Log, position: Position | None = None) -> None:
        self.position = position or Position()
        self._log = log

    async def pages(self, until: int | None = None, *, enough: int | None = None) -> AsyncIterator[list[Record]]:
        """Give what is new, in lists of whole appends, to the end of the log or of the append that holds `until`.

        `enough`: once this index was given that is all, too: nobody asks whether there is more by now. Raises
        OtherHistory on a wrong number or hash, Compacted where the log is not kept from its position on.
        """
        while until is None or self.position.index < until:
            rows = await self._log.page(self.position.index)
            if not rows:
                return
            if until is not None:
                rows = _to(rows, until)
            self.position = codec.verify(rows, self.position)
            yield list(codec.records(rows))
            if enough is not None and self.position.index >= enough:
                return

    async def look(self) -> Head:
        """Compare the log's head with what was read. Raises OtherHistory if it is behind or differs; LogUnavailable."""
        head = await self._log.head()
        here = self.position
        if head.index < here.index:
            raise OtherHistory(f"the log ends at {head.index}, and {here.index} was read")
        if head.index == here.index and head.chain != here.chain:
            raise OtherHistory(f"the log ends at {head.index} with another chain")
        return head


async def continues(log: Log, position: Position) -> bool:
    """Tell whether a log goes on from a position: an append of this very history ended there. Raises LogUnavailable."""
    try:
        rows = await log.page(position.index - 1)
        return bool(rows) and (rows[0][0], rows[0][7]) == (position.index, position.chain)
    except Compacted:
        return await _follows(log, position)


async def _follows(log: Log, position: Position) -> bool:
    # The event itself is not kept any more; what follows was hashed together with it.
    try:
        codec.verify(await log.page(position.index), position)
        head = await log.head()
    except (Compacted, OtherHistory):
        return False
    return head.index > position.index or (head.index, head.chain) == (position.index, position.chain)


def _to(rows: list[Row], until: int) -> list[Row]:
    if rows[-1][0] <= until:
        return rows
    last = rows[until - rows[0][0]][1]
    return rows[: last - rows[0][0] + 1]
