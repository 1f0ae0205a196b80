"""Placement as it is meant: ask every node each time. Slow, and the measure of what is quick."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from math import ceil

from heroctl.domain.constraint import reader
from reconciler.planner.filters import Ask, Room, lacks, unfit
from reconciler.planner.shape import cost, crowding, liking


def naive(
    rooms: Mapping[str, Room],
    ask: Ask,
    count: int,
    near: Mapping[str, int],
    closed: Collection[str] = (),
    *,
    spreads: bool = False,
    targets: Mapping[str, int] | None = None,
) -> str | None:
    """Name the best node for the next of `count` replicas. `targets`: per cent, for the first attribute of `over`."""
    fit = [room for room in rooms.values() if room.id not in closed and lacks(room, ask) is None]
    wanted = _wanted(rooms, ask, count, near, targets or {})
    best = (
        min(
            (
                -wanted[tuple(reader(attribute)(room.node) for attribute in ask.over)],
                (22_000_000 - cost(room, ask) if spreads else cost(room, ask))
                + liking(room.node, ask)
                + crowding(near.get(room.id, 0), count),
                room.id,
            )
            for room in fit
        )
        if fit
        else None
    )
    return best[2] if best is not None else None


def _wanted(
    rooms: Mapping[str, Room], ask: Ask, count: int, near: Mapping[str, int], targets: Mapping[str, int]
) -> dict[tuple[str | None, ...], int]:
    """Count by how many replicas the values of each node are short of their targets."""
    wanted = {tuple(reader(attribute)(room.node) for attribute in ask.over): 0 for room in rooms.values()}
    for number, attribute in enumerate(ask.over):
        read = reader(attribute)
        named = {value: share for value, share in targets.items() if value != "*"} if not number else {}
        known = {read(room.node) for room in rooms.values() if unfit(room.node, ask) is None}
        others = known - {None, *named}
        used = dict.fromkeys({read(room.node) for room in rooms.values()}, 0)
        for node, replicas in near.items():
            if node in rooms:
                used[read(rooms[node].node)] += replicas
        for group in wanted:
            value = group[number]
            share = Fraction(0)
            if value in named:
                share = Fraction(named[value] * count, 100)
            elif value is not None and value in others:
                share = Fraction((100 - sum(named.values())) * count, 100 * len(others))
            wanted[group] += ceil(share - used[value])
    return wanted
