"""`heroctl metrics`, `heroctl top`: what nodes and allocations use, now and over time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Generic, NamedTuple, TypeVar

import msgspec
from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.client import Query, decode, path
from heroctl.cli.metric_shapes import AllocStats, NodeNow, Queried, Series, Snapshot, Traffic, Usage
from heroctl.cli.options import SCOPE, Scope
from heroctl.cli.output import Cell, Facts, Grid, Sheet
from heroctl.cli.session import Session

T = TypeVar("T")

app = App(name="metrics")

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 40  # characters of a line of bars
EVERY: Final = 2.0  # seconds between two looks, where it stays
_CLEAR: Final = "\x1b[H\x1b[2J\x1b[3J"
_TOP: Final = 20  # allocations that are shown

Watch = Annotated[
    bool, Parameter(name=("--watch", "-w"), negative="", show_default=False, help="Stay; print anew every 2 seconds.")
]
Since = Annotated[
    str, Parameter(name="--from", metavar="MOMENT", allow_leading_hyphen=True, help="Since when: -1h, or a time.")
]


@app.default
def snapshot(*, watch: Watch = False, scope: Scope = SCOPE) -> None:
    """Show how things stand now: the whole cluster, and each node."""
    with Session(scope) as session:
        _again(lambda: _print(session, scope, View("metrics", Snapshot, _snapshot)), watch=watch)


@app.command
def query(
    metric: Annotated[str, Parameter(help="What: cpu, memory, network_in, disk_read, cpu_percent …")],
    /,
    *,
    job: Annotated[str | None, Parameter(metavar="JOB", help="Of this job's allocations.")] = None,
    task: Annotated[str | None, Parameter(metavar="TASK", help="Of this task's.")] = None,
    node: Annotated[str | None, Parameter(metavar="NODE", help="Of this node; with --job: of those on it.")] = None,
    alloc: Annotated[str | None, Parameter(metavar="ID", help="Of this allocation.")] = None,
    from_: Since = "-1h",
    to: Annotated[str | None, Parameter(metavar="MOMENT", allow_leading_hyphen=True, help="Until when.")] = None,
    step: Annotated[str | None, Parameter(metavar="TIME", help="How long each point stands for: 1m, 5m …")] = None,
    aggregation: Annotated[str | None, Parameter(metavar="avg|max", help="How samples become a point.")] = None,
    group: Annotated[str | None, Parameter(metavar="alloc|task|job|node|all", help="Add series up by this.")] = None,
    scope: Scope = SCOPE,
) -> None:
    """Show a metric over time, a line for each node or allocation."""
    asked: dict[str, str | int | None] = {
        "metric": metric,
        "job": job,
        "task": task,
        "node": node,
        "alloc": alloc,
        "from": from_,
        "to": to,
        "step": step,
        "aggregation": aggregation,
        "group": group,
    }
    with Session(scope) as session:
        about = {**asked, **session.scope} if job or task or alloc or group not in (None, "node", "all") else asked
        _print(session, scope, View("metrics/query", Queried, _series, about))


def top(
    *, once: Annotated[bool, Parameter(negative="", help="Print once, and end.")] = False, scope: Scope = SCOPE
) -> None:
    """Show who uses most, now: nodes and allocations, the greatest first; anew every 2 seconds on a terminal."""
    with Session(scope) as session:
        _again(lambda: _top(session, scope), watch=not once and _live(scope))


def stats(session: Session, scope: Scope, alloc: str, *, watch: bool, once: bool) -> None:
    """Show what an allocation uses; on a terminal as it goes on, unless it is to be `once`."""
    view = View(f"allocations/{alloc}/stats", AllocStats, _stats)
    _again(lambda: _print(session, scope, view), watch=watch or (not once and _live(scope)))


def _live(scope: Scope) -> bool:
    """Tell whether people look on: there is a terminal, and what they see is for them."""
    return scope.output == "table" and output.fancy(sys.stdout)


def _again(show: Callable[[], None], *, watch: bool) -> None:
    """Show once, or until somebody interrupts; on a terminal in the same place."""
    while True:
        if watch and output.fancy(sys.stdout):
            sys.stdout.write(_CLEAR)
        show()
        if not watch:
            return
        time.sleep(EVERY)


class View(NamedTuple, Generic[T]):
    """What is asked for, its shape, and how it is drawn."""

    where: str
    kind: type[T]
    draw: Callable[[T], Sheet]
    asked: Query | None = None


def _print(session: Session, scope: Scope, view: View[T]) -> None:
    answer = session.client.get(path(*view.where.split("/")), view.asked)
    found = decode(answer, view.kind, session.client.caller)
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    else:
        output.show(view.draw(found))


# ── what is drawn ────────────────────────────────────────────────────────────────────────────────────────────────────


def bars(points: Sequence[tuple[int, float]], step: int, width: int = WIDTH) -> str:
    """Draw points as a line of bars, from nothing to the greatest; where nothing was sampled, a gap."""
    if not points:
        return ""
    first, last = points[0][0], points[-1][0]
    count = min(width, (last - first) // max(step, 1) + 1)
    sums: list[list[float]] = [[] for _ in range(count)]
    for at, value in points:
        sums[min(count - 1, (at - first) * count // (last - first + step))].append(value)
    most = max(value for _, value in points)
    means = [sum(each) / len(each) if each else None for each in sums]
    return "".join(" " if mean is None else _bar(mean, most) for mean in means)


def _bar(value: float, most: float) -> str:
    return BARS[min(len(BARS) - 1, int(value / most * len(BARS)))] if most > 0 else BARS[0]


def told(value: float | None, unit: str) -> str:
    """Spell a value in its unit."""
    if value is None:
        return ""
    if unit in ("bytes", "bytes/s"):
        return output.size(value) + unit.removeprefix("bytes")
    if unit == "percent":
        return f"{value:.1f}%"
    if unit in ("cores", "load"):
        return f"{value:.3f}" if 0 < value < 0.1 else f"{value:.2f}"
    return f"{value:g}"


def _series(found: Queried) -> Sheet:
    rows = [
        (*_named(each), *(told(one, found.unit) for one in _figures(each)), bars(each.points, found.step))
        for each in sorted(found.series, key=lambda each: -_figures(each)[0])
    ]
    names = tuple(name.upper() for name in _names(found.series))
    if not rows:
        return [Facts([("Metric", found.metric), ("Series", "none: nothing was sampled of that in this time")])]
    return [Grid((*names, "NOW", "MEAN", "MAX", f"{found.metric.upper()} EVERY {_spelled(found.step)}"), rows)]


def _figures(series: Series) -> tuple[float, float, float]:
    values = [value for _, value in series.points]
    return values[-1], sum(values) / len(values), max(values)


def _names(series: Sequence[Series]) -> tuple[str, ...]:
    return tuple(series[0].labels) if series else ()


def _named(series: Series) -> tuple[Cell, ...]:
    return tuple(series.labels.values())


def _spelled(seconds: int) -> str:
    for size, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{letter}"
    return f"{seconds}s"


def _snapshot(now: Snapshot) -> Sheet:
    facts = Facts(
        [
            ("CPU", f"{now.cpu.used:.2f} of {now.cpu.total:g} cores"),
            ("Memory", f"{output.size(now.mem.used)} of {output.size(now.mem.total)}"),
            ("Allocations", f"{now.allocs.running} running, {now.allocs.pending} pending, {now.allocs.failed} failed"),
        ]
    )
    return [facts, _nodes(now.nodes)]


def _nodes(nodes: Sequence[NodeNow]) -> Grid:
    titles = ("NODE", "STATUS", "CPU", "CPU%", "MEMORY", "MEM%", "DISK%", "IN", "OUT", "LOAD", "ALLOCS", "MEASURED")
    return Grid(titles, [_node(node) for node in nodes])


def _node(node: NodeNow) -> tuple[Cell, ...]:
    if node.time is None:
        return (node.name, node.status, *("",) * 8, node.allocations, None)
    return (
        node.name,
        node.status,
        told(node.cpu.used, "cores"),
        told(node.cpu.percent, "percent"),
        told(node.mem.used, "bytes"),
        told(node.mem.percent, "percent"),
        told(node.disk.percent, "percent"),
        told(node.network_in, "bytes/s"),
        told(node.network_out, "bytes/s"),
        told(node.load, "load"),
        node.allocations,
        node.time,
    )


def _stats(found: AllocStats) -> Sheet:
    facts: list[tuple[str, Cell]] = [
        ("ID", found.alloc),
        ("Job", found.job),
        ("Task", found.task),
        ("Node", found.node),
        ("Status", found.status),
        ("CPU", _of(found.cpu, "cores", " cores")),
        ("Memory", _of(found.memory, "bytes")),
        *_traffic(found.traffic),
        ("Restarts", found.restarts),
        ("Measured", found.time if found.time is not None else "not in the last minute"),
    ]
    return [Facts(facts)]


def _of(usage: Usage, unit: str, word: str = "") -> str:
    if usage.used is None:
        return ""
    share = f" ({told(usage.percent, 'percent')})" if usage.percent is not None else ""
    return f"{told(usage.used, unit)} of {told(usage.limit, unit)}{word}{share}"


def _traffic(traffic: Traffic) -> list[tuple[str, Cell]]:
    network = (("Network in", traffic.network_in), ("Network out", traffic.network_out))
    disk = (("Disk read", traffic.disk_read), ("Disk write", traffic.disk_write))
    return [(name, told(value, "bytes/s")) for name, value in (*network, *disk)]


def _top(session: Session, scope: Scope) -> None:
    """Show nodes, and the allocations that use most of the processors, by what was sampled in the last minute."""
    client = session.client
    now = decode(client.get(path("metrics")), Snapshot, client.caller)
    asked = {"from": "-1m", "step": "1m", "group": "alloc", **session.scope}
    used = {
        name: decode(client.get(path("metrics", "query"), {**asked, "metric": name}), Queried, client.caller).series
        for name in ("cpu", "memory")
    }
    memory = {each.labels["alloc"]: each.points[-1][1] for each in used["memory"]}
    greatest = sorted(used["cpu"], key=lambda each: -each.points[-1][1])
    if scope.output in ("json", "yaml"):
        most = [
            {**each.labels, "cpu": each.points[-1][1], "memory": memory.get(each.labels["alloc"])} for each in greatest
        ]
        output.dump(msgspec.json.encode({"nodes": now.nodes, "allocations": most[:_TOP]}), scope.output)
        return
    rows = [
        (
            each.labels["alloc"],
            each.labels["job"],
            each.labels["task"],
            each.labels["node"],
            told(each.points[-1][1], "cores"),
            told(memory.get(each.labels["alloc"]), "bytes"),
        )
        for each in greatest[:_TOP]
    ]
    nodes = sorted(now.nodes, key=lambda node: -(node.cpu.used or 0.0))
    output.show([_nodes(nodes), Grid(("ALLOCATION", "JOB", "TASK", "NODE", "CPU", "MEMORY"), rows)])
