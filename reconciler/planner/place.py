"""Where a replica goes: on the node that it fills best, away from its own kind.

The score is bin-packing in integers: `10^free_cpu + 10^free_memory` after the placement, each free share in steps of
1/1024; the lowest cost wins, then the lowest node id. A node that holds c replicas of the same task already costs
`18 (c + 1) / count` more (18 being the whole range of the score), so that the few replicas of a small task spread and
the many of a large one still pack.

Exact means equal to asking every node every time. What makes that quick is one heap of `(cost, node, stamp)` per shape,
kept between passes. A node that fills gets *better*, so every change of a node pushes a fresh entry into every heap;
the old ones bear an older stamp and are dropped when met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from types import TracebackType
from typing import Final, Self

from heroctl.domain.records import Alloc, Node, Usage
from heroctl.domain.state import State
from heroctl.domain.topics import NODES, node_topic
from reconciler.planner.filters import BARRED, REFUSED, Ask, Room, counted, lacks, reasons

_STEPS: Final = 1024
_UNIT: Final = 1_000_000
_POWERS: Final = tuple(round(10 ** (step / _STEPS) * _UNIT) for step in range(_STEPS + 1))
_RANGE: Final = 18 * _UNIT
_KEPT_SHAPES: Final = 32

Entry = tuple[int, str, int]  # cost, node, stamp


def cost(room: Room, ask: Ask) -> int:
    """Price a node that can take the ask: the less is left free, the cheaper."""
    cpu = (room.free_cpu - ask.cpu) * _STEPS // (room.cpu or 1)
    memory = (room.free_memory - ask.memory) * _STEPS // (room.memory or 1)
    return _POWERS[cpu] + _POWERS[memory]


def crowding(replicas: int, count: int) -> int:
    """Price the replicas of the same task that a node holds already."""
    return _RANGE * (replicas + 1) // max(count, 1) if replicas else 0


class Fleet:
    """All nodes as the planner sees them, and the heaps over them. A cache: made anew it gives the same answers.

    `evaluations` counts how often a node was held against an ask; what a heap or a memo skips is not counted.
    """

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.evaluations = 0
        self._read: dict[str, int] = {}  # node -> index of its topic when its room was read
        self._read_all = -1
        self._stamps = 0
        self._taken: set[str] = set()  # rooms that differ from the state by what this pass decided
        self._heaps: dict[Ask, list[Entry]] = {}  # least recently used first
        self._explained: dict[tuple[Ask, frozenset[str], frozenset[str]], str] = {}

    def refresh(self, state: State) -> None:
        """Take over what changed in the state since, and forget what was decided but not appended."""
        index = state.topic_index(NODES)
        if index == self._read_all and not self._taken:
            return
        self._read_all = index
        for gone in self.rooms.keys() - state.nodes.keys():
            del self.rooms[gone], self._read[gone]
        self.reread(state, [node.id for node in state.nodes.values() if self._is_stale(state, node)])
        self._taken.clear()

    def reread(self, state: State, nodes: Sequence[str]) -> None:
        """Take over what changed of these nodes; all others are as they were."""
        for node in nodes:
            self._read[node] = state.topics.get(node_topic(node), 0)
            self.rooms[node] = _room(state, state.nodes[node], self._stamp())
        self.changed(nodes)

    def _is_stale(self, state: State, node: Node) -> bool:
        return node.id in self._taken or self._read.get(node.id) != state.topics.get(node_topic(node.id), 0)

    def _stamp(self) -> int:
        self._stamps += 1
        return self._stamps

    def changed(self, nodes: Iterable[str]) -> None:
        """Enter nodes anew into every heap."""
        self._explained.clear()
        crowded = [ask for ask, heap in self._heaps.items() if len(heap) > 4 * len(self.rooms) + 1024]
        for ask in crowded:
            del self._heaps[ask]  # mostly stale entries: cheaper to make it anew
        for node in nodes:
            for ask in self._heaps:
                self.enter(ask, node)

    def enter(self, ask: Ask, node: str) -> None:
        """Enter one node anew into the heap of a shape."""
        room = self.rooms.get(node)
        if room is not None and self.fits(room, ask):
            heappush(self._heaps[ask], (cost(room, ask), node, room.stamp))

    def heap(self, ask: Ask) -> list[Entry]:
        """Give the heap of a shape."""
        found = self._heaps.pop(ask, None)
        if found is None:
            found = [(cost(room, ask), node, room.stamp) for node, room in self.rooms.items() if self.fits(room, ask)]
            heapify(found)
            if len(self._heaps) >= _KEPT_SHAPES:
                del self._heaps[next(iter(self._heaps))]
        self._heaps[ask] = found
        return found

    def fits(self, room: Room, ask: Ask) -> bool:
        """Tell whether a node can take an ask."""
        self.evaluations += 1
        return lacks(room, ask) is None

    def take(self, node: str, ask: Ask) -> None:
        """Reserve room on a node until the next refresh, or until the state says the same."""
        room = self.rooms[node]
        room.take(ask)
        room.stamp = self._stamp()
        self._taken.add(node)
        self._explained.clear()

    def fits_without(self, old: Alloc, ask: Ask) -> bool:
        """Tell whether an ask would fit on an allocation's node if only that allocation were gone."""
        room = self.rooms.get(old.node)
        return room is not None and self.fits(room.without(old), ask)

    def explain(self, ask: Ask, barred: frozenset[str], refused: frozenset[str]) -> str:
        """Say in one line what each node lacks."""
        known = self._explained.get((ask, barred, refused))
        if known is None:
            self.evaluations += len(self.rooms)
            known = self._explained[ask, barred, refused] = reasons(self._missing(ask, barred, refused))
        return known

    def lacking(self, ask: Ask, barred: frozenset[str], refused: frozenset[str]) -> dict[str, int]:
        """Count the nodes that lack each thing for an ask, the most first; those that lack nothing are not in it."""
        return counted(self._missing(ask, barred, refused))

    def _missing(self, ask: Ask, barred: frozenset[str], refused: frozenset[str]) -> Iterator[str]:
        for node, room in self.rooms.items():
            missing = lacks(room, ask) or (BARRED if node in barred else REFUSED if node in refused else None)
            if missing is not None:
                yield missing


