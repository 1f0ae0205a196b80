"""HTTP/1.1 over bare sockets: little enough work that a load generator does not measure itself."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, cast

from msgspec import Struct

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, or the port stays in TIME_WAIT for a minute


class Answer(Struct, frozen=True, gc=False):
    """A whole answer: status, the head's bytes in lower case, body, and when its last byte came (monotonic)."""

    status: int
    head: bytes
    body: bytes
    at: float

    @property
    def index(self) -> int:
        """The value of X-HeroCtl-Index; 0 where there is none."""
        found = self.head.partition(b"\r\nx-heroctl-index:")[2]
        return int(found.partition(b"\r\n")[0] or 0)


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._buffer = b""
        self._need = 0  # bytes of the whole answer; 0: the head is not complete
        self._head = 0

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future gives the answer, or ConnectionError."""
        assert self._transport is not None
        assert self._waiting is None or self._waiting.done(), "one request at a time"
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection"))
        else:
            self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        """Close at once; nobody hears of an answer that is still to come."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._need and not self._read_head():
            return
        if len(self._buffer) >= self._need:
            whole, self._buffer = self._buffer[: self._need], self._buffer[self._need :]
            answer = Answer(int(whole[9:12]), whole[: self._head].lower(), whole[self._head + 4 :], time.monotonic())
            self._need = 0
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(answer)

    def _read_head(self) -> bool:
        self._head = self._buffer.find(b"\r\n\r\n")
        if self._head < 0:
            return False
        length = self._buffer[: self._head].lower().partition(b"\r\ncontent-length:")[2]
        if not length:
            raise ValueError("an answer without a Content-Length")
        self._need = self._head + 4 + int(length.partition(b"\r\n")[0])
        return True


async def connect(address: tuple[str, int], source: str = "127.0.0.1") -> Connection:
    """Open a connection from a loopback address, so that 28,000 local ports are not the limit."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    sock.bind((source, 0))
    try:
        await loop.sock_connect(sock, address)
    except OSError:
        sock.close()
        raise
    return (await loop.create_connection(Connection, sock=sock))[1]


async def connect_many(address: tuple[str, int], count: int, sources: Callable[[int], str]) -> list[Connection]:
    """Open many connections, 64 at a time: a listen queue is short."""
    gate = asyncio.Semaphore(64)

    async def one(number: int) -> Connection:
        async with gate:
            return await connect(address, sources(number))

    return list(await asyncio.gather(*(one(number) for number in range(count))))


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """Write a request with a bearer token."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
