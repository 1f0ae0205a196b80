"""How the replicas of a task are shared out over the values of attributes.

Each value has a target: its per cent of the count, or, of what is left, the same as every other value that is not
named. A value is wanted by as much as it is short of that, rounded up; with several attributes, by the sum. Who is
always put where it is wanted most ends within one of each target, wherever nodes allow it; among values wanted alike
the price decides. A node without the attribute is wanted only when all others have what they should.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from heroctl.domain.checks_placement import REST
from heroctl.domain.spec import Spread
from reconciler.planner.shape import RANGE, Group

STEP: Final = RANGE << 10  # of wanting: dearer than all else about a node
_WHOLE: Final = 100


class Shares:
    """The targets of one task, and what its replicas use of them."""

    def __init__(self, spreads: Sequence[Spread], count: int, groups: Collection[Group]) -> None:
        self._used: list[Counter[str | None]] = [Counter() for _ in spreads]
        self._targets = [
            _targets(spread, count, {group[number] for group in groups}) for number, spread in enumerate(spreads)
        ]

    def add(self, group: Group, replicas: int) -> None:
        """Count replicas."""
        for used, value in zip(self._used, group, strict=True):
            used[value] += replicas

    def price(self, group: Group) -> int:
        """Price the nodes of a group by how little they are wanted."""
        wanted = 0
        for used, targets, value in zip(self._used, self._targets, group, strict=True):
            share, of = targets.get(value, (0, 1))
            wanted -= (used[value] * of - share) // of
        return -wanted * STEP


def _targets(spread: Spread, count: int, values: set[str | None]) -> Mapping[str | None, tuple[int, int]]:
    """Give each value's target as a fraction."""
    named = {value: percent for value, percent in spread.targets.items() if value != REST}
    others = [value for value in values if value is not None and value not in named]
    rest = _WHOLE - sum(named.values())
    targets: dict[str | None, tuple[int, int]] = {value: (count * percent, _WHOLE) for value, percent in named.items()}
    return {**targets, **dict.fromkeys(others, (count * rest, _WHOLE * len(others)))}
