"""What a node must be like, or should be: conditions on its attributes, read once and asked of many nodes.

One reading for all who ask: the submit that refuses a condition nobody could meet, the filter of the planner, and the
words in which it explains itself. A condition on an attribute that a node does not have is false, but for `!=` and
`not_in`: what is not there is not that value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from heroctl.domain.errors import Problem
from heroctl.domain.records import Node
from heroctl.domain.spec import Affinity, Constraint

Test = Callable[[str | None], bool]
Read = Callable[[Node], str | None]

LONGEST_PATTERN: Final = 128
LONGEST_VALUE: Final = 256  # characters of a value that a pattern is held against: a longer one does not match
MOST_REPEATS: Final = 3  # of `*`, `+` and `{…}` in one pattern
MOST_OPTIONS: Final = 8  # of `?`
ALONE: Final = "distinct_hosts"  # the one operator that is about replicas, not about an attribute
LISTS: Final = frozenset({"in", "not_in"})
_ABSENT_PASSES: Final = frozenset({"!=", "not_in"})
_ATTRIBUTE: Final = re.compile(r"\$\{node\.([a-z]+)(?:\.([^{}\s]+))?\}")
_PLAIN: Final = frozenset({"id", "name", "address", "version"})
UNIQUE: Final = frozenset({"id", "name", "address"})  # no two nodes are alike in these
_KNOWN: Final = (
    "${node.labels.KEY}, ${node.attributes.KEY}, ${node.drivers.DRIVER.version}, ${node.name}, ${node.id}, "
    "${node.address} or ${node.version}"
)
_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")
_VERSION: Final = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,5})(?:-([0-9A-Za-z.-]{1,64}))?(?:\+[0-9A-Za-z.-]{1,64})?")
_BOUND: Final = re.compile(r"(=|!=|>=|<=|>|<|~>)?\s*(\S+)")

Version = tuple[tuple[int, ...], tuple[tuple[int, int, str], ...]]


class Unreadable(ValueError):  # noqa: N818 - an answer: it says what is wrong with the text
    """This text is no attribute, pattern or version that could be asked for."""


# ── attributes ───────────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=4096)
def reader(attribute: str) -> Read:
    """Give what reads an attribute off a node. Unreadable: there is no such attribute."""
    match = _ATTRIBUTE.fullmatch(attribute)
    root, key = match.groups() if match is not None else ("", None)
    if root in _PLAIN and key is None:
        return lambda node: getattr(node, root) or None
    if root == "labels" and key:
        return lambda node: node.labels.get(key)
    if root == "attributes" and key:
        return lambda node: node.attributes.get(key)
    if root == "drivers" and key and re.fullmatch(r"[^.]+\.version", key):
        return _driver(key.removesuffix(".version"))
    raise Unreadable(f"there is no attribute {attribute!r}; it is one of {_KNOWN}")


def _driver(name: str) -> Read:
    def read(node: Node) -> str | None:
        driver = node.drivers.get(name)
        return None if driver is None else driver.version or None

    return read


def is_unique(attribute: str) -> bool:
    """Tell whether each node has a value of its own here, so that it tells no kinds of nodes apart."""
    match = _ATTRIBUTE.fullmatch(attribute)
    return match is not None and match[1] in UNIQUE


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=4096)
def judge(operator: str, value: str | tuple[str, ...]) -> Test:
    """Give what judges an attribute's value, None being that there is none. Unreadable: it makes no sense."""
    if operator == "is_set":
        return lambda found: found is not None
    holds = _holds(operator, value)
    absent = operator in _ABSENT_PASSES
    return lambda found: absent if found is None else holds(found)


def _holds(operator: str, value: str | tuple[str, ...]) -> Callable[[str], bool]:
    if isinstance(value, tuple):
        among = frozenset(value)
        return (lambda found: found in among) if operator == "in" else (lambda found: found not in among)
    match operator:
        case "=":
            return lambda found: found == value
        case "!=":
            return lambda found: found != value
        case "regexp":
            pattern = compiled(value)
            return lambda found: len(found) <= LONGEST_VALUE and pattern.search(found) is not None
        case "version":
            return _within(value)
        case _:
            return _compared(operator, value)


def _compared(operator: str, value: str) -> Callable[[str], bool]:
    """Numbers are compared as such, anything else as text."""
    wanted = _number(value)

    def holds(found: str) -> bool:
        number = _number(found)
        if wanted is None or number is None:
            return _ordered(operator, (found > value) - (found < value))
        return _ordered(operator, (number > wanted) - (number < wanted))

    return holds


