"""How the replicas of a task are shared out over the values of attributes.

Each value has a target: its per cent of the count, or, of what is left, the same as every other value that is not
named. A value is wanted by as much as it is short of that, rounded up; with several attributes, by the sum. Who is
always put where it is wanted most ends within one of each target, wherever nodes allow it; among values wanted alike
the price decides. A node without the attribute is wanted only when all others have what they should.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from heroctl.domain.checks_placement import REST
from heroctl.domain.spec import Spread
from reconciler.planner.shape import RANGE, Group

STEP: Final = RANGE << 10  # of wanting: dearer than all else about a node
_WHOLE: Final = 100


class Shares:
    """How many replicas of one task each value is short of."""

    def __init__(self, spreads: Sequence[Spread], count: int, groups: Collection[Group]) -> None:
        self._wanted = [
            _targets(spread, count, {group[number] for group in groups}) for number, spread in enumerate(spreads)
        ]

    def add(self, group: Group, replicas: int) -> None:
        """Count replicas."""
        for wanted, value in zip(self._wanted, group, strict=True):
            wanted[value] = wanted.get(value, 0) - replicas

    def price(self, group: Group) -> int:
        """Price the nodes of a group by how little they are wanted."""
        short = 0
        for wanted, value in zip(self._wanted, group, strict=True):
            short += wanted.get(value, 0)
        return -short * STEP


def _targets(spread: Spread, count: int, values: set[str | None]) -> dict[str | None, int]:
    """Give each value's target, rounded up."""
    named = {value: percent for value, percent in spread.targets.items() if value != REST}
    others = [value for value in values if value is not None and value not in named]
    rest = _WHOLE - sum(named.values())
    targets: dict[str | None, int] = {value: -(-count * percent // _WHOLE) for value, percent in named.items()}
    return {**targets, **dict.fromkeys(others, -(-count * rest // (_WHOLE * max(len(others), 1))))}
