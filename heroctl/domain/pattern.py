"""Patterns of names: whole names, in which `*` stands for any run of characters, and nothing else is special."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ALL: Final = "*"
_SPECIAL: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._" + ALL)
_LONGEST: Final = 128


def matches(pattern: str, name: str) -> bool:
    """Tell whether a pattern matches a whole name, in time linear in both."""
    first, *rest = pattern.split(ALL)
    if not rest:
        return pattern == name
    *middle, last = rest
    at, end = len(first), len(name) - len(last)
    if end < at or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def overlap(one: str, other: str) -> bool:
    """Tell whether there is a name that both patterns match."""
    if ALL not in one:
        return matches(other, one)
    if ALL not in other:
        return matches(one, other)
    heads = sorted((one.partition(ALL)[0], other.partition(ALL)[0]), key=len)
    tails = sorted((one.rpartition(ALL)[2], other.rpartition(ALL)[2]), key=len)
    return heads[1].startswith(heads[0]) and tails[1].endswith(tails[0])  # in between, each has room for the other


def contains(wide: str, narrow: str) -> bool:
    """Tell whether one pattern matches whatever another does: a star is matched by nothing but a star."""
    return matches(wide, narrow)


def any_matches(patterns: Iterable[str], name: str | None) -> bool:
    """Tell whether one of some patterns matches a name; None: whichever it is."""
    return any(pattern == ALL if name is None else matches(pattern, name) for pattern in patterns)


def tidy(patterns: Iterable[str]) -> tuple[str, ...]:
    """Sort patterns, and leave out those that another one contains, so that what means the same is equal."""
    found = sorted({_single(pattern) for pattern in patterns})
    return tuple(each for each in found if not any(other != each and contains(other, each) for other in found))


def _single(pattern: str) -> str:
    while ALL * 2 in pattern:
        pattern = pattern.replace(ALL * 2, ALL)
    return pattern


def problem(pattern: str) -> str:
    """Say what is wrong with a pattern of names; nothing: it may be one."""
    if 0 < len(pattern) <= _LONGEST and _SPECIAL.issuperset(pattern):
        return ""
    return f"a name, in which * may stand for any characters: a-z, 0-9, '-', '.', '_', at most {_LONGEST}"
