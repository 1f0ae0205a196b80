"""Servers for the agent's tests: the control plane in miniature over real HTTP, and one that never answers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from tests.agents.control import ControlPlane


@contextlib.asynccontextmanager
async def served(control: ControlPlane, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Listen on a free port of this machine; the value is the URL."""
    handling: set[asyncio.Task[object]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        handling.add(current)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                answer = await control.answer(await _request(reader))
                lines = [f"HTTP/1.1 {answer.status_code} x", f"Content-Length: {len(answer.content)}"]
                lines += [f"{name}: {value}" for name, value in answer.headers.items() if name != "content-length"]
                writer.write("\r\n".join([*lines, "", ""]).encode() + answer.content)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}"
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> httpx2.Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split()
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    lengths = [int(value) for name, value in headers.items() if name.lower() == "content-length"]
    return httpx2.Request(
        method, f"http://localhost{path}", headers=headers, content=await reader.readexactly(sum(lengths))
    )


@contextlib.asynccontextmanager
async def silent(path: Path | None = None) -> AsyncIterator[int]:
    """Take connections, at a path or on the port that is the value, and never answer; leave none of them open."""
    open_: set[asyncio.StreamWriter] = set()

    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)

    if path is not None:
        server = await asyncio.start_unix_server(never, path)
    else:
        server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server:
        yield 0 if path else server.sockets[0].getsockname()[1]
        for writer in open_:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
