"""An agent that runs a command for somebody: what ends it, whatever the command does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agents.attached import Attached
from agents.client import Client
from agents.clock import RealClock
from agents.execs import Door, Execs
from agents.runtime import Runtime
from heroctl.domain.assignment import MOST_EXECS, Assigned, ExecWish
from heroctl.domain.execs import PART, PROTOCOL, STDIN, Start, data, text
from tests.waiting import eventually


class Deaf:
    """A command that reads nothing, writes nothing and does not end by itself; and the runtime that runs it."""

    def __init__(self) -> None:
        self.begun = self.ended = False

    @contextlib.asynccontextmanager
    async def attach(self, container: str, start: Start) -> AsyncIterator[Attached]:
        del container, start
        self.begun = True
        try:
            yield cast("Attached", self)
        finally:
            self.ended = True

    async def write(self, part: bytes) -> None:
        del part
        await asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        await asyncio.get_running_loop().create_future()


@contextlib.asynccontextmanager
async def attending(command: Deaf, *, leaves: bool) -> AsyncIterator[tuple[Execs, ExecWish]]:
    """Have it run for a caller who says more than it reads, and then `leaves` or stays."""
    full, over = asyncio.Event(), asyncio.Event()

    async def api(peer: ServerConnection) -> None:
        await peer.send(text(Start(("sleep", "1000"))))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while True:
                    await peer.send(data(STDIN, bytes(PART)))
        full.set()
        if not leaves:
            await over.wait()
        peer.transport.abort()

    async with serve(api, "127.0.0.1", 0, subprotocols=[cast("Any", PROTOCOL)], compression=None) as server:
        wish = ExecWish("ticket", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        door = Door(cast("Client", _Client([wish.api])))
        execs = Execs(door, lambda _: (cast("Runtime", command), "c1"), RealClock())
        execs.want([named(wish)])
        [own] = execs._work
        await asyncio.wait_for(full.wait(), 20)
        assert command.begun
        try:
            yield execs, wish
        finally:
            over.set()
            await asyncio.wait([own], timeout=30)  # its connection is closed in order
            await execs.close()


async def test_a_command_that_reads_nothing_ends_with_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.execs.PING", 0.1)
    command = Deaf()
    async with attending(command, leaves=True):
        await eventually(lambda: command.ended, what="the command's end")


async def test_a_command_that_reads_nothing_ends_when_it_is_named_no_more() -> None:
    command = Deaf()
    async with attending(command, leaves=False) as (execs, wish):
        execs.want([named(wish, ExecWish("later", "http://127.0.0.1:9"))])
        execs.want([named(*(ExecWish(f"newer-{number}", "http://127.0.0.1:9") for number in range(MOST_EXECS - 1)))])
        await eventually(lambda: command.ended, what="the command's end")


async def test_a_command_that_is_one_too_many_to_be_named_runs_on() -> None:
    command = Deaf()
    async with attending(command, leaves=False) as (execs, _):
        newest = [ExecWish(f"newer-{number}", "http://127.0.0.1:9") for number in range(MOST_EXECS)]
        for names in (newest, newest[:3], []):
            execs.want([named(*names)])
            await asyncio.sleep(0)
        assert not command.ended
        await execs.close()
    assert command.ended


def named(*wishes: ExecWish) -> Assigned:
    return cast("Assigned", _Assigned("a1", wishes))


class _Client:
    token = "hn_1"

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls


class _Assigned:
    def __init__(self, alloc: str, execs: tuple[ExecWish, ...]) -> None:
        self.id = alloc
        self.execs = execs
