"""Alerts: a metric, a threshold, for how long; and when that fires and is over. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, cast

from msgspec import Struct

from heroctl.domain.errors import Invalid, NotFound, Problem, not_found
from heroctl.domain.events.alerts import AlertFired, AlertResolved, AlertSet, Comparison
from heroctl.domain.metrics import METRICS, STEP, Kind
from heroctl.domain.names import misnamed, misnamed_node

MOST: Final = 200  # in one namespace
LONGEST: Final = 6 * 3_600  # seconds that a condition may have to hold
_STEPS: Final = 36  # in which a condition has to hold, about
_CONDITION: Final = re.compile(r"\s*(>=|<=|>|<)\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*", re.ASCII)
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

Point = tuple[int, float]


class Alert(Struct, frozen=True, gc=False):
    """An alert. `fired_at` (ms) and `of`: since when it fires, and of what; None: it does not."""

    said: AlertSet
    created_at: int
    create_index: int
    modify_index: int
    fired_at: int | None = None
    of: str = ""
    value: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other one."""
        return self.said.namespace, self.said.name

    @property
    def kind(self) -> Kind:
        """What it is about: allocations of a job, or nodes."""
        return kind_of(self.said)

    @property
    def step(self) -> int:
        """The seconds in each of which the condition has to hold."""
        return max(STEP, self.said.seconds // _STEPS // STEP * STEP)


class Breach(NamedTuple):
    """What is beyond a threshold, and by the newest value."""

    of: str
    value: float


def kind_of(said: AlertSet) -> Kind:
    """Say what an alert is about: allocations of a job, or nodes."""
    return "alloc" if said.job or said.task else "node"


def condition(said: AlertSet) -> str:
    """Spell a condition: `> 90`."""
    return f"{said.comparison} {said.threshold:f}".rstrip("0").rstrip(".")


def read_condition(text: str) -> tuple[Comparison, float]:
    """Read a condition. ValueError says what is expected."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError("expected one of > >= < <= and a number, such as > 90")
    return cast("Comparison", found[1]), float(found[2])


def check(said: AlertSet) -> None:
    """Refuse an alert that could not be judged. Raises `invalid_alert` with all problems."""
    problems = list(_problems(said))
    if problems:
        text = "; ".join(f"{each.path}: {each.message}" for each in problems)
        raise Invalid("invalid_alert", text, details=tuple(problems))


def _problems(said: AlertSet) -> Sequence[Problem]:
    found = list(_misnamed(said))
    known = [metric.name for metric in METRICS if kind_of(said) in metric.of]
    if said.metric not in known:
        of = "an allocation" if kind_of(said) == "alloc" else "a node"
        found.append(Problem("metric", "invalid_value", f"of {of} there are {', '.join(known)}"))
    if not 0 <= said.seconds <= LONGEST:
        found.append(Problem("for", "out_of_range", "expected 0s to 6h"))
    if said.task and not said.job:
        found.append(Problem("job", "required", "a task is one of a job: name that, too"))
    if len(said.description) > 500:
        found.append(Problem("description", "out_of_range", "at most 500 characters"))
    return found


def _misnamed(said: AlertSet) -> Iterator[Problem]:
    """Name what nothing can be called: nobody is told of it, and a database may refuse to look for it."""
    yield from misnamed(said.name)
    for path, name in (("job", said.job), ("task", said.task)):
        yield from misnamed(name, path) if name else ()
    yield from misnamed_node(said.node, "node") if said.node else ()


def absent(namespace: str, name: str) -> NotFound:
    """Refuse: there is no such alert."""
    return not_found("alert", name if namespace == "default" else f"{namespace}/{name}")


# ── when it fires ────────────────────────────────────────────────────────────────────────────────────────────────────


def judge(alert: Alert, series: Mapping[str, Sequence[Point]], now: int) -> AlertFired | AlertResolved | None:
    """Decide by what was measured, by name of what: it fires, it is over, or it goes on as it is (None).

    It fires when one thing is beyond the threshold in every step of the time, and is over when nothing is in its newest
    one. What was not measured lately is beyond nothing. Of the things that are, the first by name is told.
    """
    said = alert.said
    if alert.fired_at is None:
        held = next((breach for breach in _breaches(alert, series, now) if _held(alert, series[breach.of])), None)
        if held is None:
            return None
        return AlertFired(
            said.namespace,
            said.name,
            said.metric,
            condition(said),
            held.of,
            held.value,
            said.job,
            said.description,
        )
    if _breaches(alert, series, now):
        return None
    return AlertResolved(said.namespace, said.name, said.metric, condition(said), said.job)


def _breaches(alert: Alert, series: Mapping[str, Sequence[Point]], now: int) -> list[Breach]:
    """Name what is beyond the threshold by its newest value."""
    newest = ((of, points[-1]) for of, points in sorted(series.items()) if points)
    fresh = now - alert.step - 3 * STEP
    return [Breach(of, value) for of, (at, value) in newest if at >= fresh and _beyond(alert, value)]


def _held(alert: Alert, points: Sequence[Point]) -> bool:
    """Tell whether a condition held in each step that was measured, and whether those reach back so far.

    Where more steps are missing than there are, nobody knows.
    """
    step, newest = alert.step, points[-1][0]
    within = [(at, value) for at, value in points if at > newest - alert.said.seconds - step]
    covered = newest + step - within[0][0]
    enough = covered >= alert.said.seconds and 2 * step * len(within) > covered
    return enough and all(_beyond(alert, value) for _, value in within)


def _beyond(alert: Alert, value: float) -> bool:
    return _COMPARE[alert.said.comparison](value, alert.said.threshold)
