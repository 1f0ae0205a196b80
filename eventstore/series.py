"""Series: which resolution answers a question about the past, and points made of what was kept. Pure.

Ten seconds are kept for six hours, minutes for two days, five minutes for a week. A point stands for the `step` that
begins at its time; where nothing was sampled there is none.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import groupby, repeat
from typing import Final, Literal

from msgspec import Struct

from heroctl.domain.metrics import STEP

Aggregation = Literal["avg", "max"]
Point = tuple[int, float]  # seconds since the epoch, value

USUAL: Final = 360  # points of a series, about, where nobody asked for a step
_STEPS: Final = (10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


class Tier(Struct, frozen=True):
    """A resolution (s), in which table it stands, how long a block is, a partition, and how long both are kept (s)."""

    resolution: int
    table: str
    block: int
    span: int
    kept: int


TIERS: Final = (
    Tier(10, "samples_10s", 600, 3_600, 6 * 3_600),
    Tier(60, "samples_1m", 3_600, 21_600, 48 * 3_600),
    Tier(300, "samples_5m", 21_600, 86_400, 7 * 86_400),
)
KEPT: Final = TIERS[-1].kept


class Run(Struct, frozen=True, gc=False):
    """Values of one subject, `resolution` seconds apart from `start` on: means, or the greatest in each; NaN: none."""

    subject: int
    start: int
    resolution: int
    values: array[float]


def step_of(begin: int, end: int, now: int, wanted: int | None) -> int:
    """Return the step to answer in: what was wanted, or what suits; never finer than what is kept from `begin` on."""
    finest = next((tier.resolution for tier in TIERS if begin >= now - tier.kept), TIERS[-1].resolution)
    if wanted is None:
        wanted = next((step for step in _STEPS if (end - begin) // step <= USUAL), _STEPS[-1])
    return -(-max(wanted, finest) // finest) * finest


def tiers_of(step: int) -> tuple[Tier, ...]:
    """Return the tiers that points of a step are made of, coarsest first: what is not in one yet is in the next."""
    return tuple(reversed([tier for tier in TIERS if step % tier.resolution == 0]))


def parts_of(begin: int, end: int, step: int, until: dict[int, int]) -> list[tuple[Tier | None, int, int]]:
    """Cut a time into what each tier has: `until` tells how far each is complete; None: samples as they came."""
    parts: list[tuple[Tier | None, int, int]] = []
    at = begin
    for tier in tiers_of(step):
        stop = min(end, until[tier.resolution])
        if stop > at:
            parts.append((tier, at, stop))
            at = stop
    return [*parts, (None, at, end)] if end > at else parts


def runs_of(subject: int, times: Sequence[int], values: array[float]) -> list[Run]:
    """Make runs of samples as they came, in order: one for each stretch without a hole."""
    stretches = groupby(range(len(times)), key=lambda place: times[place] - place * STEP)
    found = []
    for _, places in stretches:
        first, *others = places
        last = others[-1] if others else first
        found.append(Run(subject, times[first], STEP, values[first : last + 1]))
    return found


def points(runs: Iterable[Run], begin: int, end: int, step: int, how: Aggregation) -> list[Point]:
    """Make one series of one subject's runs, which do not overlap: a point for each step in which there was a sample.

    Steps of which a run has all are added up at once: nothing else has any of them.
    """
    found: dict[int, tuple[float, float]] = {}  # step -> sum and weight, or peak and 1
    fold = max if how == "max" else sum
    for run in runs:
        every, ratio = run.resolution, step // run.resolution
        first = max(0, -(-(begin - run.start) // every))
        last = min(len(run.values), -(-(end - run.start) // every))
        lead = min(last, first + -(run.start + first * every) % step // every)  # where the first whole step begins
        whole = max(0, last - lead) // ratio
        rest = lead + whole * ratio
        _add(found, run, (first, lead), step, how)
        folded = list(map(fold, zip(*[iter(run.values[lead:rest])] * ratio, strict=False)))
        at, weight = run.start + lead * every, 1.0 if how == "max" else float(ratio)
        found.update(zip(range(at, at + whole * step, step), zip(folded, repeat(weight)), strict=False))
        for place in [place for place, total in enumerate(folded) if total != total]:  # noqa: PLR0124 - NaN: a hole
            del found[at + place * step]
            _add(found, run, (lead + place * ratio, lead + (place + 1) * ratio), step, how)
        _add(found, run, (rest, last), step, how)
    return [(at, found[at][0] / found[at][1]) for at in sorted(found)]


def _add(found: dict[int, tuple[float, float]], run: Run, places: tuple[int, int], step: int, how: Aggregation) -> None:
    """Add the values of a run from one place to another, as far as there are any."""
    (first, last), every = places, run.resolution
    while first < last:
        at = (run.start + first * every) // step * step
        stop = min(last, -(-(at + step - run.start) // every))
        there = [value for value in run.values[first:stop] if value == value]  # noqa: PLR0124 - NaN: there is none
        first = stop
        if not there:
            continue
        total, weight = found.get(at, (0.0, 0.0))
        if how == "max":
            found[at] = (max(total, *there) if weight else max(there), 1.0)
        else:
            found[at] = (total + sum(there) * every, weight + len(there) * every)


def together(series: Iterable[list[Point]], *, mean: bool = False) -> list[Point]:
    """Put series together: at each step what all that are there have in all, or in the mean."""
    totals: dict[int, tuple[float, int]] = {}
    for each in series:
        for at, value in each:
            total, count = totals.get(at, (0.0, 0))
            totals[at] = (total + value, count + 1)
    return [(at, total / count if mean else total) for at, (total, count) in sorted(totals.items())]


def slot(seconds: float) -> int:
    """Return the time under which a sample taken then is kept."""
    return int(seconds) // STEP * STEP
