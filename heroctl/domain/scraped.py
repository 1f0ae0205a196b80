"""What an application said of itself, as far as it is shown: well-formed, of its own names, and within bounds. Pure.

Everything is a stranger's: what it says of others, what would break a line, and what is too much is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from heroctl.domain.exposition import Family, Sample

MOST_SERIES: Final = 500  # of one allocation
MOST_LABELS: Final = 30  # of a series
LONGEST: Final = 1_000  # characters of a series' name and labels
LONGEST_NAME: Final = 200  # of a metric or of a label
LONGEST_HELP: Final = 200
# Labels that say where a series is from; an application's own of these names keep what they say under another one.
OURS: Final = frozenset({"namespace", "job", "task", "alloc", "node"})

_OWN: Final = "heroctl_"
_SUFFIXES: Final[dict[str, frozenset[str]]] = {
    "counter": frozenset({""}),
    "gauge": frozenset({""}),
    "untyped": frozenset({""}),
    "histogram": frozenset({"_bucket", "_sum", "_count"}),
    "summary": frozenset({"", "_sum", "_count"}),
}
_BROKEN: Final = r"\x00-\x1f\x7f\x85\u2028\u2029"  # what some reader may take for the end of a line
_METRIC: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL: Final = re.compile(rf'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\{_BROKEN}]|\\[\\"n])*)"(?:,|\Z)')
_VALUE: Final = re.compile(r"NaN|[+-]Inf|-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,3})?")


def renamed(labels: Mapping[str, str]) -> dict[str, str]:
    """Give labels of an application's names that are free: `job` becomes `exported_job`, as Prometheus does it."""
    made: dict[str, str] = {}
    for name, value in labels.items():
        free = name
        while free in OURS or free in made or (free != name and free in labels):
            free = f"exported_{free}"
        made[free] = value
    return made


def bounded(families: Iterable[Family], most: int = MOST_SERIES) -> tuple[list[Family], int]:
    """Give what may be shown of families, and how many series were left out. A typed family comes whole, or not at all.

    A family without a series says nothing, and is left out.
    """
    made: list[Family] = []
    seen: set[tuple[str, str]] = set()
    dropped = 0
    for family in families:
        fit = [sample for sample in family.samples if _fits(family, sample)] if _known(family) else []
        new = {(sample.name, sample.labels): sample for sample in fit if (sample.name, sample.labels) not in seen}
        dropped += len(family.samples) - len(new)
        if len(seen) + len(new) > most:
            dropped += len(new)
        elif new:
            seen |= new.keys()
            made.append(Family(family.name, family.kind, _plain(family.help), list(new.values())))
    return made, dropped


def size(families: Iterable[Family]) -> int:
    """Return how many characters families take, about."""
    return sum(
        len(family.name) + len(family.help) + sum(len(each.name) + len(each.labels) + 32 for each in family.samples)
        for family in families
    )


def _known(family: Family) -> bool:
    name = family.name
    return (
        family.kind in _SUFFIXES
        and len(name) <= LONGEST_NAME
        and _METRIC.fullmatch(name) is not None
        and not name.startswith(_OWN)
    )


def _fits(family: Family, sample: Sample) -> bool:
    suffix = sample.name.removeprefix(family.name)
    return (
        sample.name == family.name + suffix
        and suffix in _SUFFIXES[family.kind]
        and len(sample.name) + len(sample.labels) <= LONGEST
        and _VALUE.fullmatch(sample.value) is not None
        and _labels_fit(sample.labels)
    )


def _labels_fit(text: str) -> bool:
    """Tell whether labels, as they are written, are well-formed, each there once, and none of them one of ours."""
    names: set[str] = set()
    at = 0
    while at < len(text):
        found = _LABEL.match(text, at)
        if found is None:
            return False
        name = found[1]
        if name in names or name in OURS or name == "__name__" or len(name) > LONGEST_NAME:
            return False
        names.add(name)
        at = found.end()
    return len(names) <= MOST_LABELS and not text.endswith(",")


def _plain(help_: str) -> str:
    return re.sub(f"[{_BROKEN}]", " ", help_[:LONGEST_HELP])
