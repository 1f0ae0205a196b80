"""A cluster that watches its planner: after every decision, what must always hold is looked at."""

from __future__ import annotations

from collections import defaultdict

from heroctl.domain import spec as specs
from heroctl.domain.events import AllocPlaced, Event, JobBlocked
from heroctl.domain.state import Alloc, Job
from reconciler.planner.check import Ledger, check
from reconciler.planner.piece import Piece, Plan
from reconciler.planner.plan import Memo, plan
from tests.reconciler.cluster import Cluster


class Watched(Cluster):
    """Fails as soon as something happens that must never be."""

    def look(self) -> Plan:
        """Plan; a pass that remembers nothing must decide the same, twice."""
        made = super().look()
        full = plan(self.state, self.beats(), self.clock, Memo())
        again = plan(self.state, self.beats(), self.clock, Memo())
        assert full == again
        assert self._told(made) == self._told(full)
        assert made.wake_at == full.wake_at or full.pieces
        return made

    def _told(self, made: Plan) -> list[list[Event]]:
        """List decisions; how a job that is blocked already would be described now may differ."""
        told = [[event for event in piece.events if not self._is_known_block(event)] for piece in made.pieces]
        return [events for events in told if events]

    def _is_known_block(self, event: Event) -> bool:
        return isinstance(event, JobBlocked) and bool(event.reasons) and bool(self.state.jobs[event.uid].blocked)

    def decide(self) -> list[Piece]:
        """Plan and apply until there is nothing more to decide now; then a pass without a memory agrees."""
        applied = super().decide()
        rest = plan(self.state, self.beats(), self.clock, Memo())
        assert self._told(rest) == []
        self.check_rest()
        return applied

    def apply(self, piece: Piece) -> None:
        """Apply one piece, and look at what it leaves behind."""
        if piece.uid is not None:
            check(self.state, self.state.jobs[piece.uid], piece.events, Ledger())
        for event in piece.events:
            if isinstance(event, AllocPlaced):
                assert self.state.jobs[event.uid].wanted
        super().apply(piece)
        self.check_nodes()
        self.check_slots()

    def check_nodes(self) -> None:
        """No node holds more than it has, and no host port is held twice."""
        for node in self.state.nodes.values():
            held = list(self.state.allocs_on(node.id))
            assert sum(alloc.cpu for alloc in held) <= round(node.capacity.cpu * 1000)
            assert sum(alloc.memory for alloc in held) <= node.capacity.memory
            assert sum(alloc.disk for alloc in held) <= node.capacity.disk
            ports = [port for alloc in held for port in alloc.host_ports]
            assert len(ports) == len(set(ports))

    def check_slots(self) -> None:
        """A slot is filled by one, or by one and the one that it replaces."""
        for (uid, _, _), allocs in self._filled().items():
            elder = min(allocs, key=lambda alloc: alloc.n)
            assert len(allocs) <= 2
            if len(allocs) == 2:
                newer = max(allocs, key=lambda alloc: alloc.n)
                assert (newer.replaces == elder.id and newer.content != elder.content) or not self._settled(uid)

    def check_rest(self) -> None:
        """Nothing unwanted is left, and an update disturbs no more than it may."""
        filled = self._filled()
        replicas: dict[tuple[int, str], int] = defaultdict(int)
        for (uid, task, slot), allocs in filled.items():
            job = self.state.jobs[uid]
            assert job.wanted
            assert slot < self._task(job, task).count
            assert len(allocs) == 1 or self._updating(job)
            replicas[uid, task] += len(allocs)
        for (uid, name), many in replicas.items():
            wanted = self._task(self.state.jobs[uid], name)
            assert many <= wanted.count + wanted.update.max_parallel

    def _filled(self) -> dict[tuple[int, str, int], list[Alloc]]:
        filled = defaultdict(list)
        for alloc in self.state.allocs.values():
            if alloc.live:
                filled[alloc.uid, alloc.task, alloc.slot].append(alloc)
        return filled

    def _settled(self, uid: int) -> bool:
        """Tell whether the present version is what the newest allocations were decided for."""
        job = self.state.jobs[uid]
        return any(alloc.create_index > job.spec_index for alloc in self.state.allocs_of(uid) if alloc.live)

    def _task(self, job: Job, name: str) -> specs.Task:
        task = specs.decode(job.current.spec).task(name)
        assert task is not None
        return task

    def _updating(self, job: Job) -> bool:
        return self.state.deployments[job.deployment].active

    def heal(self) -> None:
        """Make everything well, and go on until nothing is left to do."""
        self.behaviour.clear()
        self.sick.clear()
        for node in list(self.state.nodes.values()):
            self.open(node.id)
            if not node.eligible:
                self.set_eligible(node.name, eligible=True)
        for number in range(18):
            self.join(f"fresh{number}-{len(self.records)}", cpu=32, memory="64GiB")
        for _ in range(400):
            acted = bool(self.decide())
            if self.step() or acted:
                self.wait(100)
                continue
            wakes = [look.wake for look in self.memo.looks.values() if look.wake is not None]
            if not wakes:
                return
            self.wait(min(wakes) - self.clock)
        raise AssertionError("the cluster does not become well")
