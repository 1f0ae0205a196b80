"""Plain TCP forwarding: connections to a local port go on to one of a service's healthy replicas.

Those on this node come first, in turn; who cannot be reached is passed over for the next. What is written on one side
is read on the other no faster than it is written on; a side that has said all is heard to have said so, and the other
may go on. A connection lives as long as its two ends do: the kernel asks silent ones now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from agents.bridge import Network
from heroctl.domain.endpoints import Endpoint

CONNECT: Final = 2.0  # seconds for one replica to answer
PATIENCE: Final = 3.0  # seconds that a connection waits for a replica to be there
MOST: Final = 1_000  # connections of one service
_CHUNK: Final = 64 << 10
_BACKLOG: Final = 256
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
_log: Final = structlog.get_logger("forward")

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def listen(host: str, port: int) -> socket.socket:
    """Take a local port. OSError where somebody has it, or this machine has no such address."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_BACKLOG)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


class Forward:
    """One service's local port. `endpoints` may be changed at any time: connections that stand are left alone.

    `may`: tells whether a peer's address is one of those that this is for.
    """

    def __init__(self, name: str, node: str, may: Callable[[str], bool], *, most: int = MOST) -> None:
        self.name = name
        self._node = node
        self._may = may
        self._most = most
        self._endpoints: tuple[Endpoint, ...] = ()
        self._there = asyncio.Event()
        self._turn = 0
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where the service is found now."""
        return self._endpoints

    @endpoints.setter
    def endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)
        if self._endpoints:
            self._there.set()
        else:
            self._there.clear()

    async def serve(self, taken: socket.socket) -> None:
        """Take connections on a socket from here on."""
        self._servers.append(await asyncio.start_server(self._accept, sock=taken, limit=_CHUNK))

    async def close(self) -> None:
        """End, with all connections."""
        for server in self._servers:
            server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # for the connections to be told

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        if peer is None or not self._may(str(peer[0])) or len(self._open) >= self._most:
            _log.info("connection_refused", service=self.name, peer=peer and peer[0], open=len(self._open))
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._carry((reader, writer)))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, near: Pair) -> None:
        far: Pair | None = None
        try:
            far = await self._connected()
            if far is not None:
                await _joined(near, far)
        except* OSError:
            pass  # one side broke off: so does the other
        finally:
            for _, writer in (near, far) if far is not None else (near,):
                writer.transport.abort()

    async def _connected(self) -> Pair | None:
        """Reach a replica; None: none could be, for as long as one waits."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._there.wait()
        for endpoint in self._order():
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT):
                    return await asyncio.open_connection(endpoint.address, endpoint.port, limit=_CHUNK)
        return None

    def _order(self) -> Iterator[Endpoint]:
        """Give the replicas in the order in which to try them."""
        turn, self._turn = self._turn, self._turn + 1
        for here in (True, False):
            some = [each for each in self._endpoints if (each.node == self._node) == here]
            at = turn % len(some) if some else 0
            yield from some[at:] + some[:at]


async def _joined(near: Pair, far: Pair) -> None:
    """Carry both ways until both sides have said all. Groups of OSError where one breaks off."""
    for _, writer in (near, far):
        _kept_alive(writer)
    async with asyncio.TaskGroup() as ways:
        ways.create_task(_pumped(near[0], far[1]))
        ways.create_task(_pumped(far[0], near[1]))
    for _, writer in (near, far):
        writer.close()
        await writer.wait_closed()


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _kept_alive(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        found.setsockopt(socket.IPPROTO_TCP, option, value)
    writer.transport.set_write_buffer_limits(high=_CHUNK)


def within(networks: Sequence[Network]) -> Callable[[str], bool]:
    """Tell apart this machine and what is in some networks from everybody else."""

    def may(address: str) -> bool:
        found = ipaddress.ip_address(address)
        return found.is_loopback or any(found in network for network in networks)

    return may
