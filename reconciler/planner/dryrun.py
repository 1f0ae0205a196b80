"""What would become of a job if something were wanted of it: the planner itself, run ahead on a state of its own.

The intent's events are folded into that state, and then, in turn, what `decide` says, until it has nothing more to say.
Agents are taken to do at once what they are asked for, and every replica that is placed to be healthy at once; where
only time has to pass, the clock jumps to the moment at which the planner wants to look again. It ends where the
deployment would fail: until then it stands as it is told. Nobody but this job moves meanwhile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeVar

from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.assignment import Report
from heroctl.domain.events import (
    AllocPlaced,
    AllocReported,
    AllocStopping,
    DeploymentFinished,
    Event,
    JobDispatched,
    Record,
)
from heroctl.domain.evolve import Touch, apply
from heroctl.domain.intents.deployments import promote
from heroctl.domain.records import Alloc, Deployment, Job
from heroctl.domain.state import State
from reconciler.planner.check import Ledger, check
from reconciler.planner.draft import Draft
from reconciler.planner.pausing import whole
from reconciler.planner.place import Fleet
from reconciler.planner.plan import MAX_EVALUATIONS
from reconciler.planner.rollout import decide
from reconciler.planner.scene import Scene

MAX_PLACEMENTS: Final = 1_000  # in all passes
_NODE: Final = "nodes:"
_PASS: Final = 20  # evaluations that a pass costs as much as, beside one for each replica that it looks at

K = TypeVar("K")
V = TypeVar("V")
Slots = dict[tuple[str, int], set[str]]  # the allocations that fill each slot of each task


class Counts(Struct, frozen=True):
    """What becomes of replicas: some are placed where none was, some stopped for good, some replaced by others.

    `in_place`: they go on as they are, and their agents hear of new settings.
    """

    place: int
    stop: int
    replace: int
    in_place: int


class TaskOutlook(Struct, frozen=True):
    """A task, and where its replicas would go: nodes by id, in the order in which they come first."""

    counts: Counts
    nodes: dict[str, int]


class Outlook(Struct, frozen=True):
    """All that a job comes to by itself; and, where somebody has to promote it before it goes on, in total then.

    `launched`: of a batch job that a clock or a dispatch launches, in total with one such launch. `preempted`: how many
    replicas of other jobs, of lower priority, make way.

    `truncated`: it is more than may be looked at; there are at least so many. `fault`: planning it raised.
    """

    tasks: dict[str, TaskOutlook]
    blocked: tuple[str, ...] = ()
    promoted: dict[str, TaskOutlook] | None = None
    launched: dict[str, TaskOutlook] | None = None
    preempted: int = 0
    truncated: bool = False
    fault: Exception | None = None

    @property
    def waits_for(self) -> Literal["", "promotion", "launch"]:
        """Say what has to come before all of it is done."""
        if self.promoted is not None:
            return "promotion"
        return "" if self.launched is None else "launch"


def total(tasks: Iterable[TaskOutlook]) -> Counts:
    """Count what becomes of the replicas of all tasks."""
    each = [task.counts for task in tasks]
    return Counts(
        sum(one.place for one in each),
        sum(one.stop for one in each),
        sum(one.replace for one in each),
        sum(one.in_place for one in each),
    )


def overlay(state: State, *uids: int) -> State:
    """Give a state that starts as this one and in which some jobs may go their way; 0: a new one.

    Maps are copied as far as events of jobs and allocations change them. Records are frozen, and shared.
    """
    return replace(
        state,
        jobs=state.jobs.copy(),
        names=state.names.copy(),
        allocs=state.allocs.copy(),
        by_job=_with_own(state.by_job, uids),
        by_node={node: held.copy() for node, held in state.by_node.items()},
        nodes=state.nodes.copy(),
        usage=state.usage.copy(),
        deployments=state.deployments.copy(),
        job_deployments=state.job_deployments.copy(),
        finished=_with_own(state.finished, uids),
        unreplaced=_with_own(state.unreplaced, uids),
        launches=state.launches.copy(),
        ended=_with_own(state.ended, uids),
        volumes={volume: kept.copy() for volume, kept in state.volumes.items()},
        topics={},  # nobody waits for them
    )


def _with_own(records: dict[int, dict[K, V]], uids: Iterable[int]) -> dict[int, dict[K, V]]:
    return records | {uid: records[uid].copy() for uid in uids if uid in records}


def dry_run(state: State, namespace: str, name: str, events: Sequence[Event], now: int) -> Outlook:
    """Tell what events on a job would lead to, from a moment (ms) on. The state is the caller's own, and used up."""
    return whole(steps(state, namespace, name, events, now))


