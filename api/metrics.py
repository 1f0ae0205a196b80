"""Metrics over time: what is kept of a metric, as series of points; and what an allocation uses now."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import groupby
from typing import Annotated, Final, Literal, cast, get_args

from msgspec import Meta, Struct

from api import allocations
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.usage import rounded
from api.wire import encode, stamp
from eventstore.samples import Subject, Wanted
from eventstore.series import Aggregation, Point, Run, parts_of, points, step_of, together
from heroctl.domain import moment
from heroctl.domain.duration import Duration
from heroctl.domain.errors import Invalid, Problem, not_found
from heroctl.domain.metrics import METRICS, PLACES, Kind, Metric
from heroctl.domain.moment import Ago, At
from heroctl.domain.records import Alloc

Pair = Annotated[tuple[int, float], Meta(extra_json_schema={"items": {"type": "number"}})]
Group = Literal["alloc", "task", "job", "node", "all"]

MOST_POINTS: Final = 1_000_000
FILTERS: Final = ("metric", "namespace", "job", "task", "node", "alloc", "from", "to", "step", "aggregation", "group")
_OF_ALLOCS: Final = ("job", "task", "alloc", "namespace")
_HOUR: Final = 3_600
_LONGEST: Final = 31 * 86_400
_PIECE: Final = 16  # series that are made at a time, beside the loop: four milliseconds for a week
_LABELS: Final[dict[Group, tuple[str, ...]]] = {
    "alloc": ("namespace", "job", "task", "alloc", "node"),
    "task": ("namespace", "job", "task"),
    "job": ("namespace", "job"),
    "node": ("node",),
    "all": (),
}


class Series(Struct, frozen=True):
    """One line: whose, and its points: seconds since the epoch, at which the point's step begins, and the value."""

    labels: dict[str, str]
    points: list[Pair]


class Queried(Struct, frozen=True):
    """What was kept of a metric. `step`: seconds; each point stands for the step that begins at it."""

    metric: str
    unit: str
    step: int
    aggregation: Aggregation
    series: list[Series]


class Asked(Struct, frozen=True):
    """A question, read."""

    metric: Metric
    wanted: Wanted
    group: Group
    how: Aggregation
    begin: int
    end: int
    step: int


class Usage(Struct, frozen=True):
    """Of one resource: what is used, what may be, and that as a percentage; null: nobody knows."""

    used: float | None
    limit: float | None = None
    percent: float | None = None


class Traffic(Struct, frozen=True):
    """Bytes a second."""

    network_in: float | None
    network_out: float | None
    disk_read: float | None
    disk_write: float | None


class AllocStats(Struct, frozen=True):
    """What an allocation uses. `time`: when that was measured; null: not in the last minute."""

    alloc: str
    namespace: str
    job: str
    task: str
    node: str
    status: str
    time: str | None
    cpu: Usage
    memory: Usage
    traffic: Traffic
    restarts: int


# ── a question ───────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(Queried, "invalid_metric", "too_many_points", "log_unavailable", "busy")
async def query(call: Call) -> Answer:
    """What is kept of a metric: of one job's allocations, of nodes; ten seconds apart for 6 h, a minute for 48 h.

    Five minutes for seven days. A job that is not there (any more) has the series that are kept of it, or none. Only
    what the token may see is shown, and added up.
    """
    asked = _asked(call)
    samples = call.parts.usage.samples
    found = [each for each in await samples.find(asked.wanted, asked.begin - _HOUR) if _visible(call, each)]
    call.allow_nothing()  # each was asked for itself
    if len(found) * (asked.end - asked.begin) // asked.step > MOST_POINTS:
        wish = "take a longer step, or a shorter time"
        raise Invalid("too_many_points", f"{len(found)} series would have more than {MOST_POINTS:,} points: {wish}")
    parts = parts_of(asked.begin, asked.end, asked.step, await samples.rolled())
    runs = await samples.read([each.id for each in found], asked.metric.name, parts, asked.how) if found else []
    body = await call.parts.aside.do(_encoded(asked, found, runs))
    return Answer(body, index=call.parts.view.index)


def _encoded(asked: Asked, found: list[Subject], runs: list[Run]) -> Generator[None, None, bytes]:
    lines: dict[int, list[Point]] = {}
    by_subject = groupby(sorted(runs, key=lambda run: run.subject), key=lambda run: run.subject)
    for number, (subject, own) in enumerate(by_subject, 1):
        lines[subject] = points(own, asked.begin, asked.end, asked.step, asked.how)
        if number % _PIECE == 0:
            yield
    series = [Series(labels, _told(asked.metric, line)) for labels, line in _grouped(asked, found, lines) if line]
    yield
    return encode(Queried(asked.metric.name, asked.metric.unit, asked.step, asked.how, series))


def _grouped(
    asked: Asked, found: list[Subject], lines: dict[int, list[Point]]
) -> Iterable[tuple[dict[str, str], list[Point]]]:
    groups: dict[tuple[str, ...], list[list[Point]]] = {}
    names = _LABELS[asked.group]
    for subject in found:
        if subject.id in lines:
            groups.setdefault(tuple(_label(subject, name) for name in names), []).append(lines[subject.id])
    for values, of_group in groups.items():
        line = of_group[0] if len(of_group) == 1 else together(of_group, mean=asked.metric.unit == "percent")
        yield dict(zip(names, values, strict=True)), line


