"""Receivers of webhooks on loopback, good ones and bad ones, which keep what they got."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from tests.eventstore.fastloop import elapse

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]
_FOREVER: Final = 10**9


@dataclass
class Got:
    """One request, as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What listens, how often somebody connected, and what came."""

    port: int = 0
    accepts: int = 0
    got: list[Got] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"


def says(status: int, body: bytes = b"", *headers: str) -> Write:
    """Answer with a status, and a body as long as it is said to be."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return write


async def hangs(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    del writer
    await elapse(_FOREVER)


def dripping(begin: bytes, letter: bytes) -> Write:
    """Answer letter by letter, after a beginning, without end."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            await writer.drain()
            await elapse(0.05)
            writer.write(letter)

    return write


drips: Final = dripping(b"HTTP/1.1 20", b"0")  # never to the end of the first line
drips_body: Final = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a")  # it was taken


async def endless(writer: asyncio.StreamWriter) -> None:
    """Answer without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in itertools.count():
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def closes(writer: asyncio.StreamWriter) -> None:
    """Hang up in the middle of the head."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()


async def closes_in_body(writer: asyncio.StreamWriter) -> None:
    """Hang up in the middle of the body."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()


async def talks_nonsense(writer: asyncio.StreamWriter) -> None:
    """Speak something else."""
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()


@contextlib.asynccontextmanager
async def receiver(write: Write, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Receiver]:
    """Listen, and treat everybody alike."""
    made = Receiver()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.accepts += 1
        try:
            made.got.append(await _request(reader))
            await write(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(begin, host, port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> Got:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return Got(head[0], headers, await reader.readexactly(int(headers.get("content-length", "0"))))
