"""All nodes as the planner sees them, and the shapes that were lately asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.records import Alloc, Node, Usage
from heroctl.domain.state import State
from heroctl.domain.topics import NODES, SETTINGS, node_topic
from reconciler.planner.filters import BARRED, CROWDED, REFUSED, Ask, Room, counted, full, reasons
from reconciler.planner.shape import Shape

_KEPT_SHAPES: Final = 32
_UNUSED: Final = Usage()
NOWHERE: Final[frozenset[str]] = frozenset()


class Fleet:
    """The nodes and the heaps over them. A cache: made anew it gives the same answers.

    `evaluations` counts how often a node was held against an ask; what a heap or a memo skips is not counted.
    """

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.evaluations = 0
        self._read_all = -1
        self._set_at = -1  # index of the cluster's settings when they were read
        self._spreads = False
        self.stamps = 0  # how many changes there were
        self.renewed = 0  # how many of what nodes are, not only of their use
        self._taken: set[str] = set()  # rooms that differ from the state by what this pass decided
        self._kinds: dict[tuple[Any, ...], int] = {}
        self._shapes: dict[Ask, Shape] = {}  # least recently used first
        self._changes = 0
        self._journal: dict[str, int] = {}  # nodes, each with its last change; who changed last is the last one
        self._explained: dict[tuple[Ask, frozenset[str], frozenset[str], frozenset[str]], str] = {}

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self, state: State) -> None:
        """Take over what changed in the state since, and forget what was decided but not appended."""
        self._set(state)
        index = state.topic_index(NODES)
        if index == self._read_all and not self._taken:
            return
        self._read_all = index
        rooms, nodes, topics = self.rooms, state.nodes, state.topics
        if rooms.keys() != nodes.keys():
            for gone in rooms.keys() - nodes.keys():
                del rooms[gone]
                self._journal.pop(gone, None)
                self.renewed += 1
            self.reread(state, [node for node in nodes if node not in rooms])
        self._taken.update([room.id for room in rooms.values() if topics.get(room.topic, 0) != room.read])
        self.forget(state)

    def _set(self, state: State) -> None:
        index = state.topics.get(SETTINGS, 0)
        if index != self._set_at:
            self._set_at = index
            self._spreads = cluster_settings(state).placement == "spread"
            self._shapes.clear()

    def reread(self, state: State, nodes: Sequence[str]) -> None:
        """Take over what changed of these nodes; all others are as they were."""
        for node in nodes:
            self.rooms[node] = self._room(state, state.nodes[node])
        self.changed(nodes)

    def forget(self, state: State) -> None:
        """Forget what was decided and promised, but for what the state says."""
        self.reread(state, [node for node in self._taken if node in self.rooms])
        self._taken.clear()

    def _room(self, state: State, node: Node) -> Room:
        known = self.rooms.get(node.id)
        same = known is not None and known.node is node
        kind = known.kind if known is not None and same else self._kind(node)
        self.renewed += not same
        room = Room(node, state.usage.get(node.id, _UNUSED), self._stamp(), kind)
        room.topic = known.topic if known is not None else node_topic(node.id)
        room.read = state.topics.get(room.topic, 0)
        room.hold(state.allocs_on(node.id))
        return room

    def _kind(self, node: Node) -> int:
        drivers = tuple(sorted((name, each.healthy, each.version) for name, each in node.drivers.items()))
        told = (tuple(sorted(node.labels.items())), tuple(sorted(node.attributes.items())))
        return self._kinds.setdefault((node.up, node.eligible, node.version, drivers, *told), len(self._kinds))

    def _stamp(self) -> int:
        self.stamps += 1
        return self.stamps

    def changed(self, nodes: Iterable[str]) -> None:
        """Note that nodes are not what they were: each shape learns of it when it is asked for."""
        self._explained.clear()
        self._changes += 1
        for node in nodes:
            self._journal.pop(node, None)
            self._journal[node] = self._changes

    # ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def shape(self, ask: Ask) -> Shape:
        """Give the shape of an ask, with every node in it as it is now."""
        shape = self._shapes.pop(ask, None)
        if shape is None:
            shape = Shape(ask, spreads=self._spreads)
            shape.make(self.rooms.values())
            if len(self._shapes) >= _KEPT_SHAPES:
                del self._shapes[next(iter(self._shapes))]
        elif shape.seen < self._changes:
            self._bring_on(shape)
        shape.seen = self._changes
        self.count(shape)
        self._shapes[ask] = shape
        return shape

    def _bring_on(self, shape: Shape) -> None:
        rooms, changed = self.rooms, []
        for node, change in reversed(self._journal.items()):
            if change <= shape.seen:
                break
            changed.append(rooms[node])
        if 2 * len(changed) > len(rooms) or shape.crowded(len(rooms)):
            shape.make(rooms.values())
        else:
            shape.enter(changed)

    def count(self, shape: Shape) -> None:
        """Count what a shape has evaluated since."""
        self.evaluations += shape.evaluations
        shape.evaluations = 0

    def price(self, room: Room, ask: Ask) -> int | None:
        """Price a node for an ask, but for the replicas of the same task; None: it cannot take it."""
        shape = self._shapes.get(ask) or Shape(ask, spreads=self._spreads)
        price = shape.price(room)
        self.count(shape)
        return price

    def fits(self, room: Room, ask: Ask) -> bool:
        """Tell whether a node can take an ask."""
        return self.price(room, ask) is not None

    def take(self, node: str, ask: Ask) -> None:
        """Reserve room on a node until the next refresh, or until the state says the same."""
        room = self.rooms[node]
        room.take(ask)
        self.stamps = room.stamp = self.stamps + 1
        self._taken.add(node)
        if self._explained:
            self._explained.clear()

    def fits_without(self, old: Alloc, ask: Ask) -> bool:
        """Tell whether an ask would fit on an allocation's node if only that allocation were gone."""
        room = self.rooms.get(old.node)
        return room is not None and self.fits(room.without(old), ask)

    # ── why not ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def explain(self, ask: Ask, barred: frozenset[str], refused: frozenset[str], held: frozenset[str] = NOWHERE) -> str:
        """Say in one line what each node lacks. `held`: the nodes with a replica that bears no other beside it."""
        known = self._explained.get((ask, barred, refused, held))
        if known is None:
            self.evaluations += len(self.rooms)
            known = reasons(self._missing(ask, barred, refused, held))
            self._explained[ask, barred, refused, held] = known
        return known

    def lacking(
        self, ask: Ask, barred: frozenset[str], refused: frozenset[str], held: frozenset[str] = NOWHERE
    ) -> dict[str, int]:
        """Count the nodes that lack each thing for an ask, the most first; those that lack nothing are not in it."""
        return counted(self._missing(ask, barred, refused, held))

    def _missing(
        self, ask: Ask, barred: frozenset[str], refused: frozenset[str], held: frozenset[str]
    ) -> Iterator[str]:
        shape = self._shapes.get(ask) or Shape(ask, spreads=self._spreads)
        closed = ((barred, BARRED), (refused, REFUSED), (held, CROWDED))
        for node, room in self.rooms.items():
            missing = shape.verdict(room).lack or full(room, ask)
            missing = missing or next((said for nodes, said in closed if node in nodes), None)
            if missing is not None:
                yield missing
