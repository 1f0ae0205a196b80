"""`heroctl alert`: thresholds of what is measured, whether they are crossed, and when they were."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.acl import tell
from heroctl.cli.alert_shapes import Alert
from heroctl.cli.client import Query, decode, path
from heroctl.cli.events import happenings
from heroctl.cli.faults import Fault
from heroctl.cli.metrics import told
from heroctl.cli.options import SCOPE, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session
from heroctl.cli.shapes import Happened
from heroctl.domain.metrics import METRICS, PLACES

app = App(name="alert")

_FEW: Final = 10  # of what became of it lately, that a status shows
_SINCE: Final = "-168h"
_CHANGED: Final = ("metric", "condition", "for", "job", "task", "node", "description")

Name = Annotated[str, Parameter(help="Its name.")]
Metric = Annotated[
    str | None, Parameter(metavar="METRIC", help="What is measured: cpu_percent, memory, disk_percent …")
]
Condition = Annotated[str | None, Parameter(metavar="CONDITION", help="When it is too much: '> 90', '<= 1.5'.")]
Hold = Annotated[
    str | None,
    Parameter(name="--for", metavar="TIME", help="For how long that has to hold, at most 6h; 0s unless given."),
]
Job = Annotated[str | None, Parameter(metavar="JOB", help="Of this job's allocations; without: of nodes.")]
Task = Annotated[str | None, Parameter(metavar="TASK", help="Of this task of the job.")]
Node = Annotated[str | None, Parameter(metavar="NODE", help="Of this node alone.")]
Description = Annotated[str | None, Parameter(metavar="TEXT", help="What it means, and what is to be done.")]


@app.command
def create(
    name: Name,
    /,
    *,
    metric: Metric = None,
    condition: Condition = None,
    hold: Hold = None,
    job: Job = None,
    task: Task = None,
    node: Node = None,
    description: Description = None,
    scope: Scope = SCOPE,
) -> None:
    """Be told when what is measured crosses a threshold, and when that is over: as an event, and by webhooks."""
    if metric is None or condition is None:
        raise Fault("--metric and --condition are needed", hints=[f"such as: heroctl alert create {name} {_EXAMPLE}"])
    given = _given(metric, condition, hold, job, task, node, description)
    with Session(scope) as session:
        answer = session.client.ask("POST", path("alerts"), query=session.scope, json={"name": name, **given})
        made = decode(answer, Alert, session.client.caller)
    tell(scope, answer, f"alert {made.name} is set: {_spelled(made)}", made.name)


@app.command(name="list")
def list_alerts(*, watch: Watch = False, scope: Scope = SCOPE) -> None:
    """List the alerts, and which of them fire."""
    page = Page(path("alerts"), list[Alert], _grid, lambda all_: [each.name for each in all_], in_namespace=True)
    read(scope, page, watch=watch)


@app.command
def status(name: Name, /, *, scope: Scope = SCOPE) -> None:
    """Show an alert, whether it fires, and when it did in the last seven days."""
    with Session(scope) as session:
        kept = session.client.get(path("alerts", name), session.scope)
        found = decode(kept, Alert, session.client.caller)
        query: Query = {"type": "alert.fired,alert.resolved", "namespace": found.namespace, "from": _SINCE}
        raw = [each for each in happenings(session, query) if _is_of(each, found.name)]
    if scope.output in ("json", "yaml"):
        output.dump(msgspec.json.encode({"alert": msgspec.Raw(kept.raw), "history": raw}), scope.output)
    elif scope.output == "name":
        output.lines([found.name])
    else:
        output.show(_sheet(found, [msgspec.json.decode(each, type=Happened) for each in raw[-_FEW:]]))


@app.command
def update(
    name: Name,
    /,
    *,
    metric: Metric = None,
    condition: Condition = None,
    hold: Hold = None,
    job: Job = None,
    task: Task = None,
    node: Node = None,
    description: Description = None,
    scope: Scope = SCOPE,
) -> None:
    """Change what is given of an alert; '' takes a job, a task or a node away. It is judged anew."""
    given = _given(metric, condition, hold, job, task, node, description)
    if not given:
        raise Fault("there is nothing to change", hints=["see what can be: heroctl alert update --help"])
    with Session(scope) as session:
        kept = msgspec.json.decode(session.client.get(path("alerts", name), session.scope).raw, type=dict[str, Any])
        body = {key: kept[key] for key in _CHANGED if key in kept} | given
        answer = session.client.ask("PUT", path("alerts", name), query=session.scope, json=body)
        made = decode(answer, Alert, session.client.caller)
    tell(scope, answer, f"alert {made.name} is set: {_spelled(made)}", made.name)


@app.command
def delete(name: Name, /, *, scope: Scope = SCOPE) -> None:
    """Remove an alert."""
    with Session(scope) as session:
        answer = session.client.ask("DELETE", path("alerts", name), query=session.scope)
    tell(scope, answer, f"alert {name} is deleted", name)


_EXAMPLE: Final = "--metric cpu_percent --condition '> 90' --for 5m --job shop"


def _given(*values: str | None) -> dict[str, str]:
    """Name what was given, in the order of what can be changed."""
    return {name: value for name, value in zip(_CHANGED, values, strict=True) if value is not None}


def _is_of(event: msgspec.Raw, name: str) -> bool:
    return msgspec.json.decode(event, type=Happened).data.get("name") == name


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _value(metric: str, value: float) -> str:
    return told(value, METRICS[PLACES[metric]].unit if metric in PLACES else "")


def _about(alert: Alert) -> str:
    if alert.job:
        return f"job {alert.job}" + (f", task {alert.task}" if alert.task else "")
    return f"node {alert.node}" if alert.node else "all nodes"


def _spelled(alert: Alert) -> str:
    held = "" if alert.hold in ("0s", "") else f" for {alert.hold}"
    return f"{alert.metric} {alert.condition}{held}, of {_about(alert)}"


def _grid(alerts: list[Alert]) -> Sheet:
    rows = [
        (
            each.name,
            each.namespace,
            each.state,
            f"{each.metric} {each.condition}",
            each.hold,
            _about(each),
            f"{each.of}: {_value(each.metric, each.value)}" if each.state == "firing" else "",
            each.fired_at,
        )
        for each in alerts
    ]
    return [Grid(("NAME", "NAMESPACE", "STATE", "WHEN", "FOR", "OF", "FIRES FOR", "SINCE"), rows)]


def _sheet(alert: Alert, history: list[Happened]) -> Sheet:
    facts = Facts(
        [
            ("Name", alert.name),
            ("Namespace", alert.namespace),
            ("State", alert.state),
            ("When", _spelled(alert)),
            ("Fires for", f"{alert.of}: {_value(alert.metric, alert.value)}" if alert.state == "firing" else ""),
            ("Since", alert.fired_at),
            ("Created", alert.created_at),
            ("Means", alert.description),
        ]
    )
    rows = [
        (
            each.time,
            each.type.removeprefix("alert."),
            each.data.get("of", ""),
            _value(str(each.data.get("metric")), each.data["value"]) if "value" in each.data else "",
        )
        for each in reversed(history)
    ]
    return [facts, Grid(("TIME", "WHAT", "OF", "VALUE"), rows)] if rows else [facts]
