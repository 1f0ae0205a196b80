"""What all jobs of one pass share."""

from __future__ import annotations

from heroctl.domain.records import Alloc
from heroctl.domain.state import State
from reconciler.planner.place import Fleet


class Scene:
    """The state, the time (ms), the nodes, and how much may still be placed in this pass."""

    def __init__(self, state: State, now: int, fleet: Fleet, placements: int, evaluations: int) -> None:
        self.state = state
        self.now = now
        self.fleet = fleet
        self._placements = placements
        self._evaluations = fleet.evaluations + evaluations

    @property
    def exhausted(self) -> bool:
        """Whether this pass has done its share: append first, then go on."""
        return self._placements <= 0 or self.fleet.evaluations >= self._evaluations

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