def _label(subject: Subject, name: str) -> str:
    return subject.name if name == "alloc" else str(getattr(subject, name))


def _told(metric: Metric, line: list[Point]) -> list[Point]:
    if not metric.digits:
        return [(at, int(value + 0.5)) for at, value in line]
    parts: float = 10**metric.digits  # nothing measured is below zero; `round` takes four times as long
    return [(at, int(value * parts + 0.5) / parts) for at, value in line]


def _visible(call: Call, subject: Subject) -> bool:
    if subject.kind == "node":
        return call.principal.allows("node:read", subject.name)
    return call.principal.allows("metric:read", subject.namespace, subject.job)


# ── reading a question ───────────────────────────────────────────────────────────────────────────────────────────────


def _asked(call: Call) -> Asked:
    args = call.args
    group, how = args.get("group"), args.get("aggregation", "avg")
    if group not in (None, *get_args(Group)):
        raise _invalid("group", f"expected one of {', '.join(get_args(Group))}")
    if how not in get_args(Aggregation):
        raise _invalid("aggregation", f"expected one of {', '.join(get_args(Aggregation))}")
    of_allocs = group in ("alloc", "task", "job") or any(args.get(name) for name in _OF_ALLOCS)
    kind: Kind = "alloc" if of_allocs else "node"
    begin, end = _times(call)
    step = step_of(begin, end, int(call.parts.usage.now()), _step(args.get("step")))
    chosen = cast("Group", group or kind)
    how_ = cast("Aggregation", how)
    metric = _metric(args.get("metric"), kind)
    return Asked(metric, _wanted(call, kind), chosen, how_, begin // step * step, end, step)


def _times(call: Call) -> tuple[int, int]:
    try:
        end = _time(call, "to", 0) + 1  # what was sampled just now belongs to it
    except ValueError as error:
        raise _invalid("to", str(error)) from None
    try:
        begin = _time(call, "from", _HOUR)
    except ValueError as error:
        raise _invalid("from", str(error)) from None
    if begin >= end:
        raise _invalid("from", "it is not before `to`")
    return begin, end


def _wanted(call: Call, kind: Kind) -> Wanted:
    args, state = call.args, call.parts.view.state
    node = state.nodes.get(args.get("node", ""))
    alloc = args.get("alloc", "")
    if alloc:
        found = allocations.find(state, alloc, lambda space, job: call.principal.allows("metric:read", space, job))
        alloc = found.id if found is not None else alloc
    return Wanted(
        kind,
        name=alloc,
        node=node.name if node is not None else args.get("node", ""),
        namespace=args.get("namespace", ""),
        job=args.get("job", ""),
        task=args.get("task", ""),
    )


def _metric(name: str | None, kind: Kind) -> Metric:
    known = [metric.name for metric in METRICS if kind in metric.of]
    if name not in known:
        of = "nodes" if kind == "node" else "allocations"
        raise _invalid("metric", f"of {of} there are {', '.join(known)}")
    return METRICS[PLACES[name]]


def _step(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        seconds = Duration.parse(text).seconds
    except ValueError as error:
        raise _invalid("step", str(error)) from None
    if not 1 <= seconds <= _LONGEST:
        raise _invalid("step", "expected 1 s to 31 days")
    return int(seconds)


def _time(call: Call, name: str, ago: int) -> int:
    """Read a time of the query, in seconds since the epoch. ValueError says what is expected."""
    now, text = call.parts.usage.now(), call.args.get(name)
    if text is None:
        return int(now) - ago
    found = moment.parse(text)
    if isinstance(found, Ago):
        found = found.instant(int(now * 1000))
    return found.index if isinstance(found, At) else found.ms // 1000


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(f"invalid_{name}", f"{name}: {message}", details=(Problem(name, f"invalid_{name}", message),))


# ── an allocation, now ───────────────────────────────────────────────────────────────────────────────────────────────


@tells(AllocStats, "allocation_not_found", "ambiguous_id")
async def stats(call: Call) -> Answer:
    """What an allocation uses, as it was measured last."""
    state, wanted = call.parts.view.state, call.path["id"]
    alloc = allocations.find(state, wanted, call.sees)
    absent = not_found("allocation", wanted)
    if alloc is None:
        raise absent
    call.allow(alloc.namespace, alloc.job, absent=absent)
    return answer(_stats(call, alloc), index=state.index)


def _stats(call: Call, alloc: Alloc) -> AllocStats:
    usage, node = call.parts.usage, call.parts.view.state.nodes.get(alloc.node)
    values, at = usage.of("alloc", alloc.id), usage.at("alloc", alloc.id)

    def told(name: str) -> float | None:
        return rounded(name, values[name]) if name in values else None

    return AllocStats(
        alloc.id,
        alloc.namespace,
        alloc.job,
        alloc.task,
        node.name if node is not None else "",
        alloc.status,
        stamp(at * 1000) if at is not None and values else None,
        Usage(told("cpu"), alloc.cpu / 1000, told("cpu_percent")),
        Usage(told("memory"), alloc.memory, told("memory_percent")),
        Traffic(told("network_in"), told("network_out"), told("disk_read"), told("disk_write")),
        max(0, alloc.attempt - 1),
    )
