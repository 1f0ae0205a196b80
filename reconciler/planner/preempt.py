"""Room that replicas of lower priority make for such of a higher one that fit nowhere.

Who makes way is of a job whose priority is lower by 10 or more, never a system job's. On each node the fewest are
looked for that let the ask fit, those of the lowest priority before others, then the youngest; of all nodes the one is
taken that loses the fewest, then the lowest, then the youngest. (One is found if one is enough, two if two are among a
moderate number; of more, as few as taking the greatest first finds. None of them is ever superfluous.)

Nothing is placed on what is still held: whoever makes way is stopped, and once it has ended the room is free for all,
in order of priority. Until then what leaves anyway counts as gone, so that nobody is stopped for room that is coming,
and what was promised counts as taken, for those of lower priority as well. A slot that is pushed off a node goes
elsewhere by itself, or waits; it cannot push back, as priorities are a gap apart. So there is an end to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import combinations
from typing import Final, NamedTuple

from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.records import Alloc, Job
from reconciler.planner.filters import Ask, Room, full
from reconciler.planner.scene import Scene

GAP: Final = 10  # of priorities
_PAIRS: Final = 64  # with more that could make way on a node, no pairs are tried out


class Way(NamedTuple):
    """What has to stop on a node for an ask to fit there. Lower ones are better."""

    stops: int
    priorities: tuple[int, ...]  # highest first
    ages: tuple[int, ...]  # the eldest last; negative indexes of creation
    node: str
    victims: tuple[Alloc, ...]


class Eviction:
    """What one job may push aside for one ask, in one pass: one way after the other, each better than the next."""

    def __init__(self, scene: Scene, job: Job, ask: Ask, closed: Iterable[str]) -> None:
        self._scene = scene
        self._job = job
        self._ask = ask
        self._closed = set(closed)
        self._shape = scene.fleet.shape(ask)
        self._ways: list[Way] | None = None

    def next(self, must: str = "") -> Way | None:
        """Find the best way, and promise its room; None: nobody could make room. `must`: on this node alone."""
        way = self._way(must) if must else self._best()
        if way is None:
            return None
        self._scene.promise(way.node, self._ask, way.victims)
        if self._ask.alone:
            self._closed.add(way.node)
        if self._ways is not None and (again := self._way(way.node)) is not None:
            heappush(self._ways, again)
        return way

    def _best(self) -> Way | None:
        if self._ways is None:
            self._ways = [way for node in self._scene.fleet.rooms if (way := self._way(node)) is not None]
            heapify(self._ways)
        while self._ways:
            way = heappop(self._ways)
            if way.node not in self._closed:
                return way
        return None

    def _way(self, node: str) -> Way | None:
        """Find what has to stop on one node."""
        scene, ask = self._scene, self._ask
        there = scene.fleet.rooms.get(node)
        if node in self._closed or there is None or self._shape.verdict(there).lack is not None:
            return None
        allocs = list(scene.state.allocs_on(node))
        scene.fleet.evaluations += 1 + len(allocs)
        leaving = [alloc for alloc in allocs if alloc.wanted == "stop" or alloc.id in scene.evicted]
        room = there.without(*leaving)
        for promised in scene.promised.get(node, ()):
            room.ports.update(promised.ports)
            room.volumes.update(promised.volumes)
        if full(room, ask) is None:
            return Way(0, (), (), node, ())
        victims = fewest(room, ask, sorted(self._candidates(allocs), key=self._rank))
        if victims is None:
            return None
        priorities = sorted((self._rank(alloc)[0] for alloc in victims), reverse=True)
        return Way(
            len(victims), tuple(priorities), tuple(sorted(-alloc.create_index for alloc in victims)), node, victims
        )

    def _candidates(self, allocs: Iterable[Alloc]) -> Iterator[Alloc]:
        scene, highest = self._scene, self._job.current.priority - GAP
        for alloc in allocs:
            job = scene.state.jobs[alloc.uid]
            spared = alloc.uid == self._job.uid or alloc.uid in scene.planned or alloc.id in scene.evicted
            if alloc.live and not spared and job.current.priority <= highest and job.current.type != "system":
                yield alloc

    def _rank(self, alloc: Alloc) -> tuple[int, int]:
        """Order those that could make way: the lowest priority first, then the youngest."""
        return self._scene.state.jobs[alloc.uid].current.priority, -alloc.create_index


def may_preempt(scene: Scene, job: Job) -> bool:
    """Tell whether a job could push anything aside at all."""
    return job.current.priority - GAP >= scene.lowest and cluster_settings(scene.state).preemption


def fewest(room: Room, ask: Ask, candidates: Sequence[Alloc]) -> tuple[Alloc, ...] | None:
    """Choose who makes way, of those that could, the best ones first; None: it would not help."""
    holders = tuple(
        alloc
        for alloc in candidates
        if not set(alloc.host_ports).isdisjoint(ask.ports) or not set(alloc.volumes).isdisjoint(ask.volumes)
    )
    left = room.without(*holders)
    if full(left, ask) is None:
        return _needed(room, ask, holders)
    others = [alloc for alloc in candidates if alloc not in holders]
    if full(left.without(*others), ask) is not None:
        return None
    for one in others:
        if full(left.without(one), ask) is None:
            return _needed(room, ask, (*holders, one))
    if len(others) <= _PAIRS:
        for two in combinations(others, 2):
            if full(left.without(*two), ask) is None:
                return _needed(room, ask, (*holders, *two))
    return _needed(room, ask, (*holders, *_greatest(left, ask, others)))


def _greatest(room: Room, ask: Ask, others: list[Alloc]) -> list[Alloc]:
    """Take those that give most of what is missing, until it fits."""
    chosen: list[Alloc] = []
    left = list(others)
    while full(room, ask) is not None:
        best = max(left, key=lambda alloc: _gain(room, ask, alloc))
        left.remove(best)
        chosen.append(best)
        room = room.without(best)
    return chosen


def _gain(room: Room, ask: Ask, alloc: Alloc) -> float:
    """Say how much of what is missing one would free, in shares of it."""
    missing = (
        (ask.cpu - room.free_cpu, alloc.cpu),
        (ask.memory - room.free_memory, alloc.memory),
        (ask.disk - room.free_disk, alloc.disk),
    )
    return sum(min(1.0, freed / short) for short, freed in missing if short > 0)


def _needed(room: Room, ask: Ask, chosen: Sequence[Alloc]) -> tuple[Alloc, ...]:
    """Leave out who need not make way, the worst to lose first."""
    kept = list(chosen)
    for alloc in reversed(chosen):
        rest = [other for other in kept if other is not alloc]
        if full(room.without(*rest), ask) is None:
            kept = rest
    return tuple(kept)