def _ordered(operator: str, sign: int) -> bool:
    return {">": sign > 0, ">=": sign >= 0, "<": sign < 0, "<=": sign <= 0}[operator]


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def version(text: str) -> Version | None:
    """Read `v1.4.2-rc.1+build` in a form that compares: what leads to a release is less than it. None: it is none."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    before = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in match[2].split(".")) if match[2] else ()
    return tuple(numbers), before or ((2, 0, ""),)


def _within(value: str) -> Callable[[str], bool]:
    bounds = [_bound(part.strip()) for part in value.split(",")]

    def holds(found: str) -> bool:
        known = version(found)
        return known is not None and all(bound(known) for bound in bounds)

    return holds


def _bound(text: str) -> Callable[[Version], bool]:
    match = _BOUND.fullmatch(text)
    limit = version(match[2]) if match is not None else None
    if match is None or limit is None:
        raise Unreadable(f"{text!r} bounds no version: write `>= 1.2, < 2` or `~> 1.4`")
    operator = match[1] or "="
    if operator == "~>":
        ceiling = _next(match[2])
        return lambda known: limit <= known and known[0] < ceiling
    if operator in {"=", "!="}:
        return lambda known: (known == limit) == (operator == "=")
    return lambda known: _ordered(operator, (known > limit) - (known < limit))


def _next(text: str) -> tuple[int, ...]:
    """`~> 1.4` ends before 2, `~> 1.4.2` before 1.5."""
    match = _VERSION.fullmatch(text)
    numbers = [int(part) for part in match[1].split(".")] if match is not None else [0]
    kept = numbers[:-1] or numbers
    return (*kept[:-1], kept[-1] + 1)


# ── patterns ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that is quick on whatever it is held against. Unreadable: it is none, or may not be quick.

    The engine behind it backtracks, so what it may cost is bounded beforehand: the pattern's length, how often it
    repeats or leaves out; and nothing is repeated that repeats, leaves out or chooses, or refers to another part.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise Unreadable(f"a pattern has at most {LONGEST_PATTERN} characters")
    if any(_DOUBTFUL.search(part, 1) for part in _PARTS.findall(pattern) if part[0] == "["):
        raise Unreadable(f"{pattern!r}: within [] write [, &, ~ and | once only, and [ with a backslash")
    try:
        made = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unreadable(f"{pattern!r} is no pattern: {error}") from None
    refused = _slow(pattern)
    if refused:
        raise Unreadable(f"{pattern!r} may take too long: {refused}")
    return made


_PARTS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]?|\(\?:|\(\?|[()|*+?]|\{\d*,?\d*\}|.", re.DOTALL)
_DOUBTFUL: Final = re.compile(r"(?<!\\)\[|--|&&|~~|\|\|")  # in a set: it may come to mean something else one day


def _slow(pattern: str) -> str:
    """Say why a pattern may be slow; it is known to compile."""
    repeats = options = 0
    costly = [False]  # for each group that is open: whether it repeats, leaves out or chooses
    closed = False  # the same of the group that ended just before
    for part in _PARTS.findall(pattern):
        if part == "(?" or (part[0] == "\\" and part[1].isdigit()):
            return "references, looks ahead and the like are not allowed"
        if part in {"*", "+", "?"} or (part[0] == "{" and len(part) > 2):
            if closed:
                return "what is repeated must not repeat, leave out or choose itself"
            options, repeats = (options + 1, repeats) if part == "?" else (options, repeats + 1)
            costly = [True] * len(costly)
        elif part == "|":
            costly = [True] * len(costly)
        elif part in {"(", "(?:"}:
            costly.append(False)
        closed = costly.pop() if part == ")" else False
    if repeats > MOST_REPEATS or options > MOST_OPTIONS:
        return f"at most {MOST_REPEATS} of `*`, `+` and `{{…}}`, and {MOST_OPTIONS} of `?`"
    return ""


# ── what makes sense, and how it is told ─────────────────────────────────────────────────────────────────────────────


def problems(said: Constraint | Affinity, path: str) -> Iterator[Problem]:
    """Say what is wrong with a condition."""
    if said.operator == ALONE:
        if said.attribute or said.value not in ("", "true"):
            yield Problem(path, "invalid_value", f"`{ALONE}` stands alone: without attribute and value")
        return
    try:
        reader(said.attribute)
    except Unreadable as error:
        yield Problem(f"{path}.attribute", "unknown_attribute", str(error))
    yield from _value(said, f"{path}.value")


def _value(said: Constraint | Affinity, path: str) -> Iterator[Problem]:
    several = isinstance(said.value, tuple)
    if said.operator == "is_set":
        if said.value not in ("", "true"):
            yield Problem(path, "invalid_value", "`is_set` has no value")
    elif several != (said.operator in LISTS):
        expected = "a list" if said.operator in LISTS else "one value"
        yield Problem(path, "invalid_value", f"`{said.operator}` compares with {expected}")
    elif not said.value and said.operator not in {"=", "!="}:
        yield Problem(path, "required", f"`{said.operator}` needs something to compare with")
    else:
        try:
            judge(said.operator, said.value)
        except Unreadable as error:
            yield Problem(path, "invalid_value", str(error))


def words(said: Constraint | Affinity) -> str:
    """Write a condition in one line: `${node.labels.disk} = ssd`."""
    if said.operator == ALONE:
        return ALONE
    value = f"({', '.join(said.value)})" if isinstance(said.value, tuple) else said.value
    return " ".join(part for part in (said.attribute, said.operator, value) if part)
