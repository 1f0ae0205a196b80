"""A linter of decisions: what must hold of every piece before it is appended, whatever the planner thought.

It shares no code with the planner. A violation is a bug in the planner; it is raised for that piece alone, so that it
costs one job and not the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.events import (
    AllocGivenUp,
    AllocPlaced,
    AllocStopping,
    DeploymentFinished,
    DeploymentStepped,
    Event,
    JobFailed,
    JobRepinned,
    JobReverted,
    encode,
)
from heroctl.domain.ids import allocation_id
from heroctl.domain.records import Alloc, Deployment, Job, Node, Usage
from heroctl.domain.state import State
from reconciler.planner.check_launches import broken_launches
from reconciler.planner.check_system import broken_seats
from reconciler.planner.check_victims import broken_victims, is_victim
from reconciler.planner.piece import Piece

MAX_EVENTS = 1_000
_UNUSED = Usage()

Kind = tuple[str, bool]  # of a replica: its content, and whether it came after the job's last restart


class BrokenPlanError(Exception):
    """The planner decided something that must never be."""


class Ledger:
    """What the pieces of one plan reserve on nodes, beyond the state."""

    def __init__(self) -> None:
        self.used: dict[str, tuple[int, int, int]] = {}
        self.ports: dict[str, set[int]] = {}
        self.volumes: dict[str, set[str]] = {}
        self.stopped: set[str] = set()  # replicas


def check_sizes(pieces: Sequence[Piece]) -> None:
    """Raise BrokenPlanError unless each piece of a job is of a size that the log takes at once."""
    for piece in pieces:
        if len(piece.events) > MAX_EVENTS:
            raise BrokenPlanError(f"{len(piece.events)} events in one piece")


def check(state: State, job: Job, events: Sequence[Event], ledger: Ledger) -> None:
    """Raise BrokenPlanError unless a job's events are sound on top of what the ledger holds; then enter them.

    TooNew: the log does not take one of its events yet.
    """
    _check_level(state, events)
    placed = [event for event in events if isinstance(event, AllocPlaced)]
    others = [event for event in events if type(event) is not AllocPlaced] if len(placed) < len(events) else []
    if others:
        _check_ends(state, job, others)
        _check_deployment(state, job, others, events[-1])
        for broken in broken_victims(state, job, others, ledger.stopped):
            raise BrokenPlanError(broken)
    for broken in broken_launches(state, job, events) if job.type == "batch" else ():
        raise BrokenPlanError(broken)
    for broken in broken_seats(state, job, events) if job.type == "system" else ():
        raise BrokenPlanError(broken)
    if placed:
        _check_ids(state, job, placed)
        if job.type != "batch":
            _check_wanted(job, placed)
            _check_slots(state, job, others, placed)
            _check_trial(state, job, others, placed)
        _check_nodes(state, placed, ledger)


def _left(state: State, job: Job, others: Sequence[Event]) -> Iterator[Alloc]:
    """Give the replicas that go on after the events other than placements."""
    ended = {event.alloc for event in others if isinstance(event, AllocStopping | AllocGivenUp)}
    return (alloc for alloc in state.allocs_of(job.uid) if alloc.live and alloc.id not in ended)


def _check_level(state: State, events: Sequence[Event]) -> None:
    kinds: set[type[Event]] = set(map(type, events))
    late = {kind for kind in kinds if state.level < kind.LEVEL}
    for event in events if late else ():
        if type(event) in late:
            encode(event, state.level)  # TooNew, unless an earlier schema can say it


def _check_ends(state: State, job: Job, others: Sequence[Event]) -> None:
    for event in others:
        if not isinstance(event, AllocStopping | AllocGivenUp):
            continue
        alloc = state.allocs.get(event.alloc)
        if alloc is None or (alloc.uid != job.uid and not is_victim(state, job, event)) or alloc.terminal:
            raise BrokenPlanError(f"{event.TAG} of {event.alloc}, which is none of the job's")
        if isinstance(event, AllocStopping) and alloc.wanted == "stop":
            raise BrokenPlanError(f"{event.alloc} is stopping already")


def _check_ids(state: State, job: Job, placed: list[AllocPlaced]) -> None:
    for n, event in enumerate(placed, job.next_n):
        fresh = allocation_id(state.incarnation, job.uid, n)
        if event.uid != job.uid or event.n != n or event.id != fresh or event.id in state.allocs:
            raise BrokenPlanError(f"{event.id} is not the id of the job's allocation {n}")


def _check_wanted(job: Job, placed: list[AllocPlaced]) -> None:
    if not job.wanted:
        raise BrokenPlanError(f"a placement for job {job.name}, which nobody wants")
    counts = {task.name: task.count for task in job.current.tasks}
    for number, name, content in {(event.version, event.task, event.content) for event in placed}:
        version = job.version(number)
        task = version.task(name) if version is not None else None
        if task is None or task.content != content:
            raise BrokenPlanError(f"version {number} has no task {name} of content {content}")
    for event in placed:
        if event.slot >= counts.get(event.task, 0) and job.type != "system":
            raise BrokenPlanError(f"{event.task} has no slot {event.slot}")


def _check_slots(state: State, job: Job, others: Sequence[Event], placed: Sequence[AllocPlaced]) -> None:
    """One of a kind a slot: of each content, and of the present one from before and after a restart. Two, or a rainbow.

    One that is to leave its node may have another of its kind beside it, elsewhere, to follow it.
    """
    filled: dict[tuple[str, int], dict[Kind, str]] = {}
    moves: dict[str, str] = {}  # from one that is to leave to its node, while nobody follows it
    present = {task.name: task.content for task in job.current.tasks}
    for alloc in _left(state, job, others):
        kind = alloc.content, alloc.content != present.get(alloc.task) or alloc.create_index > job.renewed
        before = filled.setdefault((alloc.task, alloc.slot), {})
        if kind not in before and _is_misplaced(state, alloc):
            moves[alloc.id] = alloc.node
        elif kind in before:
            moves.pop(before[kind], None)
        before[kind] = alloc.id
    slots = {(event.task, event.slot) for event in placed}
    if len(slots) == len(placed) and slots.isdisjoint(filled) and not any(event.replaces for event in placed):
        return  # each into a slot where nobody is
    for event in placed:
        before = filled.setdefault((event.task, event.slot), {})
        kind = event.content, True
        if not before and not event.replaces:
            before[kind] = event.id
            continue
        if before.get(kind) == event.replaces and moves.pop(event.replaces, event.node) != event.node:
            before[kind] = event.id
            continue
        if kind in before or (len(before) > 1 and len(before) > _colours(job, event.task)):
            known = before.get(kind) or ", ".join(before.values())
            raise BrokenPlanError(f"slot {event.task}[{event.slot}] is filled by {known} already")
        replaced = state.allocs.get(event.replaces)
        if replaced is not None and (replaced.uid, replaced.task, replaced.slot) != (job.uid, event.task, event.slot):
            raise BrokenPlanError(f"{event.id} replaces {replaced.id}, which is another slot's")
        before[kind] = event.id


def _is_misplaced(state: State, alloc: Alloc) -> bool:
    node = state.nodes.get(alloc.node)
    return alloc.misplaced or (node is not None and node.drain is not None)


def _colours(job: Job, name: str) -> int:
    """Count those that may stand side by side in a slot when one comes: the kept, the one before, one to restart."""
    tasks = (specs.decode(version.spec).task(name) for version in job.versions)
    updates = (task.update for task in tasks if task is not None and task.update.strategy == "rainbow")
    return max(((update.rainbow or specs.Rainbow()).keep + 2 for update in updates), default=0)


def _check_trial(state: State, job: Job, others: Sequence[Event], placed: Sequence[AllocPlaced]) -> None:
    """While a deployment is paused nothing new comes; before its promotion no more canaries than were asked for."""
    deployment = state.deployments.get(job.deployment)
    if deployment is None or not deployment.active:
        return
    if deployment.status == "paused":
        present = {task.name: task.content for task in job.current.tasks}
        old = (alloc for alloc in state.allocs_of(job.uid) if alloc.live and alloc.create_index <= job.renewed)
        restarted = {alloc.task for alloc in old if alloc.content == present.get(alloc.task)}
        for event in placed:
            lost = state.allocs.get(event.replaces)
            known = (lost is not None and lost.content == event.content) or event.task in restarted
            if event.content == present[event.task] and not known:
                raise BrokenPlanError(f"{event.id} is new, and the deployment is paused")
    if not deployment.promoted:
        for task in specs.decode(job.current.spec).tasks:
            if task.update.strategy == "canary":
                _check_canaries(job, task, list(_left(state, job, others)), placed)


def _check_canaries(job: Job, task: specs.Task, left: Sequence[Alloc], placed: Sequence[AllocPlaced]) -> None:
    deployed = job.stable.task(task.name) if job.stable is not None else None
    content = next(summary.content for summary in job.current.tasks if summary.name == task.name)
    if deployed is None or deployed.content == content:
        return
    mine = [alloc for alloc in left if alloc.task == task.name and alloc.slot < task.count]
    if all(alloc.content != deployed.content for alloc in mine):
        return  # nothing to be compared with
    new = {event.slot for event in placed if event.task == task.name and event.content == content}
    asked = (task.update.canary or specs.Canary()).count
    if any(slot >= asked for slot in new):
        raise BrokenPlanError(f"{task.name} has {asked} canaries, none in the slots {sorted(new)}")


def _check_deployment(state: State, job: Job, others: Sequence[Event], last: Event) -> None:
    """Judge what is said of a deployment; `last`: the last of all events."""
    deployment = state.deployments.get(job.deployment)
    failed = False
    for event in others:
        if isinstance(event, DeploymentFinished | DeploymentStepped):
            _check_active(job, deployment, event)
        if isinstance(event, DeploymentStepped) and deployment is not None:
            if deployment.promoted or deployment.status == "paused" or (event.awaiting and event.promoted):
                raise BrokenPlanError(f"no step for {deployment.id}")
        elif isinstance(event, DeploymentFinished):
            failed = event.status == "failed"
            if event.status == "successful" and job.type != "system":
                _check_deployed(state, job, others)
        elif isinstance(event, JobReverted):
            _check_revert(job, deployment, event, failed=failed and event is last)
        elif isinstance(event, JobRepinned):
            _check_repinned(job, deployment, event, last=event is last)
        elif isinstance(event, JobFailed):
            told = state.deployments.get(event.deployment)
            if told is None or told.told:
                raise BrokenPlanError(f"the end of {event.deployment} was told already")


def _check_active(job: Job, deployment: Deployment | None, event: DeploymentFinished | DeploymentStepped) -> None:
    if deployment is None or not deployment.active or event.deployment != deployment.id:
        raise BrokenPlanError(f"{event.TAG} of {event.deployment}, which job {job.name} is not about")


def _check_deployed(state: State, job: Job, others: Sequence[Event]) -> None:
    """A version is deployed when each slot has a healthy replica of it."""
    contents = {task.name: task.content for task in job.current.tasks}
    healthy = {
        (alloc.task, alloc.slot)
        for alloc in _left(state, job, others)
        if alloc.content == contents.get(alloc.task) and alloc.create_index > job.renewed and alloc.health == "healthy"
    }
    missing = [task.name for task in job.current.tasks if any((task.name, n) not in healthy for n in range(task.count))]
    if missing:
        raise BrokenPlanError(f"not deployed: replicas of {', '.join(missing)} are missing or not healthy")


def _check_revert(job: Job, deployment: Deployment | None, event: JobReverted, *, failed: bool) -> None:
    """Back only from a failure, only once, only to another version that was deployed; the rest is for the next pass."""
    good = job.version(event.of)
    if not failed or deployment is None or deployment.kind == "revert":
        raise BrokenPlanError(f"nothing to revert in job {job.name}")
    if good is None or not good.stable or event.version != job.current.version + 1:
        raise BrokenPlanError(f"version {event.of} is none to revert to")


def _check_repinned(job: Job, deployment: Deployment | None, event: JobRepinned, *, last: bool) -> None:
    """Other secrets make another version of what is wanted; nothing else about it, and nobody's pause, is touched."""
    before = [replace(task, content="", pins=()) for task in job.current.tasks]
    after = [replace(task, content="", pins=()) for task in event.tasks]
    paused = deployment is not None and deployment.status == "paused"
    if not job.wanted or paused or not last or event.version != job.current.version + 1:
        raise BrokenPlanError(f"no other secrets for job {job.name} now")
    if before != after or event.tasks == job.current.tasks:
        raise BrokenPlanError(f"version {event.version} of job {job.name} is not the present one with other secrets")


