"""How the replicas of a task are shared out over the values of attributes.

Each value has a target: its per cent of the count, or, of what is left, the same as every other value that is not
named. A value is wanted by as much as it is short of that, rounded up; with several attributes, by the sum. Who is
always put where it is wanted most ends within one of each target, wherever nodes allow it; among values wanted alike
the price decides. A node without the attribute is wanted only when all others have what they should.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from heroctl.domain.checks_placement import REST
from heroctl.domain.spec import Spread
from reconciler.planner.shape import RANGE, Group

STEP: Final = RANGE << 10  # of wanting: dearer than all else about a node
_WHOLE: Final = 100


def price_groups(
    spreads: Sequence[Spread], count: int, groups: Collection[Group], used: Mapping[Group, int]
) -> dict[Group, int]:
    """Price groups of nodes by how little they are wanted, when so many replicas of a task are used there.

    `groups`: those of nodes that could take one if they were empty. A replica more makes each group that shares a value
    with its own dearer by a `STEP` for each.
    """
    wanted = [_targets(spread, count, {group[number] for group in groups}) for number, spread in enumerate(spreads)]
    for group, replicas in used.items():
        for short, value in zip(wanted, group, strict=True):
            short[value] = short.get(value, 0) - replicas
    return {
        group: -STEP * sum(short.get(value, 0) for short, value in zip(wanted, group, strict=True))
        for group in {*groups, *used}
    }


def _targets(spread: Spread, count: int, values: set[str | None]) -> dict[str | None, int]:
    """Give each value's target, rounded up."""
    named = {value: percent for value, percent in spread.targets.items() if value != REST}
    others = [value for value in values if value is not None and value not in named]
    rest = _WHOLE - sum(named.values())
    targets: dict[str | None, int] = {value: -(-count * percent // _WHOLE) for value, percent in named.items()}
    return {**targets, **dict.fromkeys(others, -(-count * rest // (_WHOLE * max(len(others), 1))))}
