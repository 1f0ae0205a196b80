"""Checking what a task says of the nodes that it wants: constraints, affinities, spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from heroctl.domain import constraint
from heroctl.domain.errors import Problem
from heroctl.domain.spec import Spread, Task

MOST: Final = 64  # constraints, or affinities, of one task
MOST_SPREADS: Final = 4
MOST_TARGETS: Final = 100
REST: Final = "*"  # the values that are not named
_WHOLE: Final = 100


def placement(task: Task, path: str) -> Iterator[Problem]:
    """Say what is wrong with these fields of a task."""
    for field, said, most in (
        ("constraints", task.constraints, MOST),
        ("affinities", task.affinities, MOST),
        ("spread", task.spread, MOST_SPREADS),
    ):
        if len(said) > most:
            yield Problem(f"{path}.{field}", "out_of_range", f"at most {most}")
    for number, one in enumerate(task.constraints[:MOST]):
        yield from constraint.problems(one, f"{path}.constraints[{number}]")
    for number, each in enumerate(task.affinities[:MOST]):
        where = f"{path}.affinities[{number}]"
        if each.operator == constraint.ALONE:
            yield Problem(f"{where}.operator", "invalid_value", f"`{constraint.ALONE}` is a constraint")
        else:
            yield from constraint.problems(each, where)
        if not each.weight:
            yield Problem(f"{where}.weight", "invalid_value", "a weight of 0 means nothing")
    seen: set[str] = set()
    for number, spread in enumerate(task.spread[:MOST_SPREADS]):
        where = f"{path}.spread[{number}]"
        yield from _spread(spread, where)
        if spread.attribute in seen:
            yield Problem(f"{where}.attribute", "duplicate", "there is a spread over this attribute already")
        seen.add(spread.attribute)


def _spread(spread: Spread, path: str) -> Iterator[Problem]:
    try:
        constraint.reader(spread.attribute)
    except constraint.Unreadable as error:
        yield Problem(f"{path}.attribute", "unknown_attribute", str(error))
    targets = spread.targets
    if len(targets) > MOST_TARGETS:
        yield Problem(f"{path}.targets", "out_of_range", f"at most {MOST_TARGETS}")
    whole = sum(targets.values())
    if whole > _WHOLE:
        yield Problem(f"{path}.targets", "out_of_range", f"they add up to {whole}, and there are 100 per cent")
    elif REST in targets and whole < _WHOLE:
        message = f"they add up to {whole}: with `{REST}` they make 100 per cent"
        yield Problem(f"{path}.targets", "invalid_value", message)
