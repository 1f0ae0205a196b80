"""An engine that hangs: the node stays, its driver is told to be unwell, and afterwards everything is there once."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from msgspec.structs import replace

from agents import agent as agents_agent
from agents import counters, docker_runtime
from agents import sync as agents_sync
from agents.agent import Agent
from agents.client import Client
from agents.clock import RealClock
from agents.container import Node
from agents.docker_runtime import DockerRuntime
from agents.health import Prober
from agents.journal import Journal
from agents.node import About
from agents.ports import PortRange, Ports
from heroctl.domain.assignment import Assigned, Capacity
from heroctl.domain.spec import Task
from tests import image
from tests.agents.control import ControlPlane
from tests.agents.kits import SCRIPTS, clear
from tests.agents.rig import alloc
from tests.needs import needs
from tests.waiting import eventually

pytestmark = needs("docker")
ENGINE = "/var/run/docker.sock"
Mode = Literal["passes", "deaf", "mute"]


@dataclass
class Proxy:
    """Stands before the engine. `deaf`: it hears nothing; `mute`: it does what it is told, and nobody hears of it."""

    path: Path
    mode: Mode = "passes"
    asked: int = 0  # connections made while it hung
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._handle, self.path):
            yield
            self.cut()

    def cut(self) -> None:
        """Hang no more, and end all connections, as an engine does that is started again."""
        self.mode = "passes"
        self._changed.set()
        for writer in list(self._writers):
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += self.mode != "passes"
        theirs, ours = await asyncio.open_unix_connection(ENGINE)
        self._writers |= {writer, ours}
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, ours, "deaf"), self._pump(theirs, writer, "mute"))
        for each in (writer, ours):
            self._writers.discard(each)
            each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stops: Mode) -> None:
        while part := await reader.read(65536):
            while self.mode in (stops, "deaf"):
                self._changed.clear()
                await self._changed.wait()
            if writer.is_closing():
                return
            writer.write(part)
            await writer.drain()
        writer.close()


def wants(name: str) -> Assigned:
    spec = Task(name="web", image=image.NAME, command=("/bin/sh", "-c", SCRIPTS["stays"]))
    return replace(alloc(name, spec))


@dataclass
class Machine:
    proxy: Proxy
    control: ControlPlane
    agent: Agent
    direct: DockerRuntime

    def healthy(self) -> bool:
        return self.control.sessions[-1].drivers["docker"].healthy

    async def containers(self, name: str) -> list[tuple[str, int, str]]:
        return [(one.id, one.attempt, one.state) for one in await self.direct.list(name)]


@pytest.fixture
async def there(test_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    assert test_image
    for module, name, value in (
        (agents_agent, "HEALTH", 0.2),
        (agents_agent, "GLANCE", 0.5),
        (agents_sync, "REOPEN", 0.1),
        (docker_runtime, "CALL", 0.5),
        (docker_runtime, "LONG_CALL", 1.0),
    ):
        monkeypatch.setattr(module, name, value)
    cluster, clock = f"test-{secrets.token_hex(4)}", RealClock()
    control = ControlPlane(clock, cluster=cluster, every=0.2)
    proxy = Proxy(tmp_path / "docker.sock")
    direct = DockerRuntime(cluster, "n1")
    runtime = DockerRuntime(cluster, "n1", url=f"unix://{proxy.path}")
    journal = Journal(tmp_path / "data", "boot1", clock.now)
    journal.open()
    client = Client(["http://api-1"], transport=control.transport)
    client.token = "hn_secret"
    agent = Agent(
        Node("n1", "alpha", cluster, "127.0.0.1"),
        About("boot1", Capacity(2.0, 10**9, 10**10), "1.0"),
        journal=journal,
        ports=Ports(PortRange(31_900, 31_999)),
        runtimes={"docker": (runtime, Prober(runtime))},
        client=client,
        clock=clock,
        whole=counters.Machine(tmp_path),
    )
    await direct.open()
    asked = asyncio.Event()
    async with proxy.listening():
        running = asyncio.create_task(agent.run(asked))
        try:
            yield Machine(proxy, control, agent, direct)
        finally:
            proxy.cut()
            asked.set()
            await running
            await clear(direct)
            await direct.close()
            await client.close()
            journal.close()


@pytest.mark.parametrize("mode", ["deaf", "mute"])
async def test_an_engine_that_hangs_costs_neither_the_node_nor_a_container(there: Machine, mode: Mode) -> None:
    there.control.want(wants("a1"))
    await eventually(there.control.is_phase("a1", "running"), timeout=20, what="the first to run")
    before = await there.containers("a1")
    there.proxy.mode = mode
    there.control.want(wants("a2"))
    await eventually(lambda: not there.healthy(), timeout=20, what="word of a driver that is unwell")
    beats, asked = len(there.control.syncs), there.proxy.asked
    await eventually(lambda: len(there.control.syncs) > beats + 10, timeout=20, what="beats while it hangs")
    await eventually(lambda: there.proxy.asked > asked + 5, timeout=20, what="further tries while it hangs")
    report = there.control.seen["a1"]
    assert (report.phase, report.attempt, report.restarts, report.reason) == ("running", 1, 0, "")
    there.proxy.cut()
    await eventually(there.control.is_phase("a2", "running"), timeout=30, what="the second to run")
    await eventually(there.healthy, timeout=20, what="word of a driver that is well again")
    assert await there.containers("a1") == before, "what ran was left alone"
    [(_, attempt, state)] = await there.containers("a2")
    assert (attempt, state) == (1, "running"), "nothing is there twice, and no attempt was lost"


async def test_what_is_to_stop_while_it_hangs_stops_afterwards(there: Machine) -> None:
    there.control.want(wants("a1"))
    await eventually(there.control.is_phase("a1", "running"), timeout=20, what="it to run")
    there.proxy.mode = "deaf"
    there.control.want(replace(wants("a1"), wanted="stop"))
    await eventually(lambda: not there.healthy(), timeout=20, what="word of a driver that is unwell")
    assert there.control.seen["a1"].phase in ("running", "stopping"), "nothing is said that nobody knows"
    there.proxy.cut()
    await eventually(there.control.is_phase("a1", "complete"), timeout=20, what="its end")

    async def gone() -> bool:
        return await there.containers("a1") == []

    await eventually(gone, what="its removal")
