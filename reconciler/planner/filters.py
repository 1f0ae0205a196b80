"""Which nodes can take a replica, and why the others cannot.

A filter is one function that both checks and explains: it returns None, or the words for what is missing. So the
planner and those who ask "why?" cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from heroctl.domain import spec as specs
from heroctl.domain.allowance import Allowance, refusal
from heroctl.domain.isolation import Taken, taken
from heroctl.domain.records import Alloc, Node, Usage


class Ask(NamedTuple):
    """What one replica needs of a node. Replicas that need the same are one shape."""

    driver: str
    cpu: int  # thousandths of a core
    memory: int
    disk: int
    ports: tuple[int, ...] = ()  # fixed host ports, sorted
    taken: tuple[Taken, ...] = ()  # what it reaches beyond its container

    @classmethod
    def of(cls, task: specs.Task) -> Ask:
        """Read it off a task."""
        need = task.resources
        ports = tuple(sorted(port.host for port in task.ports.values() if port.host))
        return cls(task.driver, round(need.cpu * 1000), need.memory.bytes, need.disk.bytes, ports, taken(task))


class Room:
    """A node as the planner sees it: what it offers and what is free now. `stamp` is another one after each change."""

    __slots__ = (
        "attributes",
        "cpu",
        "disk",
        "drivers",
        "eligible",
        "free_cpu",
        "free_disk",
        "free_memory",
        "id",
        "memory",
        "ports",
        "stamp",
        "up",
    )

    def __init__(self, node: Node, usage: Usage, ports: Iterable[int], stamp: int) -> None:
        total = node.capacity
        self.id = node.id
        self.up = node.up
        self.eligible = node.eligible
        self.attributes = node.attributes
        self.drivers = {name: driver.healthy for name, driver in node.drivers.items()}
        self.cpu = round(total.cpu * 1000)
        self.memory = total.memory
        self.disk = total.disk
        self.free_cpu = self.cpu - usage.cpu
        self.free_memory = total.memory - usage.memory
        self.free_disk = total.disk - usage.disk
        self.ports = set(ports)
        self.stamp = stamp

    def take(self, ask: Ask) -> None:
        """Reserve what a replica needs."""
        self.free_cpu -= ask.cpu
        self.free_memory -= ask.memory
        self.free_disk -= ask.disk
        self.ports.update(ask.ports)

    def without(self, alloc: Alloc) -> Room:
        """Give this node as it would be if one of its allocations were gone."""
        room = Room.__new__(Room)
        for name in Room.__slots__:
            setattr(room, name, getattr(self, name))
        room.free_cpu += alloc.cpu
        room.free_memory += alloc.memory
        room.free_disk += alloc.disk
        room.ports = self.ports.difference(alloc.host_ports)
        return room


class Filter(Protocol):
    """Tells what a node lacks for an ask, or None."""

    def __call__(self, room: Room, ask: Ask, /) -> str | None:
        """Check and explain."""
        ...


def _ready(room: Room, _: Ask) -> str | None:
    if room.up:
        return None
    return "not up yet" if room.up is None else "down"


def _eligible(room: Room, _: Ask) -> str | None:
    return None if room.eligible else "not eligible"


def _driver(room: Room, ask: Ask) -> str | None:
    healthy = room.drivers.get(ask.driver)
    if healthy:
        return None
    return f"lacks driver {ask.driver}" if healthy is None else f"driver {ask.driver} unhealthy"


def _allowed(room: Room, ask: Ask) -> str | None:
    refused = refusal(ask.taken, Allowance.of(room.attributes)) if ask.taken else None
    return f"not allowing {refused}" if refused else None


def _ports(room: Room, ask: Ask) -> str | None:
    for port in ask.ports:
        if port in room.ports:
            return f"port {port} taken"
    return None


def _room(room: Room, ask: Ask) -> str | None:
    if ask.cpu > room.free_cpu:
        return "exhausted cpu"
    if ask.memory > room.free_memory:
        return "exhausted memory"
    return "exhausted disk" if ask.disk > room.free_disk else None


FILTERS: Final[tuple[Filter, ...]] = (_ready, _eligible, _driver, _allowed, _ports, _room)
BARRED: Final = "had a port in use"  # of this job, on that node, a short while ago
REFUSED: Final = "refused what it reaches for"  # of this job, on that node, by the agent itself


def lacks(room: Room, ask: Ask) -> str | None:
    """Say what a node lacks first, or None: the replica fits."""
    for check in FILTERS:
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
