"""One agent: holds the workers of its allocations and joins them with runtimes, assignment and journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

import structlog

from agents.absent_runtime import absent
from agents.bridge import Bridge
from agents.client import Client
from agents.clock import Clock
from agents.container import Container, Node
from agents.desired import Desired, Heard, Told, answered, forgotten, renewed, rung
from agents.disk import Disk
from agents.doorbell import Doorbell
from agents.execs import Door, Execs
from agents.health import Probe
from agents.journal import Journal
from agents.logs import WAYS, Logs, Ways, sources
from agents.node import About
from agents.ports import Ports
from agents.record import Record
from agents.room import Room
from agents.running import running, runs
from agents.runtime import Runtime, RuntimeFault
from agents.samples import Sampler, Whole
from agents.secrets import Secrets
from agents.services import Services
from agents.silence import SHORT, released
from agents.sync import Dismissed, Sync
from agents.worker import Worker
from heroctl.domain.assignment import (
    Driver,
    Inventory,
    Outcome,
    Report,
    Ring,
    SecretsRequest,
    SessionRequest,
    SyncReply,
)

GLANCE: Final = 30.0  # seconds between two looks at everything, should an end not have been heard
HEALTH: Final = 10.0  # seconds between two looks at the runtimes
FIRST: Final = 5.0  # seconds that the first session waits for the first look
QUIT: Final = 2.5  # seconds that workers may take to finish what is at hand
HALT: Final = 6.0  # seconds that workloads may take to end, where they end with the agent
TIDY: Final = 30.0  # seconds between two looks whether there is room
DISK_LOW: Final = "disk.low"  # the node's attribute, while no image is brought here
OVER: Final = 0.5  # seconds between two looks whether everything is over
HEARD: Final = 5.0  # seconds between two times that it is kept on disk when the agent was heard last
FINISHED: Final = 500  # allocations that are over and still remembered
_log = structlog.get_logger("agent")


class Agent:
    """Everything of one node, until it is asked to end or dismissed."""

    def __init__(
        self,
        node: Node,
        about: About,
        *,
        journal: Journal,
        ports: Ports,
        runtimes: Mapping[str, tuple[Runtime, Probe]],
        client: Client,
        clock: Clock,
        whole: Whole,
        ca_cert: str = "",
        log_ways: Ways = WAYS,
        disk: Disk | None = None,
        bridge: Callable[[], Awaitable[Bridge | None]] | None = None,
    ) -> None:
        self._about = about
        self._disk = disk
        self._low = ""  # why no image is brought here
        self._journal = journal
        self._runtimes = runtimes
        self._clock = clock
        self.workers: dict[str, Worker] = {}
        self._drivers = {name: Driver(healthy=False) for name in runtimes}
        self._looked: set[str] = set()  # runtimes that have been looked at
        self._unknown_told: set[str] = set()
        self._heard_at_kept: float | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._logs = Logs(
            node.id,
            lambda: sources(self.workers.values(), self._room.desired),
            client.logs,
            clock=clock,
            keeper=journal,
            session=lambda: self.sync.session,
            ways=log_ways,
            ca_cert=ca_cert,
        )
        doorbell = Doorbell(self._rang, ca_cert=ca_cert, used=self._logs.use)
        self._doorbell = doorbell
        self.sync = Sync(client, clock, doorbell, self)
        self._secrets = Secrets(lambda allocs: client.secrets(SecretsRequest(self.sync.session, allocs)))
        self._services = Services(
            node.id, ports, client.services, clock=clock, keep=journal.keep_services, bridge=bridge
        )
        self._execs = Execs(Door(client, ca_cert), lambda alloc: runs(self.workers.get(alloc)), clock)
        self._sampler = Sampler(
            node.id,
            whole,
            lambda: running(self.workers.values(), self._room.desired),
            client.samples,
            clock=clock,
            session=lambda: self.sync.session,
        )
        self._room = Room(
            node, clock, journal, ports, self.sync.told, self._secrets, self._services, self._logs, Desired()
        )

    async def run(self, asked: asyncio.Event, *, halt: bool = False) -> None:
        """Work until asked to end; `halt`: and end the workloads. Dismissed where the control plane says so."""
        self._remember()
        for runtime, _ in self._runtimes.values():
            await runtime.open()
        removed = False
        try:
            await self._first_look()
            await self._work(asked)
        except Dismissed as error:
            removed = error.removed
            raise
        finally:
            await self._end(halt=halt, removed=removed)

    async def _work(self, asked: asyncio.Event) -> None:
        await self._beside(
            *(self.sync.run(), asked.wait(), self._services.run(), self._sampler.run(), self._logs.run()),
            *(self._every(HEALTH, self._examine), self._every(TIDY, self._tidy)),
        )

    async def _beside(self, *work: Coroutine[Any, Any, object]) -> None:
        """Do this, and hear of what happens to containers, side by side until the first of it ends."""
        listeners = (self._listen(runtime) for runtime, _ in self._runtimes.values())
        tasks = [asyncio.create_task(one) for one in (*work, self._every(GLANCE, self._glance), *listeners)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self, *, halt: bool, removed: bool) -> None:
        """Let workers finish what is at hand; `halt`: end what runs, too; `removed`: however long that takes."""
        if removed:
            await self._beside(self._stop_all())
        await asyncio.gather(*(worker.quit(QUIT) for worker in self.workers.values()))
        if halt and not removed:
            await self._halted()
        await asyncio.gather(self._execs.close(), self._secrets.close(), self._doorbell.close())
        await asyncio.gather(*self._background, return_exceptions=True)
        for runtime, _ in self._runtimes.values():
            await runtime.close()
        if removed:
            self._journal.wipe()

    async def _stop_all(self) -> None:
        """Have every worker stop what it has, as its task says."""
        self._room.removed = True
        for worker in self.workers.values():
            worker.wake(look=True)
        while not all(worker.over for worker in self.workers.values()):
            await self._clock.sleep(OVER)

    async def _halted(self) -> None:
        """Stop and remove every container, as far as there is time."""
        workers = list(self.workers.values())
        ended = await asyncio.gather(*(self._halt(worker) for worker in workers), return_exceptions=True)
        for worker, error in zip(workers, ended, strict=True):
            if isinstance(error, BaseException):
                _log.error("workload_not_stopped", alloc=worker.alloc, error=str(error) or type(error).__name__)

    async def _halt(self, worker: Worker) -> None:
        async with asyncio.timeout(HALT):
            await worker.halt(HALT)

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _remember(self) -> None:
        remembered = self._journal.load()
        desired = self._room.desired = remembered.desired
        self._room.heard_at = remembered.heard_at
        dropped = {alloc: one.assigned for alloc, one in desired.dropped.items()}
        for alloc, assigned in (desired.allocs | desired.kept | dropped).items():
            worker = self._worker(alloc, assigned.spec.driver, remembered.records[alloc])
            worker.pulse = remembered.pulses.get(alloc)
            self._room.ports.hold(alloc, worker.record.ports)
        self._services.remember(self._journal.services())
        self._want_services()

    def _want_services(self) -> None:
        known = (self._room.desired.known(alloc) for alloc, worker in self.workers.items() if not worker.over)
        self._services.want(assigned for assigned in known if assigned is not None)

    def _worker(self, alloc: str, driver: str, record: Record | None = None) -> Worker:
        runtime, probe = self._runtimes.get(driver) or absent(driver)
        looked = driver in self._looked or driver not in self._runtimes
        worker = Worker(record or Record(alloc), self._room, runtime, probe, containers=[] if looked else None)
        self.workers[alloc] = worker
        return worker

    def _apply(self, heard: Heard) -> None:
        before, self._room.desired = self._room.desired, heard.desired
        for alloc in sorted(heard.touched):
            assigned = heard.desired.allocs.get(alloc)
            worker = self.workers.get(alloc)
            if worker is None and assigned is not None:
                worker = self._worker(alloc, assigned.spec.driver)
            if worker is not None:
                worker.wake()
        self._execs.want(heard.desired.allocs[alloc] for alloc in heard.touched & heard.desired.allocs.keys())
        if heard.touched or self._services.busy:
            self._want_services()
        if renewed(before, heard.desired) or self._is_news(self._room.heard_at):
            self._heard_at_kept = self._room.heard_at
            self._soon(self._journal.hold(self.held(), self._room.heard_at))

    def _is_news(self, heard_at: float | None) -> bool:
        """Tell whether the next process of this agent should know that it was heard: it may have to stop something."""
        kept = self._heard_at_kept
        if heard_at is None or (kept is not None and heard_at < kept + HEARD):
            return False
        return any(one.spec.on_disconnect.mode == "stop" for one in self._room.desired.allocs.values())

    def _forget_finished(self) -> None:
        """Forget what is over, was heard of and is not named any more; and the oldest, where there are very many."""
        over = [worker for worker in self.workers.values() if worker.over and worker.heard]
        unnamed = [worker for worker in over if worker.alloc not in self._room.desired.allocs]
        for worker in unnamed or over[: max(0, len(over) - FINISHED)]:
            del self.workers[worker.alloc]
            self._room.ports.release(worker.alloc)
            self._soon(self._forget(worker))
            self._room.desired = forgotten(self._room.desired, {worker.alloc})

    async def _forget(self, worker: Worker) -> None:
        await worker.quit(QUIT)
        await self._journal.forget(worker.alloc)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("journal_not_written", error=str(error))

    # ── runtimes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _first_look(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST):
                await self._examine()
                await self._glance()

    async def _glance(self) -> None:
        for name in self._runtimes:
            await self._glance_at(name)

    async def _glance_at(self, name: str) -> None:
        """Look at everything in a runtime; workers compare it with what they know."""
        runtime, _ = self._runtimes[name]
        try:
            listed = await runtime.list()
        except RuntimeFault as error:
            _log.info("runtime_away", runtime=name, error=str(error))
            return
        self._looked.add(name)
        found: dict[str, list[Container]] = {}
        for container in listed:
            found.setdefault(container.alloc, []).append(container)
        for alloc in found:
            if alloc not in self.workers:
                worker = self._worker(alloc, name)
                worker.containers = None
        for alloc, worker in list(self.workers.items()):
            if worker.runtime is runtime:
                worker.glimpsed(found.get(alloc, []))

    async def _examine(self) -> None:
        """Ask the runtimes whether they are well; the control plane hears of a change by a new session."""
        for name, (runtime, _) in self._runtimes.items():
            driver, before = await runtime.health(), self._drivers[name]
            if driver == before:
                continue
            self._drivers[name] = driver
            _log.info("runtime", runtime=name, healthy=driver.healthy, version=driver.version)
            self.sync.reopen()
            if driver.healthy:
                await self._glance_at(name)

    async def _tidy(self) -> None:
        """Make room where it is short; where there is too little all the same, say so, and when it is over."""
        known = (self._room.desired.known(alloc) for alloc, worker in self.workers.items() if not worker.over)
        images = {one.spec.image or "" for one in known if one is not None}
        for runtime, _ in self._runtimes.values():
            await runtime.tidy(images)
        low = await asyncio.to_thread(getattr, self._disk, "low") if self._disk is not None else ""
        if bool(low) != bool(self._low):
            _log.warning("disk_low" if low else "disk_not_low_any_more", because=low)
            self.sync.reopen()
        self._low = low

    async def _listen(self, runtime: Runtime) -> None:
        async for alloc in runtime.exits():
            worker = self.workers.get(alloc)
            if worker is not None:
                worker.wake(look=True)
            elif not alloc:
                await self._glance_at(runtime.name)

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            await work()

    # ── the control plane ────────────────────────────────────────────────────────────────────────────────────────────

    def _unknown(self) -> set[str]:
        """Name the containers that no assignment names."""
        unnamed = [worker for alloc, worker in self.workers.items() if alloc not in self._room.desired.allocs]
        return {container.id[:SHORT] for worker in unnamed for container in worker.containers or ()}

    def introduce(self) -> SessionRequest:
        """Say all there is to say of the node, for a new session."""
        self._unknown_told = self._unknown()
        about = self._about
        held = self.held()
        return SessionRequest(
            boot_id=about.boot_id,
            inventory=Inventory(self.reports(sorted(self.workers)), sorted(self._unknown_told)),
            capacity=about.capacity,
            drivers=dict(self._drivers),
            address=self._room.node.address,
            version=about.version,
            labels=about.labels,
            attributes=about.attributes | ({DISK_LOW: "true"} if self._low else {}),
            incarnation=held.incarnation,
            index=held.index,
            mark=held.mark,
        )

    def reports(self, allocs: Iterable[str]) -> list[Report]:
        """Report on allocations that anything was done for."""
        workers = (self.workers[alloc] for alloc in allocs if alloc in self.workers)
        return [worker.report() for worker in workers if worker.record.phase != "pending"]

    def held(self) -> Told:
        """Say which assignment is held."""
        return self._room.desired.told

    def take(self, reply: SyncReply) -> bool:
        """Take in an assignment."""
        before = self._room.desired.incarnation
        self._room.heard_at = self.sync.answered_at
        self._apply(heard := answered(self._room.desired, reply, self._clock.now()))
        self._forget_finished()
        restored = before not in ("", self._room.desired.incarnation)
        if restored:  # what was told and let go of in another history is of no account in this one
            self._unknown_told, self._room.released = set(), frozenset()
        self._release(reply.release)
        if restored or self._unknown() != self._unknown_told:
            self.sync.reopen()
        return heard.pull

    def _release(self, containers: Iterable[str]) -> None:
        """Stop what an operator let go of, of that which this agent told of."""
        held = {key: one.containers for key, one in self.workers.items() if key not in self._room.desired.allocs}
        going = self._room.released.intersection(held)
        self._room.released = going | released(frozenset(containers), self._unknown_told, held)
        for alloc in self._room.released - going:
            _log.info("unknown_containers_released", alloc=alloc)
            self.workers[alloc].wake(look=True)

    def _rang(self, ring: Ring | None) -> None:
        heard = Heard(self._room.desired, frozenset(), pull=True) if ring is None else rung(self._room.desired, ring)
        self._apply(heard)
        if heard.pull:
            self.sync.pull()

    def heard(self, report: Report, outcome: Outcome) -> None:
        """Hear that a report was taken, or never will be."""
        worker = self.workers.get(report.alloc)
        if outcome != "ok":
            _log.info("report_not_taken", alloc=report.alloc, outcome=outcome, phase=report.phase)
        if worker is not None:
            worker.heard = True
