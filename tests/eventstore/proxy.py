"""A TCP proxy on loopback that loses, swallows, holds up or delays what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Proxy:
    """Stands before a server. While `lose_replies`, the first bytes of an answer break its connection instead.

    While `swallow`, bytes of either side vanish, and connections stay open; while `hold`, they wait. Both keep whoever
    connects waiting, too. `delay`: seconds that each piece takes on its way. `asked` counts the pieces of clients, a
    statement each, and `open` the connections.
    """

    def __init__(self, dsn: str) -> None:
        self.lose_replies = False
        self.refuse = False
        self.swallow = False
        self.delay = 0.0
        self.lost = 0
        self.asked = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._target = urlsplit(dsn)
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def dsn(self) -> str:
        """The way to the server through here."""
        return self._target._replace(netloc=f"{self._target.username}@127.0.0.1:{self._port}").geturl()

    @property
    def hold(self) -> bool:
        """Whether bytes wait."""
        return not self._flowing.is_set()

    @hold.setter
    def hold(self, value: bool) -> None:
        self._flowing.clear() if value else self._flowing.set()

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._serving)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Proxy]:
        """Accept connections."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for serving in self._serving:
                serving.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def lead(self, dsn: str) -> None:
        """Stand before another server from now on; connections to the one before break."""
        self._target = urlsplit(dsn)
        self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        try:
            if not self.refuse:
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()
            self._serving.discard(serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            return
        ends = {writer, there}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, there, ends, replies=False))
                tasks.create_task(self._pump(there_reader, writer, ends, replies=True))
        except* OSError:
            pass
        finally:
            there.transport.abort()
            self._writers -= ends

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ends: set[asyncio.StreamWriter],
        *,
        replies: bool,
    ) -> None:
        while data := await reader.read(65536):
            self.asked += not replies
            if self.delay:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), self.delay)
            await self._flowing.wait()
            if self.swallow:
                continue
            if replies and self.lose_replies:
                self.lost += 1
                break
            writer.write(data)
            await writer.drain()
        for end in ends:
            end.transport.abort()
