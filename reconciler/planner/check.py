"""A linter of decisions: what must hold of every piece before it is appended, whatever the planner thought.

It shares no code with the planner. A violation is a bug in the planner; it is raised for that piece alone, so that it
costs one job and not the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from heroctl.domain.events import AllocGivenUp, AllocPlaced, AllocStopping, Event, encode
from heroctl.domain.ids import allocation_id
from heroctl.domain.state import Alloc, Job, Node, State, Usage

MAX_EVENTS = 1_000


class BrokenPlanError(Exception):
    """The planner decided something that must never be."""


class Ledger:
    """What the pieces of one plan reserve on nodes, beyond the state."""

    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}
        self.ports: dict[str, set[int]] = {}


def check(state: State, job: Job, events: Sequence[Event], ledger: Ledger) -> None:
    """Raise BrokenPlanError unless a job's piece is sound on top of the pieces that the ledger holds; then enter it.

    TooNew: the log does not take one of its events yet.
    """
    if len(events) > MAX_EVENTS:
        raise BrokenPlanError(f"{len(events)} events in one piece")
    _check_level(state, events)
    placed = [event for event in events if isinstance(event, AllocPlaced)]
    _check_ends(state, job, events)
    if placed:
        _check_ids(state, job, placed)
        _check_wanted(job, placed)
        _check_slots(state, job, events)
        _check_nodes(state, placed, ledger)


def _check_level(state: State, events: Sequence[Event]) -> None:
    for event in events:
        if state.level < event.LEVEL:
            encode(event, state.level)  # TooNew, unless an earlier schema can say it


def _check_ends(state: State, job: Job, events: Sequence[Event]) -> None:
    for event in events:
        if not isinstance(event, AllocStopping | AllocGivenUp):
            continue
        alloc = state.allocs.get(event.alloc)
        if alloc is None or alloc.uid != job.uid or alloc.terminal:
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
    for event in placed:
        version = job.version(event.version)
        task = version.task(event.task) if version is not None else None
        if task is None or task.content != event.content:
            raise BrokenPlanError(f"version {event.version} has no task {event.task} of content {event.content}")
        if event.slot >= counts.get(event.task, 0):
            raise BrokenPlanError(f"{event.task} has no slot {event.slot}")


def _check_slots(state: State, job: Job, events: Sequence[Event]) -> None:
    """One replica a slot, or two while the newer, named as its replacement, is to follow the elder."""
    filled: dict[tuple[str, int], list[Alloc | AllocPlaced]] = {}
    ended = {event.alloc for event in events if isinstance(event, AllocStopping | AllocGivenUp)}
    for alloc in state.allocs_of(job.uid):
        if alloc.live and alloc.id not in ended:
            filled.setdefault((alloc.task, alloc.slot), []).append(alloc)
    for event in events:
        if not isinstance(event, AllocPlaced):
            continue
        before = filled.setdefault((event.task, event.slot), [])
        if before and (len(before) > 1 or event.replaces != before[0].id or event.content == before[0].content):
            raise BrokenPlanError(f"slot {event.task}[{event.slot}] is filled by {before[0].id} already")
        before.append(event)


def _check_nodes(state: State, placed: list[AllocPlaced], ledger: Ledger) -> None:
    used, ports = dict(ledger.used), {node: set(taken) for node, taken in ledger.ports.items()}
    for event in placed:
        node = state.nodes.get(event.node)
        if node is None or not node.up or not node.eligible:
            raise BrokenPlanError(f"a placement on {event.node}, which takes none")
        use = used[node.id] = _plus(used.get(node.id, Usage()), event)
        _check_room(node, use, state.usage.get(node.id, Usage()))
        taken = ports.setdefault(node.id, set())
        _check_ports(state, event, taken)
        taken.update(event.host_ports)
    ledger.used, ledger.ports = used, ports


def _plus(use: Usage, event: AllocPlaced) -> Usage:
    cpu = use.cpu + round(event.cpu * 1000)
    return Usage(cpu, use.memory + event.memory, use.disk + event.disk, use.allocs + 1)


def _check_room(node: Node, new: Usage, old: Usage) -> None:
    total = node.capacity
    wanted = (new.cpu + old.cpu, new.memory + old.memory, new.disk + old.disk)
    if any(want > have for want, have in zip(wanted, (round(total.cpu * 1000), total.memory, total.disk), strict=True)):
        raise BrokenPlanError(f"node {node.name} is over-committed: {wanted}")


def _check_ports(state: State, event: AllocPlaced, taken: set[int]) -> None:
    if not event.host_ports:
        return
    held = {port for alloc in state.allocs_on(event.node) for port in alloc.host_ports}
    if not held.isdisjoint(event.host_ports) or not taken.isdisjoint(event.host_ports):
        raise BrokenPlanError(f"a port of {event.host_ports} is taken on {event.node}")
