"""The tail: reads a log from a position on, and proves with every append that it is still the same history."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final

from eventstore import codec
from eventstore.log import Compacted, Head, Log, OtherHistory, Position, Row
from heroctl.domain.events import Record

_ENDS: Final = 4096  # appends that were read last, and whose ends are remembered


class Tail:
    """Stands at `position`, which moves with each page given: whoever takes one applies it before it awaits again."""

    def __init__(self, log: Log, position: Position | None = None) -> None:
        self.position = position or Position()
        self._log = log
        self._ends: dict[int, bytes] = {}  # index and chain

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
            self._remember(rows)
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

    async def passed(self, position: Position) -> bool:
        """Tell whether the log came by a position; what it does not keep any more is believed. Raises LogUnavailable.

        It is asked only about what was not read lately.
        """
        here, chain = self.position, self._ends.get(position.index)
        if chain is not None or position.index == here.index:
            return position.chain == (chain or here.chain)
        try:
            return await _ended(self._log, position)
        except Compacted:
            return True

    def _remember(self, rows: Sequence[Row]) -> None:
        ends = [(row[0], row[7]) for row in rows[-_ENDS:] if row[7] is not None]
        self._ends.update(ends)
        for index in list(islice(self._ends, max(0, len(self._ends) - _ENDS))):
            del self._ends[index]


async def continues(log: Log, position: Position) -> bool:
    """Tell whether a log goes on from a position: an append of this very history ended there. Raises LogUnavailable."""
    try:
        return await _ended(log, position)
    except Compacted:
        return await _follows(log, position)


async def _ended(log: Log, position: Position) -> bool:
    rows = await log.page(position.index - 1, 1)
    return bool(rows) and (rows[0][0], rows[0][7]) == (position.index, position.chain)


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
