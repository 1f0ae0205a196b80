"""A cluster that watches its planner: after every decision, what must always hold is looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from heroctl.domain import spec as specs
from heroctl.domain.errors import Conflict
from heroctl.domain.events import AllocPlaced, AllocStopping, Event, JobBlocked, JobDeployed, JobFailed
from heroctl.domain.intents import deployments
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.traffic import traffic
from reconciler.planner.check import Ledger, check
from reconciler.planner.piece import Piece, Plan
from reconciler.planner.plan import Memo, plan
from tests.reconciler.cluster import Cluster

Filled = dict[tuple[int, str, int], list[Alloc]]


class Watched(Cluster):
    """Fails as soon as something happens that must never be."""

    def __init__(self) -> None:
        self.told: set[str] = set()  # deployments whose failure was told
        super().__init__()

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
            job = self.state.jobs[piece.uid]
            check(self.state, job, piece.events, Ledger())
            self.check_healthy(job, piece)
        for event in piece.events:
            if isinstance(event, AllocPlaced):
                assert self.state.jobs[event.uid].wanted
            if isinstance(event, JobFailed):
                assert event.deployment not in self.told
                self.told.add(event.deployment)
            if isinstance(event, JobDeployed):
                assert self.state.deployments[event.deployment].kind != "revert"
        super().apply(piece)
        self.check_nodes()
        self.check_deployments()

    # ── always ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_nodes(self) -> None:
        """No node holds more than it has, and no host port is held twice."""
        for node in self.state.nodes.values():
            held = list(self.state.allocs_on(node.id))
            assert sum(alloc.cpu for alloc in held) <= round(node.capacity.cpu * 1000)
            assert sum(alloc.memory for alloc in held) <= node.capacity.memory
            assert sum(alloc.disk for alloc in held) <= node.capacity.disk
            ports = [port for alloc in held for port in alloc.host_ports]
            assert len(ports) == len(set(ports))

    def check_deployments(self) -> None:
        """One at a time; a failed one starts at most one other, its way back, which starts none."""
        reverted: set[str] = set()
        for uid, known in self.state.job_deployments.items():
            for deployment in (self.state.deployments[each] for each in known):
                assert not deployment.active or deployment.id == self.state.jobs[uid].deployment
                failed = self.state.deployments.get(deployment.revert_of)
                if failed is not None:
                    assert failed.kind != "revert"
                    assert failed.id not in reverted
                    reverted.add(failed.id)

    def check_healthy(self, job: Job, piece: Piece) -> None:
        """A rollout takes no more healthy replicas away than its order allows. (A trial takes away what was tried.)"""
        deployment = self.state.deployments[job.deployment]
        if not (job.wanted and (deployment.active or deployment.status == "failed")):
            return
        stopped = {event.alloc for event in piece.events if isinstance(event, AllocStopping) and self._rolls(event)}
        for task in specs.decode(job.current.spec).tasks:
            mine = [alloc for alloc in self.state.allocs_of(job.uid) if alloc.live and alloc.task == task.name]
            mine = [alloc for alloc in mine if alloc.slot < task.count and self._is_healthy(alloc)]
            before = {alloc.slot for alloc in mine}
            after = {alloc.slot for alloc in mine if alloc.id not in stopped}
            assert len(after) >= min(len(before), task.count - task.update.max_parallel)

    def _is_healthy(self, alloc: Alloc) -> bool:
        return alloc.health == "healthy" and self.state.nodes[alloc.node].up is True

    def _rolls(self, event: AllocStopping) -> bool:
        made = self.state.deployments.get(self.state.allocs[event.alloc].deployment)
        tried = made is not None and not made.promoted and made.status != "successful"
        return event.reason in {"updated", "superseded", "deployment_failed"} and not tried

    # ── when nothing more is to be decided ───────────────────────────────────────────────────────────────────────────

    def check_rest(self) -> None:
        """Nothing unwanted is left, and nobody disturbs more than his strategy may."""
        filled = self._filled()
        by_task: dict[tuple[int, str], list[Alloc]] = defaultdict(list)
        for (uid, name, slot), allocs in filled.items():
            job = self.state.jobs[uid]
            assert job.wanted
            assert slot < self._task(job, name).count
            kinds = {(alloc.content, alloc.create_index > job.renewed) for alloc in allocs}
            assert len(kinds) == len(allocs) or self._deployment(job).status == "paused"
            by_task[uid, name] += allocs
        for (uid, name), allocs in by_task.items():
            job = self.state.jobs[uid]
            if self._deployment(job).status != "paused":
                assert len(allocs) <= self._most(job, name, allocs)
                self.check_canaries(job, name, allocs)
                self.check_pairs(job, name, filled)
            shares = traffic(self.state, job, name)
            assert sum(share.weight for share in shares) == 100
            assert {share.content for share in shares} == {alloc.content for alloc in allocs}

    def _most(self, job: Job, name: str, allocs: Iterable[Alloc]) -> int:
        """Count how many replicas of a task may be there at most, by what those that are there were placed for."""
        before = self._deployment(job).previous_version
        numbers = {alloc.version for alloc in allocs} | {job.current.version, before}
        versions = [version for version in job.versions if version.version in numbers or version.stable]
        tasks = [task for version in versions if (task := specs.decode(version.spec).task(name)) is not None]
        count = self._task(job, name).count
        return count + max(_beside(task.update, count) for task in tasks)

    def check_canaries(self, job: Job, name: str, allocs: Iterable[Alloc]) -> None:
        """Before the promotion there are as many as were asked for."""
        deployment, task = self._deployment(job), self._task(job, name)
        content = next(summary.content for summary in job.current.tasks if summary.name == name)
        if deployment.promoted or not deployment.active or task.update.strategy != "canary":
            return
        deployed = job.stable.task(name) if job.stable is not None else None
        if deployed is not None and deployed.content != content and deployed.content in {one.content for one in allocs}:
            asked = (task.update.canary or specs.Canary()).count
            mine = [alloc for alloc in allocs if alloc.content == content and alloc.deployment == deployment.id]
            assert all(alloc.slot < asked for alloc in mine)

    def check_pairs(self, job: Job, name: str, filled: Filled) -> None:
        """Once all is over, two fill a slot only where an old set stands by, or one has only just come back."""
        update = self._task(job, name).update
        over = not self._deployment(job).active
        for (uid, task, _), allocs in filled.items():
            if over and (uid, task) == (job.uid, name) and update.strategy in {"rolling", "canary"}:
                stands_by = self._deployment(job).status == "failed" and self._were_abreast(job, name)
                comes_back = any(alloc.first_healthy_at is None for alloc in allocs)
                assert len(allocs) == 1 or stands_by or comes_back

    def _were_abreast(self, job: Job, name: str) -> bool:
        task = specs.decode(job.stable.spec).task(name) if job.stable is not None else None
        return task is not None and task.update.strategy == "rainbow"

    def _filled(self) -> Filled:
        filled = defaultdict(list)
        for alloc in self.state.allocs.values():
            if alloc.live:
                filled[alloc.uid, alloc.task, alloc.slot].append(alloc)
        return filled

    def _task(self, job: Job, name: str) -> specs.Task:
        task = specs.decode(job.current.spec).task(name)
        assert task is not None
        return task

    def _deployment(self, job: Job) -> Deployment:
        return self.state.deployments[job.deployment]

    # ── all is well ──────────────────────────────────────────────────────────────────────────────────────────────────

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
        self.calm()

    def calm(self) -> None:
        """Go on until nothing is left to do."""
        for _ in range(1_000):
            acted = bool(self.decide())
            if self.step() or acted:
                self.wait(100)
                continue
            wakes = [look.wake for look in self.memo.looks.values() if look.wake is not None]
            if not wakes:
                return
            self.wait(min(wakes) - self.clock)
        raise AssertionError("the cluster does not become well")

    def agree(self) -> None:
        """Let users resume and promote whatever waits for them, until nothing does."""
        for _ in range(20):
            self.calm()
            waiting = [self._deployment(job) for job in self.state.jobs.values() if self._deployment(job).active]
            for deployment in waiting:
                try:
                    self.do(deployments.resume(deployment))
                    self.do(deployments.promote(self.state.deployments[deployment.id]))
                except Conflict:
                    continue  # not all of its new replicas are there yet
            if not waiting:
                return
        raise AssertionError("a deployment waits for something that it does not say")


def _beside(update: specs.Update, count: int) -> int:
    """Count what a strategy may have running beside a full set."""
    match update.strategy:
        case "canary":
            return max(update.max_parallel, (update.canary or specs.Canary()).count)
        case "blue-green":
            return max(count, update.max_parallel)
        case "rainbow":
            return ((update.rainbow or specs.Rainbow()).keep + 1) * count + update.max_parallel
        case _:
            return update.max_parallel