def steps(state: State, namespace: str, name: str, events: Sequence[Event], now: int) -> Generator[None, None, Outlook]:
    """As `dry_run`, and pause after each pass, so that others get their turn."""
    if not events:
        return Outlook({})
    return (yield from DryRun(state, state.job(namespace, name), now).run(namespace, name, events))


class DryRun:
    """One job's way ahead. Who looks at several jobs on one state, one after the other, gives them one `fleet`."""

    def __init__(self, state: State, job: Job | None, now: int, fleet: Fleet | None = None) -> None:
        self._state = state
        self._now = max(now, state.time)
        self._fleet = fleet or Fleet()
        self._placements = MAX_PLACEMENTS
        self._looks = 0  # at replicas, in evaluations
        self._began = state.index
        self._before = _filled(state, job)
        self._old = job
        self._nodes: dict[str, Counter[str]] = defaultdict(Counter)
        self._uid = 0
        self._pushed: dict[str, Alloc] = {}  # those of other jobs that make way
        self._truncated = False
        self._fault: Exception | None = None

    def run(self, namespace: str, name: str, events: Sequence[Event]) -> Generator[None, None, Outlook]:
        """Let some events happen, and go on from there until nothing more does by itself."""
        self._fold(events)
        self._fleet.refresh(self._state)
        self._uid = self._state.names[namespace, name]
        yield from self._go_on()
        tasks, blocked = self._tally(), self._job.blocked
        promoted = None
        deployment = self._deployment
        if deployment is not None and deployment.status == "awaiting_promotion" and not self._over():
            self._fold(promote(deployment).events)
            yield from self._go_on()
            promoted = self._tally()
        launched = None
        if not self._over() and (launch := self._launch()) is not None:
            self._fold([launch])
            yield from self._go_on()
            launched, blocked = self._tally(), self._job.blocked
        return Outlook(tasks, blocked, promoted, launched, len(self._pushed), self._truncated, self._fault)

    def _launch(self) -> Event | None:
        """Make the next launch of a batch job that is not launched by its submit."""
        job = self._job
        if job.type != "batch" or not job.wanted or specs.decode(job.current.spec).launched_at_once:
            return None
        return JobDispatched(job.uid, job.namespace, job.name, job.current.version, job.launched + 1)

    @property
    def _job(self) -> Job:
        return self._state.jobs[self._uid]

    @property
    def _deployment(self) -> Deployment | None:
        return self._state.deployments.get(self._job.deployment)

    def _over(self) -> bool:
        """Tell whether it can be looked at no further."""
        return self._truncated or self._fault is not None

    # ── the planner, the agents and the clock ────────────────────────────────────────────────────────────────────────

    def _go_on(self) -> Generator[None, None, None]:
        """Decide and act until nothing more happens by itself."""
        while not self._over():
            yield
            draft = self._decide()
            if draft is None or _fails(draft.events):
                return
            if draft.events:
                self._fold(draft.events)
                self._act()
            elif not (self._over() or self._act()):
                if draft.wake is None or draft.wake == draft.next_launch:
                    return
                self._now = max(self._now, draft.wake)

    def _decide(self) -> Draft | None:
        """Let the planner decide; None: it could not."""
        left = MAX_EVALUATIONS - self._fleet.evaluations - self._looks
        if left <= 0:
            self._truncated = True
            return None
        self._fleet.forget(self._state)
        scene = Scene(self._state, self._now, self._fleet, self._placements, left)
        try:
            draft = decide(scene, self._job)
            check(self._state, self._job, draft.events, Ledger())
        except Exception as error:  # noqa: BLE001 - as in a pass: it costs this job; the shell tells of it
            self._fault = error
            return None
        self._looks += _PASS + len(self._state.by_job.get(self._uid, ()))
        self._truncated = draft.cut and scene.exhausted
        return draft

    def _fold(self, events: Sequence[Event]) -> None:
        state, touch = self._state, Touch()
        last = state.index + len(events)
        for event in events:
            if isinstance(event, AllocStopping) and state.allocs[event.alloc].uid != self._uid:
                self._push(state.allocs[event.alloc])
            apply(state, Record(state.index + 1, last, self._now, event), touch)
            if isinstance(event, AllocPlaced):
                self._placements -= 1
                self._nodes[event.task][event.node] += 1
        moved = touch.settle(state)
        self._fleet.reread(state, [topic.removeprefix(_NODE) for topic in moved if topic.startswith(_NODE)])

    def _push(self, alloc: Alloc) -> None:
        """Let one of another job make way: what is kept of that job must be this state's own."""
        state, uid = self._state, alloc.uid
        if uid not in {each.uid for each in self._pushed.values()}:
            state.by_job = _with_own(state.by_job, (uid,))
            state.finished = _with_own(state.finished, (uid,))
            state.unreplaced = _with_own(state.unreplaced, (uid,))
            state.ended = _with_own(state.ended, (uid,))
        self._pushed[alloc.id] = alloc

    def _act(self) -> bool:
        """Let agents do what they are asked for, and tell whether any had something to do."""
        pushed = [self._state.allocs[each] for each in self._pushed if each in self._state.allocs]
        allocs = [*self._state.allocs_of(self._uid), *pushed]
        reports = [report for alloc in allocs if (report := self._report(alloc)) is not None]
        self._fold(reports)
        return bool(reports)

    def _report(self, alloc: Alloc) -> AllocReported | None:
        node = self._state.nodes.get(alloc.node)
        if alloc.terminal or node is None or not node.up:
            return None
        attempt = max(alloc.attempt, 1)
        if alloc.wanted == "stop":
            return AllocReported(alloc.node, Report(alloc.id, attempt, "complete"))
        if alloc.health != "unknown" or not (self._is_new(alloc) and alloc.live):
            return None
        healthy = Report(alloc.id, attempt, "running", "healthy", running_for=0.0, healthy_for=0.0)
        return AllocReported(alloc.node, healthy)

    def _is_new(self, alloc: Alloc) -> bool:
        """Tell whether a replica was placed here, or would have been: it is of the wanted version, and starts."""
        wanted = self._job.current.task(alloc.task)
        return alloc.create_index > self._began or (wanted is not None and wanted.content == alloc.content)

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────

    def _tally(self) -> dict[str, TaskOutlook]:
        after = _filled(self._state, self._job)
        tasks = [task.name for task in self._job.current.tasks]
        tasks += [task for task in dict.fromkeys(task for task, _ in self._before) if task not in tasks]
        return {task: TaskOutlook(self._counts(task, after), dict(self._nodes[task])) for task in tasks}

    def _counts(self, task: str, after: Slots) -> Counts:
        place = stop = replaced = stays = 0
        for slot in {*self._before, *after}:
            if slot[0] == task:
                was, there = self._before.get(slot, set()), after.get(slot, set())
                gone, new = len(was - there), len(there - was)
                replaced += min(gone, new)
                place += max(new - gone, 0)
                stop += max(gone - new, 0)
                stays += len(was & there)
        return Counts(place, stop, replaced, stays if self._is_told(task) else 0)

    def _is_told(self, name: str) -> bool:
        """Tell whether agents hear of new settings of a task."""
        before = self._old.current.task(name) if self._old is not None else None
        now = self._job.current.task(name)
        return before is not None and now is not None and before.policy != now.policy


def _filled(state: State, job: Job | None) -> Slots:
    filled: Slots = {}
    for alloc in state.allocs_of(job.uid) if job is not None else ():
        if alloc.live:
            filled.setdefault((alloc.task, alloc.slot), set()).add(alloc.id)
    return filled


def _fails(events: Iterable[Event]) -> bool:
    return any(isinstance(event, DeploymentFinished) and event.status == "failed" for event in events)