def _room(state: State, node: Node, stamp: int) -> Room:
    ports = (port for alloc in state.allocs_on(node.id) for port in alloc.host_ports)
    return Room(node, state.usage.get(node.id, Usage()), ports, stamp)


class Picker:
    """Picks nodes for replicas of one task and one shape, one after the other. Use in a `with` block.

    `near` counts the replicas of the task on each node and is kept up to date; those nodes stand in a heap of the
    picker's own, since crowding is dear to this task alone. `barred` nodes are never picked.
    """

    def __init__(self, fleet: Fleet, ask: Ask, count: int, near: dict[str, int], barred: frozenset[str]) -> None:
        self.ask = ask
        self.barred = barred
        self._fleet = fleet
        self._count = count
        self._near = near
        self._shared = fleet.heap(ask)
        self._own: list[tuple[int, str, int, int]] = []  # cost, node, stamp, replicas there
        self._aside: set[str] = set()  # taken out of the shared heap, unchanged
        self._changed: set[str] = set()
        for node in near:
            self._enter(node)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for node in self._aside - self._changed:
            self._fleet.enter(self.ask, node)
        self._fleet.changed(self._changed)

    def pick(self, avoid: str = "") -> str | None:
        """Take the best node that is not `avoid`, or that one if no other will do; None: the ask fits nowhere."""
        held: list[Entry] = []
        best = min(filter(None, (self._best_shared(avoid, held), self._best_own(avoid))), default=None)
        for entry in held:
            heappush(self._shared, entry)
        node = best[1] if best else self._last_resort(avoid)
        if node is not None:
            self._take(node)
        return node

    def leave(self, node: str) -> None:
        """Count one replica on a node less: another takes its slot."""
        self._near[node] -= 1
        if self._near[node]:
            self._enter(node)
        else:
            del self._near[node]
            self._fleet.enter(self.ask, node)

    def come_back(self, node: str) -> None:
        """Undo `leave`."""
        self._near[node] = self._near.get(node, 0) + 1
        self._enter(node)

    @property
    def possible(self) -> bool:
        """Whether a pick would find a node now."""
        return bool(self._best_shared("", []) or self._best_own(""))

    def _best_shared(self, avoid: str, held: list[Entry]) -> tuple[int, str] | None:
        heap = self._shared
        while heap:
            price, node, stamp = heap[0]
            room = self._fleet.rooms.get(node)
            if room is None or room.stamp != stamp:
                heappop(heap)
            elif node in self._near or node in self.barred:
                heappop(heap)
                self._aside.add(node)
            elif node == avoid:
                held.append(heappop(heap))
            else:
                return price, node
        return None

    def _best_own(self, avoid: str) -> tuple[int, str] | None:
        heap = self._own
        held = []
        found = None
        while heap and found is None:
            price, node, stamp, replicas = heap[0]
            room = self._fleet.rooms.get(node)
            if room is None or room.stamp != stamp or self._near.get(node) != replicas:
                heappop(heap)
            elif node == avoid:
                held.append(heappop(heap))
            else:
                found = price, node
        for entry in held:
            heappush(heap, entry)
        return found

    def _last_resort(self, node: str) -> str | None:
        room = self._fleet.rooms.get(node)
        if room is None or node in self.barred or not self._fleet.fits(room, self.ask):
            return None
        return node

    def _take(self, node: str) -> None:
        self._fleet.take(node, self.ask)
        self._near[node] = self._near.get(node, 0) + 1
        self._changed.add(node)
        self._enter(node)

    def _enter(self, node: str) -> None:
        room = self._fleet.rooms.get(node)
        if room is None or node in self.barred or not self._fleet.fits(room, self.ask):
            return
        replicas = self._near[node]
        price = cost(room, self.ask) + crowding(replicas, self._count)
        heappush(self._own, (price, node, room.stamp, replicas))
