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
        assert not full.faults, full.faults
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
                self.check_node(event)
                self.check_secrets(event)
            if isinstance(event, JobFailed):
                assert event.deployment not in self.told
                self.told.add(event.deployment)
            if isinstance(event, JobDeployed):
                assert self.state.deployments[event.deployment].kind != "revert"
        super().apply(piece)
        self.check_nodes()
        self.check_deployments()

    def check_node(self, event: AllocPlaced) -> None:
        """Nothing comes to a node that is down, held out of placement or emptied."""
        node = self.state.nodes[event.node]
        assert (node.up, node.eligible, node.drain) == (True, True, None)

    def check_secrets(self, event: AllocPlaced) -> None:
        """Nobody is placed who would have to do without a secret."""
        version = self.state.jobs[event.uid].version(event.version)
        summary = version.task(event.task) if version is not None else None
        assert summary is not None
        for name, number in summary.pins:
            assert self.state.secrets[event.namespace, name].version(number) is not None

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
        """A rollout takes no more healthy replicas away than its order allows. (A trial takes away what was tried.)

        A move takes none away, or as many as may be on their way where its order is stop-first.
        """
        deployment = self.state.deployments[job.deployment]
        if not job.wanted:
            return
        stops = [event for event in piece.events if isinstance(event, AllocStopping)]
        moved = {event.alloc for event in stops if event.reason == "migrated"}
        rolls = deployment.active or deployment.status == "failed"
        stopped = moved | {event.alloc for event in stops if rolls and self._rolls(event)}
        for task in specs.decode(job.current.spec).tasks:
            mine = [alloc for alloc in self.state.allocs_of(job.uid) if alloc.live and alloc.task == task.name]
            mine = [alloc for alloc in mine if alloc.slot < task.count and self._is_healthy(alloc)]
            before = {alloc.slot for alloc in mine}
            after = {alloc.slot for alloc in mine if alloc.id not in stopped}
            moving = task.migrate.max_parallel if moved and task.migrate.order == "stop-first" else 0
            updating = task.update.max_parallel if stopped - moved else 0
            if moving or updating:
                assert len(after) >= min(len(before), task.count - max(moving, updating))
            else:
                assert after == before

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
            self.check_kinds(job, allocs)
            by_task[uid, name] += allocs
        for (uid, name), allocs in by_task.items():
            job = self.state.jobs[uid]
            followed = [alloc for alloc in allocs if self._is_followed(alloc, allocs)]
            # Who was followed when its follower had to leave as well is on its way together with that one.
            moving = sum(1 for alloc in followed if not any(one.replaces == alloc.id for one in followed))
            tasks = (specs.decode(version.spec).task(name) for version in job.versions)
            assert moving <= max(task.migrate.max_parallel for task in tasks if task is not None)
            if self._deployment(job).status != "paused":
                assert len(allocs) - len(followed) <= self._most(job, name, allocs)
                self.check_canaries(job, name, allocs)
                self.check_pairs(job, name, filled)
            shares = traffic(self.state, job, name)
            assert sum(share.weight for share in shares) == 100
            assert {share.content for share in shares} == {alloc.content for alloc in allocs}

    def check_kinds(self, job: Job, allocs: Iterable[Alloc]) -> None:
        """One of a kind fills a slot, or two of which one is to leave its node."""
        kinds = defaultdict(list)
        for alloc in allocs:
            kinds[alloc.content, alloc.create_index > job.renewed].append(alloc)
        for twins in kinds.values():
            pair = len(twins) == 2 and len({self.is_misplaced(alloc) for alloc in twins}) == 2
            assert len(twins) == 1 or pair or self._deployment(job).status == "paused"

    def is_misplaced(self, alloc: Alloc) -> bool:
        """Tell whether a replica is to leave its node."""
        return alloc.misplaced or self.state.nodes[alloc.node].drain is not None

    def _is_followed(self, alloc: Alloc, allocs: Iterable[Alloc]) -> bool:
        return self.is_misplaced(alloc) and any(
            (one.slot, one.content, one.replaces) == (alloc.slot, alloc.content, alloc.id) for one in allocs
        )

    def _most(self, job: Job, name: str, allocs: Iterable[Alloc]) -> int:
        """Count how many replicas of a task may be there at most, by what those that are there were placed for."""
        before = self._deployment(job).previous_version
        numbers = {alloc.version for alloc in allocs} | {job.current.version, before}
        versions = [version for version in job.versions if version.version in numbers or version.stable]
        tasks = [task for version in versions if (task := specs.decode(version.spec).task(name)) is not None]
        count = self._task(job, name).count
        return count + max(_beside(task, count) for task in tasks)

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
                moves = any(self.is_misplaced(alloc) for alloc in allocs)
                assert len(allocs) == 1 or stands_by or comes_back or moves

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
        for name in {name for job in self.state.jobs.values() for task in job.current.tasks for name, _ in task.pins}:
            self.write_secret(name)
        for node in list(self.state.nodes.values()):
            self.open(node.id)
            self.cancel_drain(node.name)
            if not self.state.nodes[node.id].eligible:
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


def _beside(task: specs.Task, count: int) -> int:
    """Count what a strategy may have running beside a full set: what is outdated may be on its way off a node too."""
    update = task.update
    step = max(update.max_parallel, task.migrate.max_parallel)
    match update.strategy:
        case "canary":
            return max(step, (update.canary or specs.Canary()).count)
        case "blue-green":
            return max(count, step)
        case "rainbow":
            return ((update.rainbow or specs.Rainbow()).keep + 1) * count + step
        case _:
            return step
