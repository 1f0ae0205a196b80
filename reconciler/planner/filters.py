"""Which nodes can take a replica, and why the others cannot.

A filter is one function that both checks and explains: it returns None, or the words for what is missing. So the
planner and those who ask "why?" cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from heroctl.domain import constraint
from heroctl.domain import spec as specs
from heroctl.domain.allowance import Allowance, refusal
from heroctl.domain.isolation import Taken, taken
from heroctl.domain.records import Alloc, Node, Usage


class Ask(NamedTuple):
    """What one replica needs of a node, and what it would like. Replicas that need the same are one shape."""

    driver: str
    cpu: int  # thousandths of a core
    memory: int
    disk: int
    ports: tuple[int, ...] = ()  # fixed host ports, sorted
    taken: tuple[Taken, ...] = ()  # what it reaches beyond its container
    volumes: tuple[str, ...] = ()  # `namespace/name` of those that are to be its alone, sorted
    constraints: tuple[specs.Constraint, ...] = ()
    affinities: tuple[specs.Affinity, ...] = ()
    over: tuple[str, ...] = ()  # the attributes over which its task is spread
    alone: bool = False  # no two replicas of its task on one node

    @classmethod
    def of(cls, task: specs.Task, namespace: str = "default") -> Ask:
        """Read it off a task."""
        need = task.resources
        said = task.constraints
        return cls(
            task.driver,
            round(need.cpu * 1000),
            need.memory.bytes,
            need.disk.bytes,
            tuple(sorted(port.host for port in task.ports.values() if port.host)) if task.ports else (),
            taken(task),
            own_volumes(task, namespace) if task.volumes else (),
            tuple(each for each in said if each.operator != constraint.ALONE) if said else (),
            task.affinities,
            tuple(spread.attribute for spread in task.spread) if task.spread else (),
            any(each.operator == constraint.ALONE for each in said) if said else False,
        )

    @property
    def unique(self) -> bool:
        """Whether it asks for something in which no two nodes are alike."""
        said = [each.attribute for each in self.constraints] + [each.attribute for each in self.affinities]
        return any(constraint.is_unique(attribute) for attribute in (*said, *self.over))


def own_volumes(task: specs.Task, namespace: str) -> tuple[str, ...]:
    """Name the volumes of a task that a replica needs for itself: named, written to, and not shared."""
    own = {one.source for one in task.volumes if one.named and not (one.read_only or one.shared)}
    return tuple(sorted(f"{namespace}/{name}" for name in own))


class Room:
    """A node as the planner sees it: what it offers and what is free now. `stamp` is another one after each change.

    `kind` is the same for nodes that differ in nothing but their size, use and name.
    """

    __slots__ = (
        "cpu",
        "free_cpu",
        "free_disk",
        "free_memory",
        "id",
        "kind",
        "memory",
        "node",
        "ports",
        "read",
        "stamp",
        "topic",
        "volumes",
    )

    def __init__(self, node: Node, usage: Usage, stamp: int, kind: int = 0) -> None:
        total = node.capacity
        self.id = node.id
        self.node = node
        self.kind = kind
        self.topic = ""
        self.read = -1  # the index of the node's topic when this was read
        self.cpu = round(total.cpu * 1000)
        self.memory = total.memory
        self.free_cpu = self.cpu - usage.cpu
        self.free_memory = total.memory - usage.memory
        self.free_disk = total.disk - usage.disk
        self.ports: set[int] = set()
        self.volumes: set[str] = set()
        self.stamp = stamp

    def hold(self, allocs: Iterable[Alloc]) -> None:
        """Note the ports and volumes that are in use."""
        for alloc in allocs:
            if alloc.host_ports:
                self.ports.update(alloc.host_ports)
            if alloc.volumes:
                self.volumes.update(alloc.volumes)

    def take(self, ask: Ask) -> None:
        """Reserve what a replica needs."""
        self.free_cpu -= ask.cpu
        self.free_memory -= ask.memory
        self.free_disk -= ask.disk
        if ask.ports:
            self.ports.update(ask.ports)
        if ask.volumes:
            self.volumes.update(ask.volumes)

    def without(self, *allocs: Alloc) -> Room:
        """Give this node as it would be if some of its allocations were gone."""
        room = Room.__new__(Room)
        for name in Room.__slots__:
            setattr(room, name, getattr(self, name))
        room.ports, room.volumes = set(self.ports), set(self.volumes)
        for alloc in allocs:
            room.free_cpu += alloc.cpu
            room.free_memory += alloc.memory
            room.free_disk += alloc.disk
            room.ports.difference_update(alloc.host_ports)
            room.volumes.difference_update(alloc.volumes)
        return room


# ── what a node is like: the same for all of a kind ──────────────────────────────────────────────────────────────────


def _ready(node: Node, _: Ask) -> str | None:
    if node.up:
        return None
    return "not up yet" if node.up is None else "down"


def _eligible(node: Node, _: Ask) -> str | None:
    return None if node.eligible else "not eligible"


def _driver(node: Node, ask: Ask) -> str | None:
    driver = node.drivers.get(ask.driver)
    if driver is None:
        return f"lacks driver {ask.driver}"
    return None if driver.healthy else f"driver {ask.driver} unhealthy"


def _allowed(node: Node, ask: Ask) -> str | None:
    refused = refusal(ask.taken, Allowance.of(node.attributes)) if ask.taken else None
    return f"not allowing {refused}" if refused else None


def _constraints(node: Node, ask: Ask) -> str | None:
    for said in ask.constraints:
        if not constraint.judge(said.operator, said.value)(constraint.reader(said.attribute)(node)):
            return f"constraint {constraint.words(said)}"
    return None


# ── what is free on it ───────────────────────────────────────────────────────────────────────────────────────────────


def _ports(room: Room, ask: Ask) -> str | None:
    for port in ask.ports:
        if port in room.ports:
            return f"port {port} taken"
    return None


def _volumes(room: Room, ask: Ask) -> str | None:
    for volume in ask.volumes:
        if volume in room.volumes:
            return f"volume {volume.rpartition('/')[2]} in use"
    return None


def _room(room: Room, ask: Ask) -> str | None:
    if ask.cpu > room.free_cpu:
        return "exhausted cpu"
    if ask.memory > room.free_memory:
        return "exhausted memory"
    return "exhausted disk" if ask.disk > room.free_disk else None


# Each tells what a node lacks for an ask, or None.
OF_KIND: Final[tuple[Callable[[Node, Ask], str | None], ...]] = (_ready, _eligible, _driver, _allowed, _constraints)
OF_ROOM: Final[tuple[Callable[[Room, Ask], str | None], ...]] = (_ports, _volumes, _room)
BARRED: Final = "had a port in use"  # of this job, on that node, a short while ago
REFUSED: Final = "refused to run it"  # this job, on that node, by the agent itself: its allocation says why
CROWDED: Final = f"constraint {constraint.ALONE}"  # a replica of the task is there


def mismatched(node: Node, ask: Ask) -> bool:
    """Tell whether a node is not what an ask says that it must be like."""
    return _constraints(node, ask) is not None


def unfit(node: Node, ask: Ask) -> str | None:
    """Say what a node lacks first however empty it is, or None."""
    for check in OF_KIND:
        missing = check(node, ask)
        if missing is not None:
            return missing
    return None


def lacks(room: Room, ask: Ask) -> str | None:
    """Say what a node lacks first, or None: the replica fits."""
    return unfit(room.node, ask) or full(room, ask)


def full(room: Room, ask: Ask) -> str | None:
    """Say what is not free on a node that would do otherwise, or None."""
    for check in OF_ROOM:
        missing = check(room, ask)
        if missing is not None:
            return missing
    return None


def counted(found: Iterable[str]) -> dict[str, int]:
    """Count what nodes lack, the most frequent first."""
    counts: dict[str, int] = {}
    for reason in found:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def reasons(found: Iterable[str]) -> str:
    """Sum up what each node lacks: `2 nodes: 1 exhausted memory, 1 lacks driver docker`."""
    counts = counted(found)
    if not counts:
        return "no nodes"
    total = sum(counts.values())
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return f"{total} {'node' if total == 1 else 'nodes'}: {listed}"
