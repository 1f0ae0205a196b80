"""What an api's child processes do, done in the test's own process over a log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from api.historian import Historian
from api.questions import Question
from eventstore.log import Position, Row
from eventstore.memory import MemoryLog
from eventstore.past import Past
from eventstore.verify import Ends, prove


class MemoryTeller:
    """A historian; `held` keeps it from answering while it is not set, `asked` counts."""

    def __init__(self, log: MemoryLog) -> None:
        self.held = asyncio.Event()
        self.held.set()
        self.asked: list[Question] = []
        self._log = log
        self._historian = Historian(Past(log))
        self._one = asyncio.Lock()

    async def tell(self, question: Question) -> bytes:
        """See Teller.tell."""
        self.asked.append(question)
        async with self._one:
            await self.held.wait()
            return await self._historian.answer(question)

    def forget(self) -> None:
        """See Teller.forget."""
        self._historian = Historian(Past(self._log))


class MemoryProver:
    """A prover; `held` keeps it from going on while it is not set."""

    def __init__(self, log: MemoryLog) -> None:
        self.held = asyncio.Event()
        self.held.set()
        self.busy = False
        self._log = log

    async def lines(self) -> AsyncGenerator[bytes]:
        """See Prover.lines."""
        self.busy = True
        try:
            async for line in prove(_Source(self._log)):
                yield msgspec.json.encode(line) + b"\n"
                await self.held.wait()
        finally:
            self.busy = False


class _Source:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def ends(self) -> Ends:
        """See Source.ends."""
        head = await self._log.head()
        return Ends(Position(), Position(head.index, head.chain), head.time, head.incarnation, head.index)

    async def rows(self, after: int, to: int) -> list[Row]:
        """See Source.rows."""
        return [row for row in await self._log.page(after) if row[0] <= to]
