"""Forwarding: which replica a connection reaches, that nothing of it is lost, and who is not let in."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agents import forward as forwarding
from agents.forward import Forward, listen, within
from heroctl.domain.endpoints import Endpoint
from tests.waiting import eventually

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HERE, THERE = "n1", "n2"


class Replicas:
    """Servers on loopback, ended with the test."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()

    async def add(self, name: str, node: str = HERE, talk: Talk | None = None) -> Endpoint:
        """Begin one that says its name and ends, unless it is to talk otherwise."""

        async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name.encode())
            writer.close()

        server = await asyncio.start_server(talk or says, "127.0.0.1", 0)
        self._stack.callback(server.close)
        return Endpoint(node, "127.0.0.1", server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    made = Replicas()
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def forward(
    *endpoints: Endpoint, most: int = 10, may: Callable[[str], bool] | None = None
) -> AsyncIterator[Pipe]:
    made = Forward("default/db.db.sql", HERE, may or within(()), most=most)
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    await made.serve(taken)
    made.endpoints = endpoints
    try:
        yield Pipe(made, port)
    finally:
        await made.close()


class Pipe:
    """A forward, and the port that it listens on."""

    def __init__(self, made: Forward, port: int) -> None:
        self.forward = made
        self.port = port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self) -> str:
        """Connect, and return all that is said; "": it was broken off."""
        reader, writer = await self.open()
        try:
            return (await reader.read()).decode()
        except ConnectionError:
            return ""
        finally:
            writer.close()


async def unused() -> int:
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def test_those_on_this_node_come_first_and_in_turn(replicas: Replicas) -> None:
    here = [await replicas.add(name) for name in ("a", "b")]
    far = await replicas.add("far", THERE)
    async with forward(far, *here) as pipe:
        assert [await pipe.ask() for _ in range(4)] == ["a", "b", "a", "b"]


async def test_who_cannot_be_reached_is_passed_over(replicas: Replicas) -> None:
    dead = Endpoint(HERE, "127.0.0.1", await unused())
    async with forward(dead, await replicas.add("far", THERE)) as pipe:
        assert [await pipe.ask() for _ in range(3)] == ["far"] * 3


async def test_it_follows_where_the_service_is_and_leaves_what_stands(replicas: Replicas) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async with forward(await replicas.add("old", talk=echo)) as pipe:
        reader, writer = await pipe.open()
        await eventually(lambda: len(pipe.forward._open) == 1)
        pipe.forward.endpoints = (await replicas.add("new"),)
        assert await pipe.ask() == "new"
        writer.write(b"still here\n")
        assert await reader.read() == b"still here\n"
        writer.close()


async def test_a_side_that_has_said_all_may_still_hear(replicas: Replicas) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read()
        writer.write(str(len(said)).encode())
        await writer.drain()
        writer.close()

    async with forward(await replicas.add("count", talk=count)) as pipe:
        reader, writer = await pipe.open()
        writer.write(b"x" * 3_000_000)
        writer.write_eof()
        assert await reader.read() == b"3000000"
        writer.close()
        await eventually(lambda: not pipe.forward._open)


async def test_nothing_is_read_faster_than_it_is_written_on(replicas: Replicas) -> None:
    go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        while await reader.read(1 << 16):
            pass
        writer.close()

    async with forward(await replicas.add("slow", talk=slow)) as pipe:
        reader, writer = await pipe.open()
        writer.transport.set_write_buffer_limits(high=0)
        clock = asyncio.get_running_loop().time
        sent, at = 0, clock()

        async def pour() -> None:
            nonlocal sent, at
            for _ in range(1024):
                writer.write(b"x" * (1 << 16))
                await writer.drain()
                sent, at = sent + (1 << 16), clock()

        pouring = asyncio.create_task(pour())
        await eventually(lambda: sent > 0 and clock() - at > 0.3)  # it stands still
        assert sent < 1024 << 16
        go.set()
        await pouring
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_who_is_broken_off_is_told_so(replicas: Replicas) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.transport.abort()

    async with forward(await replicas.add("breaks", talk=breaks)) as pipe:
        reader, writer = await pipe.open()
        writer.write(b"hello\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await eventually(lambda: not pipe.forward._open)


async def test_there_are_no_more_than_it_may_have_at_a_time(replicas: Replicas) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with forward(await replicas.add("silent", talk=silent), most=2) as pipe:
        held = [await pipe.open() for _ in range(2)]
        await eventually(lambda: len(pipe.forward._open) == 2)
        assert await pipe.ask() == ""
        held[0][1].close()
        await eventually(lambda: len(pipe.forward._open) == 1)
        pipe.forward.endpoints = (await replicas.add("again"),)
        assert await pipe.ask() == "again"
        held[1][1].close()


async def test_strangers_are_not_let_in(replicas: Replicas) -> None:
    may = within((ipaddress.ip_network("172.17.0.0/16"),))
    assert (may("127.0.0.9"), may("172.17.0.5"), may("10.0.0.1"), may("172.18.0.1")) == (True, True, False, False)
    async with forward(await replicas.add("a"), may=lambda _: False) as pipe:
        assert await pipe.ask() == ""


async def test_a_connection_waits_a_moment_for_a_replica_to_be_there(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with forward() as pipe:
        asking = asyncio.create_task(pipe.ask())
        await eventually(lambda: len(pipe.forward._open) == 1)
        pipe.forward.endpoints = (await replicas.add("late"),)
        assert await asking == "late"
        pipe.forward.endpoints = ()
        monkeypatch.setattr(forwarding, "PATIENCE", 0.05)
        assert await pipe.ask() == ""
