"""An agent of which everything else is ours: control plane, runtime, time and disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from agents.agent import Agent
from agents.bridge import Bridge
from agents.client import Client
from agents.container import Container, Node
from agents.counters import Counters
from agents.disk import Disk
from agents.fake_runtime import FakeRuntime
from agents.health import Probe
from agents.journal import Journal
from agents.logs import WAYS, Ways
from agents.node import About
from agents.ports import PortRange, Ports
from heroctl.domain.assignment import Assigned, Capacity
from heroctl.domain.duration import Duration
from heroctl.domain.spec import Port, Restart, Task
from tests.agents.clocks import ManualClock
from tests.agents.control import ControlPlane
from tests.waiting import eventually

WEB = Task(
    name="web",
    image="shop:1",
    ports={"http": Port(8080)},
    restart=Restart(attempts=2, interval=Duration.of(600), delay=Duration.of(10)),
    kill_timeout=Duration.of(5),
)


def alloc(name: str, spec: Task = WEB, *, wanted: str = "run", digest: str = "d1", seen: int = 0) -> Assigned:
    return Assigned(
        id=name,
        namespace="default",
        job="shop",
        task=spec.name,
        slot=0,
        version=1,
        wanted="run" if wanted == "run" else "stop",
        digest=digest,
        spec=spec,
        cluster="test",
        node="alpha",
        address="10.0.0.1",
        index=1,
        seen_attempt=seen,
    )


def stopped(assigned: Assigned) -> Assigned:
    return replace(assigned, wanted="stop")


class InlineJournal(Journal):
    """Writes at once, so that nothing but the clock lets time pass."""

    async def _do(self, function: Callable[..., None], *arguments: object) -> None:
        function(*arguments)


@dataclass
class FakeMachine:
    """A machine of two cores, of which half a one is busy."""

    clock: ManualClock
    limits: tuple[float, float] = (2.0, 1e9)

    def counters(self) -> Counters:
        """Count."""
        return Counters(self.clock.now() / 2, 5e8, 0.0, 0.0, 0.0, 0.0)

    def gauges(self) -> dict[str, float]:
        """Tell what else is so."""
        return {"load": 0.5}


@dataclass
class Rig:
    """`start` an agent, `kill` it, `start` the next: the runtime, the folder and the control plane stay."""

    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    control: ControlPlane = field(init=False)
    boot: str = "boot1"
    urls: tuple[str, ...] = ("http://api-1",)
    agent: Agent | None = None
    running: asyncio.Task[None] | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    halt: bool = False
    disk_used: int = 50  # percent
    bridge: Callable[[], Awaitable[Bridge | None]] | None = None
    ways: Ways = WAYS

    def __post_init__(self) -> None:
        self.control = ControlPlane(self.clock)
        self.runtime = FakeRuntime(self.clock)

    def start(self) -> Agent:
        """Start an agent over what is there."""
        self.asked = asyncio.Event()
        journal = InlineJournal(self.folder, self.boot, self.clock.now)
        journal.open()
        client = Client(self.urls, transport=self.control.transport)
        client.token = "hn_secret"
        self.agent = Agent(
            Node("n1", "alpha", "test", "10.0.0.1"),
            About(self.boot, Capacity(2.0, 10**9, 10**10), "1.0"),
            journal=journal,
            ports=Ports(PortRange(20_000, 20_099), lambda port: port in self.runtime.taken),
            runtimes={"docker": (self.runtime, self._probe())},
            client=client,
            bridge=self.bridge,
            clock=self.clock,
            whole=FakeMachine(self.clock),
            log_ways=self.ways,
            disk=Disk(self.folder, usage=lambda _: (100, self.disk_used, 100 - self.disk_used)),
        )
        self.running = asyncio.create_task(self._run(self.agent, journal, client))
        return self.agent

    def _probe(self) -> Probe:
        async def probe(_: Task, container: Container) -> str:
            return "" if self.runtime.healthy(container.id) else "it says no"

        return probe

    async def _run(self, agent: Agent, journal: Journal, client: Client) -> None:
        try:
            await agent.run(self.asked, halt=self.halt)
        finally:
            await client.close()
            journal.close()

    async def kill(self) -> None:
        """End the agent without letting it finish anything."""
        if self.running is not None:
            self.running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.running
            self.running = None

    async def stop(self) -> None:
        """Ask the agent to end."""
        assert self.running is not None
        self.asked.set()
        await self.until(self.running.done, step=0.5)
        await self.running
        self.running = None

    async def until(
        self, look: Callable[[], object], *, step: float = 0.25, most: float = 60.0, what: str = ""
    ) -> None:
        """Let time pass, a little at a time, until something is true."""
        passed = 0.0

        async def looked() -> bool:
            nonlocal passed
            if not look() and passed < most:
                passed += step
                await self.clock.advance(step)
            return bool(look())

        await eventually(looked, what=what)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and the agent have a beat after it."""
        await self.clock.advance(seconds)
        beats = len(self.control.syncs)
        await self.until(lambda: len(self.control.syncs) > beats + 1, what="a beat")

    def states(self) -> dict[str, str]:
        """Return what the runtime holds: allocation and state."""
        return {one.alloc: one.state for one in self.runtime.containers.values()}

    def ids(self) -> set[str]:
        return set(self.runtime.containers)


@contextlib.asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    made = Rig(folder)
    try:
        yield made
    finally:
        await made.kill()
        await made.runtime.close()
