"""Series: which resolution answers a question about the past, and points made of what was kept. Pure.

Ten seconds are kept for six hours, minutes for two days, five minutes for a week. A point stands for the `step` that
begins at its time; where nothing was sampled there is none.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
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


def points(runs: Iterable[Run], begin: int, end: int, step: int, how: Aggregation) -> list[Point]:
    """Make one series of one subject's runs, which do not overlap: a point for each step in which there was a sample.

    What a run has of a step is added up at once; a run that begins with a step and has no holes, as most do, all of it.
    """
    found: dict[int, tuple[float, float]] = {}  # step -> sum and weight, or peak and 1
    fold = max if how == "max" else sum
    for run in runs:
        every, ratio, at = run.resolution, step // run.resolution, run.start
        whole = (
            len(run.values) // ratio if at % step == 0 and at >= begin and at + len(run.values) * every <= end else 0
        )
        first = 0
        for total in map(fold, zip(*[iter(run.values)] * ratio, strict=False)) if whole else ():
            if total == total and at not in found:  # noqa: PLR0124 - NaN: there is a hole in it
                found[at] = (total, 1.0) if how == "max" else (total * every, ratio * every)
            else:
                _add(found, at, run.values[first : first + ratio], every, how)
            first, at = first + ratio, at + step
        if first < len(run.values):
            _cut(found, run, first, (begin, end, step), how)
    return [(at, total / weight) for at, (total, weight) in sorted(found.items())]


def _cut(
    found: dict[int, tuple[float, float]], run: Run, first: int, asked: tuple[int, int, int], how: Aggregation
) -> None:
    """Add the values of a run from `first` on, as far as they belong to what is asked: begin, end, step."""
    begin, end, step = asked
    every = run.resolution
    first = max(first, -(-(begin - run.start) // every))
    last = min(len(run.values), -(-(end - run.start) // every))
    while first < last:
        at = (run.start + first * every) // step * step
        stop = min(last, -(-(at + step - run.start) // every))
        _add(found, at, run.values[first:stop], every, how)
        first = stop


def _add(found: dict[int, tuple[float, float]], at: int, values: array[float], every: int, how: Aggregation) -> None:
    there = [value for value in values if value == value]  # noqa: PLR0124 - NaN: there is none
    if not there:
        return
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