def _check_nodes(state: State, placed: list[AllocPlaced], ledger: Ledger) -> None:
    used: dict[str, tuple[int, int, int]] = {}
    ports: dict[str, set[int]] = {}
    volumes: dict[str, set[str]] = {}
    for event in placed:
        cpu, memory, disk = used.get(event.node) or ledger.used.get(event.node, (0, 0, 0))
        used[event.node] = cpu + round(event.cpu * 1000), memory + event.memory, disk + event.disk
        if event.host_ports:
            _check_ports(state, event, ports.setdefault(event.node, set(ledger.ports.get(event.node, ()))))
        if event.volumes:
            _check_volumes(state, event, volumes.setdefault(event.node, set(ledger.volumes.get(event.node, ()))))
    for name, use in used.items():
        node = state.nodes.get(name)
        if node is None or not node.up or not node.eligible:
            raise BrokenPlanError(f"a placement on {name}, which takes none")
        _check_room(node, use, state.usage.get(name, _UNUSED))
    ledger.used.update(used)
    ledger.ports.update(ports)
    ledger.volumes.update(volumes)


def _check_room(node: Node, new: tuple[int, int, int], old: Usage) -> None:
    total = node.capacity
    wanted = (new[0] + old.cpu, new[1] + old.memory, new[2] + old.disk)
    if wanted[0] > round(total.cpu * 1000) or wanted[1] > total.memory or wanted[2] > total.disk:
        raise BrokenPlanError(f"node {node.name} is over-committed: {wanted}")


def _check_ports(state: State, event: AllocPlaced, taken: set[int]) -> None:
    held = {port for alloc in state.allocs_on(event.node) for port in alloc.host_ports}
    if not held.isdisjoint(event.host_ports) or not taken.isdisjoint(event.host_ports):
        raise BrokenPlanError(f"a port of {event.host_ports} is taken on {event.node}")
    taken.update(event.host_ports)


def _check_volumes(state: State, event: AllocPlaced, taken: set[str]) -> None:
    """A volume is one replica's alone, and where it is it stays."""
    held = {volume for alloc in state.allocs_on(event.node) for volume in alloc.volumes}
    if not held.isdisjoint(event.volumes) or not taken.isdisjoint(event.volumes):
        raise BrokenPlanError(f"a volume of {event.volumes} is in use on {event.node}")
    kept = {state.volume_of(volume, event.job, event.task, event.slot) for volume in event.volumes} - {None}
    if kept - {event.node}:
        raise BrokenPlanError(f"{event.task}[{event.slot}] has volumes on {', '.join(map(str, kept))}")
    taken.update(event.volumes)
