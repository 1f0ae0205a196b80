"""Where those who wait for a command of theirs, and the agents that run it, meet: both come to the same process.

An id is a ticket: it is drawn, it is good for one agent, that of the node which it was made for, and once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator

from api.socket import Socket


class Visit:
    """One command that somebody has run. `agent` is done when the node's agent has come for it."""

    def __init__(self, node: str) -> None:
        self.id = secrets.token_hex(16)
        self.node = node
        self.agent: asyncio.Future[Socket] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()


class Desk:
    """All visits of one process to which no agent has come yet."""

    def __init__(self) -> None:
        self._expected: dict[str, Visit] = {}

    @contextlib.contextmanager
    def expect(self, node: str) -> Iterator[Visit]:
        """Wait for a node's agent; when this ends, whoever has come is let go."""
        visit = Visit(node)
        self._expected[visit.id] = visit
        try:
            yield visit
        finally:
            self._expected.pop(visit.id, None)
            visit.agent.cancel()
            visit.over.set()

    def take(self, ticket: str, node: str) -> Visit | None:
        """Give who waits for this node's agent, once; None: nobody does."""
        visit = self._expected.get(ticket)
        if visit is None or visit.node != node:
            return None
        return self._expected.pop(ticket)
