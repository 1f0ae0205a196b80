"""A stable address before a Postgres that may become another one: what a cluster's parts are given to connect to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tests.eventstore.proxy import Proxy
from tests.waiting import until

_NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"


class Address:
    """Leads to one server, later to another. Made by `address()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy) -> None:
        self._loop = loop
        self._proxy = proxy

    @property
    def dsn(self) -> str:
        """The way to whatever server it leads to."""
        return self._proxy.dsn

    def lead(self, dsn: str) -> None:
        """Lead to this server from now on; connections to the one before break."""
        done = threading.Event()

        def switch() -> None:
            self._proxy.lead(dsn)
            done.set()

        self._loop.call_soon_threadsafe(switch)
        assert done.wait(10)

    def lose_answers(self, count: int) -> None:
        """Break so many connections where an answer was about to come: what was asked has happened."""
        self._proxy.lose_replies = True
        try:
            goal = self._proxy.lost + count
            until(lambda: self._proxy.lost >= goal, what="lost answers")
        finally:
            self._proxy.lose_replies = False

    def close(self) -> None:
        """Lead nowhere: connections break, and there are no new ones."""
        self.lead(_NOWHERE)


@contextlib.contextmanager
def address() -> Iterator[Address]:
    """Open an address that leads nowhere yet; it is served by a thread of its own."""
    proxy, over, ready = Proxy(_NOWHERE), asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with proxy.serve():
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], name="address", daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield Address(loop, proxy)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()
