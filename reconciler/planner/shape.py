"""Replicas that need the same, and the nodes that can take one of them: priced, and in heaps.

The price is bin-packing in integers: `10^free_cpu + 10^free_memory` after the placement, each free share in steps of
1/1024; the lowest wins, then the lowest node id. Where the cluster is set to `spread` it is turned round. To that comes
the sum of the affinities that a node meets: a weight of 100 is as dear as the whole range of the price, 18.

Exact means equal to asking every node every time. What makes that quick is one heap of `(price, node, stamp)` per
shape and group, kept between passes; a group are the nodes with the same values of what the task is spread over. A node
that fills gets *better*, so what changed is entered anew; old entries bear an older stamp, and are dropped when met.
What depends on a node's kind alone is found once for each kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappush
from typing import Any, Final, NamedTuple

from heroctl.domain import constraint
from heroctl.domain.records import Node
from reconciler.planner.filters import Ask, Room, unfit

STEPS: Final = 1024
UNIT: Final = 1_000_000
POWERS: Final = tuple(round(10 ** (step / STEPS) * UNIT) for step in range(STEPS + 1))
RANGE: Final = 18 * UNIT
_ENDS: Final = 22 * UNIT  # the dearest and the cheapest price together
_CROWD: Final = 1024  # entries, mostly stale, beyond four a node: then a heap is cheaper made anew

Entry = tuple[int, str, int]  # price, node, stamp
Group = tuple[str | None, ...]  # values of the attributes over which a task is spread


class Verdict(NamedTuple):
    """What nodes of a kind are to a shape: what they lack however empty they are, how liked, and of which group."""

    lack: str | None
    liked: int
    group: Group


def cost(room: Room, ask: Ask) -> int:
    """Price a node that can take the ask by what is left free: the less, the cheaper."""
    cpu = (room.free_cpu - ask.cpu) * STEPS // (room.cpu or 1)
    memory = (room.free_memory - ask.memory) * STEPS // (room.memory or 1)
    return POWERS[cpu] + POWERS[memory]


def crowding(replicas: int, count: int) -> int:
    """Price the replicas of the same task that a node holds already.

    So the few replicas of a small task are apart, and the many of a large one still pack.
    """
    return RANGE * (replicas + 1) // max(count, 1) if replicas else 0


def liking(node: Node, ask: Ask) -> int:
    """Price how little a node is what a task would like it to be; below 0: it is."""
    met = (
        said.weight
        for said in ask.affinities
        if constraint.judge(said.operator, said.value)(constraint.reader(said.attribute)(node))
    )
    return -RANGE * sum(met) // 100


class Shape:
    """One ask, and every node held against it. `seen`: the last change of a node that it knows of."""

    def __init__(self, ask: Ask, *, spreads: bool) -> None:
        self.ask = ask
        self.seen = 0
        self.heaps: dict[Group, list[Entry]] = {}
        self.evaluations = 0
        self._spreads = spreads  # the cluster is set so
        self._alike = not ask.unique
        self._known: dict[Any, Verdict] = {}
        self._entries = 0
        self._groups: frozenset[Group] = frozenset()
        self._grouped_at = -1

    def _key(self, room: Room) -> Any:  # noqa: ANN401 - a key
        return room.kind if self._alike else (room.kind, room.id, room.node.address)

    def verdict(self, room: Room) -> Verdict:
        """Judge what does not change with use."""
        key = self._key(room)
        found = self._known.get(key)
        if found is None:
            node, ask = room.node, self.ask
            group = tuple(constraint.reader(attribute)(node) for attribute in ask.over)
            found = self._known[key] = Verdict(unfit(node, ask), liking(node, ask) if ask.affinities else 0, group)
        return found

    def price(self, room: Room) -> int | None:
        """Price a node; None: it cannot take the ask."""
        self.evaluations += 1
        verdict = self._known.get(room.kind if self._alike else self._key(room)) or self.verdict(room)
        ask = self.ask
        cpu, memory = room.free_cpu - ask.cpu, room.free_memory - ask.memory
        if verdict.lack is not None or cpu < 0 or memory < 0 or room.free_disk < ask.disk:
            return None
        if (ask.ports and not room.ports.isdisjoint(ask.ports)) or (
            ask.volumes and not room.volumes.isdisjoint(ask.volumes)
        ):
            return None
        price = POWERS[cpu * STEPS // (room.cpu or 1)] + POWERS[memory * STEPS // (room.memory or 1)]
        return (_ENDS - price if self._spreads else price) + verdict.liked

    def make(self, rooms: Iterable[Room]) -> None:
        """Hold all nodes against the ask."""
        self._known.clear()
        heaps: dict[Group, list[Entry]] = {}
        price, verdict, over = self.price, self.verdict, bool(self.ask.over)
        for room in rooms:
            found = price(room)
            if found is not None:
                group = verdict(room).group if over else ()
                heaps.setdefault(group, []).append((found, room.id, room.stamp))
        for heap in heaps.values():
            heapify(heap)
        self.heaps = heaps
        self._entries = sum(map(len, heaps.values()))

    def enter(self, rooms: Iterable[Room]) -> None:
        """Enter nodes anew."""
        over = bool(self.ask.over)
        for room in rooms:
            price = self.price(room)
            if price is not None:
                heap = self.heaps.setdefault(self.verdict(room).group if over else (), [])
                heappush(heap, (price, room.id, room.stamp))
                self._entries += 1

    def crowded(self, nodes: int) -> bool:
        """Tell whether most entries are stale."""
        return self._entries > 4 * nodes + _CROWD

    def groups(self, rooms: Iterable[Room], renewed: int) -> frozenset[Group]:
        """Give the groups of all nodes that could take the ask if they were empty. `renewed`: see `Fleet`."""
        if renewed != self._grouped_at:
            alike = {self._key(room): room for room in rooms}
            verdicts = (self.verdict(room) for room in alike.values())
            self._groups = frozenset(verdict.group for verdict in verdicts if verdict.lack is None)
            self._grouped_at = renewed
        return self._groups
