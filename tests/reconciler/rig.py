"""Reconcilers on a log in memory, with an api and agents played by the test, on a loop that jumps over waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from eventstore.beats import Beat, MemoryBeats
from eventstore.lease import Keeper, MemoryLeases
from eventstore.level import MemoryLevels
from eventstore.log import PAGE, Append, Appended, Conflicted, LogUnavailable, Row
from eventstore.members import MemoryMembers
from eventstore.memory import MemoryLog
from eventstore.view import View
from heroctl.domain.assignment import Capacity, Driver, Inventory, Report, SessionRequest
from heroctl.domain.events import Event
from heroctl.domain.intents import jobs, nodes
from heroctl.domain.intents.change import Change
from heroctl.domain.records import Alloc, Member
from heroctl.domain.state import State
from reconciler.loop import Coordinator
from reconciler.presence import Presence
from tests.domain.worlds import spec
from tests.eventstore.fastloop import elapse
from tests.eventstore.fastloop import run as run_fast

START: Final = 1_700_000_000_000

BeforeAppend = Callable[[Append], Awaitable[None]]


class TroubledLog(MemoryLog):
    """A log that lets a test step in just before an append."""

    before: BeforeAppend | None = None

    async def append(self, append: Append) -> Appended:
        """See Log.append."""
        if self.before is not None:
            await self.before(append)
        return await super().append(append)


class SlowLog:
    """The same log for one process that reads it so many seconds late."""

    def __init__(self, log: MemoryLog, lag: float) -> None:
        self._lag = lag
        self.append, self.recall, self.redraw = log.append, log.recall, log.redraw
        self.head, self.read, self.wakes = log.head, log.read, log.wakes
        self._page = log.page

    async def page(self, after: int, events: int = PAGE) -> list[Row]:
        """See Log.page."""
        rows = await self._page(after, events)
        await elapse(self._lag)
        return rows


class Reconciler:
    """One process: its parts and its tasks."""

    def __init__(self, rig: Rig, name: str, lag: float, level: int | None) -> None:
        clock = asyncio.get_running_loop().time
        self.view = View(SlowLog(rig.log, lag) if lag else rig.log, clock=clock, level=level)
        self.keeper = Keeper(rig.leases, name, clock=clock, fit=lambda: self.view.sound)
        self.presence = Presence(rig.members, Member(name, "reconciler", name, "1"), self.view)
        self.coordinator = Coordinator(
            log=rig.log,
            view=self.view,
            keeper=self.keeper,
            beats=rig.beats,
            presence=self.presence,
            doorbell=None,
            levels=rig.levels,
            rise_after=60.0,
            clock=clock,
        )
        works = [self.view.run, self.keeper.run, self.presence.run, self.coordinator.run]
        self.tasks = [asyncio.create_task(work()) for work in works]

    async def kill(self) -> None:
        """End it without a word, and raise what one of its tasks has failed of."""
        for task in self.tasks:
            task.cancel()
        for result in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result


class Rig:
    """The log and its neighbours, an api's view, and agents that beat every two seconds unless they are silent."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.log = TroubledLog(lambda: START + int(loop.time() * 1000))
        self.leases = MemoryLeases(self.log, lambda: START / 1000 + loop.time())
        self.levels = MemoryLevels(self.log)
        self.beats = MemoryBeats()
        self.members = MemoryMembers(loop.time)
        self.api = View(self.log, clock=loop.time)
        self.silent: set[str] = set()
        self.reconcilers: dict[str, Reconciler] = {}
        self._count = 0

    @property
    def state(self) -> State:
        """The state as the api sees it."""
        return self.api.state

    def start(self, name: str, lag: float = 0, level: int | None = None) -> Reconciler:
        """Start a reconciler, one that reads the log late or is of another release if told so."""
        self.reconcilers[name] = Reconciler(self, name, lag, level)
        return self.reconcilers[name]

    async def kill(self, name: str) -> None:
        """End a reconciler without a word."""
        await self.reconcilers.pop(name).kill()

    def coordinators(self) -> list[str]:
        """Name those that take themselves for the coordinator."""
        return [name for name, each in self.reconcilers.items() if each.coordinator.coordinates]

    async def append(self, *events: Event) -> None:
        """Append events as an api would."""
        await self.api.reached((await self.log.append(Append(events))).last)

    async def do(self, change: Change) -> None:
        """Append what an intent decided."""
        if change.events:
            expects = tuple((stream, self.api.index) for stream in change.expects)
            appended = await self.log.append(Append(change.events, moves=change.moves, expects=expects))
            await self.api.reached(appended.last)

    async def join(self, name: str) -> str:
        """Let a server join and open a session."""
        token = f"join-{name}"
        await self.do(nodes.create_join_token(token, f"vault-{token}", self.state.time + 60_000, "tester"))
        await self.do(nodes.register_node(self.state, name, token, f"vault-{name}"))
        node = self.state.node_names[name]
        await self.open(node)
        return node

    async def open(self, node: str) -> None:
        """Open a session with a full inventory."""
        self.silent.discard(node)
        drivers = {"process": Driver(healthy=True)}
        request = SessionRequest(f"boot-{node}", Inventory(), Capacity(8, 8 << 30, 100 << 30), drivers, "10.0.0.1")
        await self.do(nodes.open_session(self.state, node, request, beating=False))

    async def submit(self, name: str = "web", args: str = "v1", **fields: Any) -> None:  # noqa: ANN401 - a spec's fields
        """Submit a job."""
        await self.do(jobs.submit_job(self.state, spec(job=name, args=[args], **fields), "tester"))

    async def told(self) -> list[Event]:
        """Read the whole log."""
        return [record.event async for page in self.log.read(0) for record in page]

    def live(self, name: str = "web") -> list[Alloc]:
        """List the allocations that fill a slot of a job."""
        return [alloc for alloc in self.state.allocs.values() if alloc.job == name and alloc.live]

    async def agents(self) -> None:
        """Beat and report, for ever."""
        while True:
            self._count += 1
            speaking = [node for node in self.state.nodes.values() if node.id not in self.silent and node.session]
            try:
                await self.beats.write({node.id: Beat(node.session, self._count) for node in speaking})
                for node in speaking:
                    reports = [one for alloc in self.state.allocs_on(node.id) if (one := _report(alloc))]
                    if reports and node.up is not False:
                        await self.do(nodes.report(self.state, node.id, node.session, reports)[0])
            except (Conflicted, LogUnavailable):
                pass  # said again with the next beat
            await elapse(2)

    async def until(self, look: Callable[[], object], seconds: float = 60) -> float:
        """Let time pass until something is so; return how many seconds that took."""
        began = asyncio.get_running_loop().time()
        while not look():
            await elapse(0.1)
            took = asyncio.get_running_loop().time() - began
            assert took < seconds, "it did not come true"
        return asyncio.get_running_loop().time() - began


def _report(alloc: Alloc) -> Report | None:
    if alloc.wanted == "stop":
        return Report(alloc.id, alloc.attempt, "complete")
    if alloc.health == "healthy":
        return None
    return Report(alloc.id, 1, "running", "healthy", running_for=0.0, healthy_for=0.0)


def run(story: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    """Tell a story: the api and the agents live as long as it does, and no reconciler outlives it."""

    async def main() -> None:
        rig = Rig()
        tasks = [asyncio.create_task(rig.api.run()), asyncio.create_task(rig.agents())]
        try:
            await story(rig)
        finally:
            for name in list(rig.reconcilers):
                await rig.kill(name)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run_fast(main)
