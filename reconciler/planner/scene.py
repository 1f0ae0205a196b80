"""What all jobs of one pass share."""

from __future__ import annotations

from collections.abc import Iterable

from heroctl.domain.records import Alloc
from heroctl.domain.state import State
from reconciler.planner.filters import Ask
from reconciler.planner.place import Fleet


class Scene:
    """The state, the time (ms), the nodes, and how much may still be placed in this pass."""

    def __init__(self, state: State, now: int, fleet: Fleet, placements: int, evaluations: int) -> None:
        self.state = state
        self.now = now
        self.fleet = fleet
        self.planned: set[int] = set()  # jobs of which something is decided in this pass
        self.disturbed: set[int] = set()  # jobs of which a replica makes way for another job's
        self.evicted: set[str] = set()  # those replicas
        self.promised: dict[str, list[Ask]] = {}  # what is to come to nodes where room is being made
        self._lowest: int | None = None
        self._placements = placements
        self._evaluations = fleet.evaluations + evaluations

    @property
    def exhausted(self) -> bool:
        """Whether this pass has done its share: append first, then go on."""
        return self._placements <= 0 or self.fleet.evaluations >= self._evaluations

    @property
    def lowest(self) -> int:
        """The lowest priority of any job."""
        if self._lowest is None:
            self._lowest = min((job.current.priority for job in self.state.jobs.values()), default=0)
        return self._lowest

    def promise(self, node: str, ask: Ask, victims: Iterable[Alloc]) -> None:
        """Hold room on a node for what is to come there, and keep in mind who makes way, for the rest of this pass."""
        self.fleet.take(node, ask)
        self.fleet.changed((node,))
        self.promised.setdefault(node, []).append(ask)
        for alloc in victims:
            self.evicted.add(alloc.id)
            self.disturbed.add(alloc.uid)

    def placed(self) -> None:
        """Count a placement."""
        self._placements -= 1

    def is_down(self, node: str) -> bool:
        """Tell whether a node is known to be down."""
        found = self.state.nodes.get(node)
        return found is not None and found.up is False

    def healthy(self, alloc: Alloc) -> bool:
        """Tell whether a replica is healthy as far as anybody can know: its node is up."""
        node = self.state.nodes.get(alloc.node)
        return alloc.health == "healthy" and node is not None and node.up is True

    def misplaced(self, alloc: Alloc) -> bool:
        """Tell whether a replica is to leave its node."""
        node = self.state.nodes.get(alloc.node)
        return alloc.misplaced or (node is not None and node.drain is not None)
