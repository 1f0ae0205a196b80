"""The text format in which metrics are read by others (version 0.0.4): families, labels, and many sources in one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Sample(Struct, frozen=True, gc=False, array_like=True):
    """One line: its name, its labels as they are written (without braces; "": none), its value as it is written."""

    name: str
    labels: str
    value: str


class Family(Struct, frozen=True, array_like=True):
    """Samples of one name, and what they mean."""

    name: str
    kind: str
    help: str
    samples: list[Sample]


def labelled(labels: Mapping[str, str]) -> str:
    """Write labels as they stand between braces."""
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())


def number(value: float) -> str:
    """Write a value."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def gauge(name: str, help_: str, samples: Iterable[tuple[Mapping[str, str], float]], kind: str = "gauge") -> Family:
    """Make a family of one value for each set of labels."""
    return Family(name, kind, help_, [Sample(name, labelled(labels), number(value)) for labels, value in samples])


def marked(family: Family, labels: str) -> Family:
    """Put labels before those that each sample has."""
    return Family(
        family.name,
        family.kind,
        family.help,
        [
            Sample(each.name, f"{labels},{each.labels}" if each.labels else labels, each.value)
            for each in family.samples
        ],
    )


def render(families: Iterable[Family]) -> bytes:
    """Write families; those of one name become one. One that means something else than the first of its name is left.

    A name may stand once in a text, and with one meaning.
    """
    merged: dict[str, Family] = {}
    for family in families:
        first = merged.setdefault(family.name, Family(family.name, family.kind, family.help, []))
        if first.kind == family.kind:
            first.samples.extend(family.samples)
    return "".join(_lines(family) for family in merged.values()).encode()


def _lines(family: Family) -> str:
    head = f"# HELP {family.name} {_escaped(family.help)}\n# TYPE {family.name} {family.kind}\n"
    rows = (
        f"{each.name}{{{each.labels}}} {each.value}\n" if each.labels else f"{each.name} {each.value}\n"
        for each in family.samples
    )
    return head + "".join(rows)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
