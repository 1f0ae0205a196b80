"""Where the replicas of a task go: on the node that they fill best, away from their own kind, shared out as wanted.

Equal to asking every node each time for the sum of `Shape.price`, `crowding` and, where the task is spread,
`price_groups`: the lowest wins, then the lowest node id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace
from types import TracebackType
from typing import Final, Self

from heroctl.domain.records import Alloc
from heroctl.domain.spec import Spread
from reconciler.planner.filters import Ask
from reconciler.planner.place import NOWHERE, Fleet
from reconciler.planner.shape import Entry, Group, crowding
from reconciler.planner.spread import STEP, price_groups

_ALL: Final[Group] = ()

Own = tuple[int, str, int, int]  # price, node, stamp, replicas there
Best = tuple[int, str, *tuple[int, ...]]  # price, node, and whatever an entry bears beside it


class _Pool:
    """The nodes of one group: those with no replica of the task in the shape's heap, the others in one of the picker's.

    `price` is what the group as such costs, `mark` another number after each change of anything here.
    """

    __slots__ = ("group", "mark", "own", "price", "shared")

    def __init__(self, group: Group, shared: list[Entry], price: int) -> None:
        self.group = group
        self.shared = shared
        self.own: list[Own] = []
        self.price = price
        self.mark = 0


class Picker:
    """Picks nodes for replicas of one task and one shape, one after the other. Use in a `with` block.

    `near` counts the replicas of the task on each node and is kept up to date. Closed nodes are never picked; those
    that are `held` have a replica that may not have another beside it, should the ask be so.
    """

    def __init__(
        self,
        fleet: Fleet,
        ask: Ask,
        count: int,
        near: dict[str, int],
        closed: frozenset[str],
        *,
        spread: Sequence[Spread] = (),
        held: frozenset[str] = NOWHERE,
    ) -> None:
        self.ask = ask
        self._held = {*held, *near} if ask.alone else set()
        self._closed = {*closed, *self._held}
        self._fleet = fleet
        self._count = count
        self._near = near
        self._shape = fleet.shape(ask)
        self._spreads = bool(ask.over)
        self._pools = self._share(spread) if ask.over else {_ALL: self._pool(_ALL)}
        self._aside: dict[str, tuple[_Pool, Entry]] = {}  # taken out of the shape's heap, and as they were
        self._changed: set[str] = set()
        self._front: list[tuple[int, str, Group, int]] = []  # the best of each group, with its mark
        self._seen = fleet.stamps
        for node in near:
            self._enter(node)
        for pool in self._pools.values() if ask.over else ():
            self._advance(pool)

    def _share(self, spread: Sequence[Spread]) -> dict[Group, _Pool]:
        """Make a pool of each group that has nodes for the task, or replicas of it."""
        rooms, shape = self._fleet.rooms, self._shape
        used: Counter[Group] = Counter()
        for node, replicas in self._near.items():
            if node in rooms:
                used[shape.verdict(rooms[node]).group] += replicas
        groups = shape.groups(rooms.values(), self._fleet.renewed)
        prices = price_groups(spread, self._count, groups, used)
        return {group: self._pool(group, price) for group, price in prices.items()}

    def _pool(self, group: Group, price: int = 0) -> _Pool:
        return _Pool(group, self._shape.heaps.setdefault(group, []), price)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for node, (pool, entry) in self._aside.items():
            if node not in self._changed:
                heappush(pool.shared, entry)
        if self._changed:
            self._fleet.changed(self._changed)
        self._fleet.count(self._shape)

    # ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────

    def pick(self, avoid: tuple[str, ...] = (), must: str = "") -> str | None:
        """Take the best node that is none of `avoid`, or else one of those, the first last; None: the ask fits nowhere.

        `must`: the only one that will do.
        """
        if must:
            node = must if self.can(must) else None
        else:
            best = self._best(frozenset(avoid) if avoid else NOWHERE)
            if best is None and avoid:
                best = self._best(frozenset(avoid[:1])) or self._best(NOWHERE)
            node = best[1] if best else None
        if node is not None:
            self._take(node)
        return node

    def can(self, node: str) -> bool:
        """Tell whether a node would do now."""
        room = self._fleet.rooms.get(node)
        return room is not None and node not in self._closed and self._shape.price(room) is not None

    @property
    def held(self) -> frozenset[str]:
        """The nodes with a replica that bears no other beside it."""
        return frozenset(self._held)

    @property
    def closed(self) -> frozenset[str]:
        """The nodes that are never picked."""
        return frozenset(self._closed)

    def possible(self, besides: str = "") -> bool:
        """Tell whether a pick would find a node now that is not `besides`."""
        return self._best(frozenset({besides})) is not None

    def pick_other(self, node: str) -> str | None:
        """Take the best node that is not this one."""
        best = self._best(frozenset({node}))
        if best is not None:
            self._take(best[1])
        return best[1] if best is not None else None

    def compare(self, alloc: Alloc) -> tuple[int, int] | None:
        """Price a replica where it is, and on the best other node, as if it were on neither. None: one will not do."""
        node = alloc.node
        room = self._fleet.rooms.get(node)
        price = None if room is None else self._fleet.price(room.without(alloc), self.ask)
        if room is None or price is None:
            return None
        self.leave(node)
        best = self._best(frozenset({node}))
        here = price + crowding(self._near.get(node, 0), self._count)
        if self._spreads:
            here += self._pools[self._shape.verdict(room).group].price
        self.come_back(node)
        return None if best is None else (here, best[0])

    def leave(self, node: str) -> None:
        """Count one replica on a node less: another takes its slot."""
        self._near[node] -= 1
        if not self._near[node]:
            del self._near[node]
        self._moved(node, -1)

    def come_back(self, node: str) -> None:
        """Undo `leave`."""
        self._near[node] = self._near.get(node, 0) + 1
        self._moved(node, 1)

    # ── the best ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _best(self, avoid: frozenset[str]) -> Best | None:
        if not self._spreads:
            return self._best_of(self._pools[_ALL], avoid)
        if avoid:
            found = ((pool.price, self._best_of(pool, avoid)) for pool in self._pools.values())
            return min(((price + best[0], best[1]) for price, best in found if best is not None), default=None)
        if self._fleet.stamps != self._seen:  # something was promised to a node meanwhile
            self._seen = self._fleet.stamps
            for pool in self._pools.values():
                self._advance(pool)
        front = self._front
        while front:
            price, node, group, mark = front[0]
            if self._pools[group].mark == mark:
                return price, node
            heappop(front)
        return None

    def _best_of(self, pool: _Pool, avoid: frozenset[str] = NOWHERE) -> Best | None:
        shared, own = self._best_shared(pool, avoid), self._best_own(pool, avoid)
        if own is None or (shared is not None and shared < own):
            return shared
        return own

    def _best_shared(self, pool: _Pool, avoid: frozenset[str]) -> Entry | None:
        heap, rooms, near, closed = pool.shared, self._fleet.rooms, self._near, self._closed
        held: list[Entry] = []
        while heap:
            _, node, stamp = heap[0]
            room = rooms.get(node)
            if room is None or room.stamp != stamp:
                heappop(heap)
            elif node in near or node in closed:
                self._aside[node] = pool, heappop(heap)
            elif node in avoid:
                held.append(heappop(heap))
            else:
                break
        found = heap[0] if heap else None
        for entry in held:
            heappush(heap, entry)
        return found

    def _best_own(self, pool: _Pool, avoid: frozenset[str]) -> Own | None:
        heap, rooms, near = pool.own, self._fleet.rooms, self._near
        held: list[Own] = []
        while heap:
            _, node, stamp, replicas = heap[0]
            room = rooms.get(node)
            if room is None or room.stamp != stamp or near.get(node) != replicas:
                heappop(heap)
            elif node in avoid:
                held.append(heappop(heap))
            else:
                break
        found = heap[0] if heap else None
        for entry in held:
            heappush(heap, entry)
        return found

    # ── what changes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, node: str) -> None:
        self._fleet.take(node, self.ask)
        self._seen = self._fleet.stamps
        self._near[node] = self._near.get(node, 0) + 1
        self._changed.add(node)
        if self.ask.alone:
            self._closed.add(node)
            self._held.add(node)
        self._moved(node, 1)

    def _moved(self, node: str, replicas: int) -> None:
        """Let everything follow a replica more or less on a node."""
        pool = self._enter(node)
        if pool is None or not self._spreads:
            return
        pool.price += len(pool.group) * replicas * STEP
        self._advance(pool)
        for each in self._pools.values() if len(pool.group) > 1 else ():
            alike = sum(one == other for one, other in zip(each.group, pool.group, strict=True))
            if alike and each is not pool:
                each.price += alike * replicas * STEP
                self._advance(each)

    def _enter(self, node: str) -> _Pool | None:
        """Enter a node anew, with its replicas, and return its pool."""
        room = self._fleet.rooms.get(node)
        if room is None:
            return None
        replicas = self._near.get(node)
        pool = self._pools[self._shape.verdict(room).group if self._spreads else _ALL]
        price = None if node in self._closed else self._shape.price(room)
        if price is not None:
            if replicas is None:
                heappush(pool.shared, (price, node, room.stamp))
            else:
                entry = price + crowding(replicas, self._count), node, room.stamp, replicas
                superseded = pool.own and pool.own[0][1] == node
                (heapreplace if superseded else heappush)(pool.own, entry)
        return pool

    def _advance(self, pool: _Pool) -> None:
        """Put the best of a group where it stands now among those of the others."""
        pool.mark += 1
        best = self._best_of(pool)
        if best is not None:
            entry = pool.price + best[0], best[1], pool.group, pool.mark
            superseded = self._front and self._front[0][2] == pool.group
            (heapreplace if superseded else heappush)(self._front, entry)
