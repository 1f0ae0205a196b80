"""`heroctl deployment`: roll-outs of jobs' versions, and what people decide about them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from heroctl.cli import output, rollout
from heroctl.cli.client import Answer, decode, path
from heroctl.cli.options import SCOPE, At, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session
from heroctl.cli.shapes import Deployment
from heroctl.cli.submitting import Detach, Timeout, seconds, wait

app = App(name="deployment")

Id = Annotated[str, Parameter(help="Its id, or the beginning of it (4 characters at least).")]


@app.command(name="list")
def list_deployments(
    *,
    job: Annotated[str | None, Parameter(metavar="JOB", help="Only this job's.")] = None,
    status: Annotated[str | None, Parameter(metavar="STATUS", help="Only those in this status.")] = None,
    watch: Watch = False,
    at: At = None,
    scope: Scope = SCOPE,
) -> None:
    """List deployments, the newest first."""
    query = {"job": job, "status": status}
    page = Page(
        path("deployments"), list[Deployment], grid, lambda all_: [each.id for each in all_], query, in_namespace=True
    )
    read(scope, page, watch=watch, at=at)


@app.command
def status(
    deployment: Id,
    /,
    *,
    watch: Watch = False,
    at: At = None,
    scope: Scope = SCOPE,
) -> None:
    """Show one deployment: how many replicas of which task are placed and healthy."""
    page = Page(path("deployments", deployment), Deployment, sheet, lambda one: [one.id])
    read(scope, page, watch=watch, at=at)


@app.command
def promote(
    deployment: Id,
    /,
    *,
    step: Annotated[
        bool, Parameter(negative="", show_default=False, help="A canary only as far as its next share of the traffic.")
    ] = False,
    detach: Detach = False,
    timeout: Timeout = "15m",
    scope: Scope = SCOPE,
) -> int:
    """Let the new version follow the old one, and wait until it has, or waits again. Ends as `job run` does."""
    patience = None if detach else seconds(timeout)
    said = "goes on to its next share of the traffic" if step else "is promoted"
    with Session(scope) as session:
        return _steer(session, deployment, "promote", {"step": step}, scope=scope, said=said, patience=patience)


@app.command
def pause(deployment: Id, /, *, scope: Scope = SCOPE) -> int:
    """Let a deployment stand still. What is lost meanwhile is replaced all the same."""
    with Session(scope) as session:
        said = f"stands still; go on with: heroctl deployment resume {deployment}"
        return _steer(session, deployment, "pause", None, scope=scope, said=said)


@app.command
def resume(deployment: Id, /, *, detach: Detach = False, timeout: Timeout = "15m", scope: Scope = SCOPE) -> int:
    """Let a paused deployment go on, and wait for its end. Ends as `job run` does."""
    patience = None if detach else seconds(timeout)
    with Session(scope) as session:
        return _steer(session, deployment, "resume", None, scope=scope, said="goes on", patience=patience)


@app.command
def fail(
    deployment: Id,
    /,
    *,
    reason: Annotated[str, Parameter(metavar="TEXT", help="Why; it is kept.")] = "",
    scope: Scope = SCOPE,
) -> int:
    """End a deployment as failed: where its job has `auto_revert`, the last good version comes back."""
    with Session(scope) as session:
        said = f"has failed, as you say; watch the way back: heroctl deployment status {deployment} --watch"
        return _steer(session, deployment, "fail", {"reason": reason}, scope=scope, said=said)


def _steer(
    session: Session,
    deployment: str,
    verb: str,
    body: object,
    *,
    scope: Scope,
    said: str,
    patience: float | None = None,
) -> int:
    """Decide about a deployment, and wait at most `patience` seconds for what becomes of it; None: don't."""
    answer = session.client.ask("POST", path("deployments", deployment, verb), json=body)
    if patience is None:
        _tell(answer, deployment, said, scope)
        return 0
    now = session.client.get(path("deployments", deployment))
    found = decode(now, Deployment, session.client.caller)
    output.note(f"deployment {found.id[:8]} of {found.job} {said}; waiting")
    asked = rollout.Wanted(found.job, found.namespace, found.version, found.id)
    return wait(session, asked, patience, scope)


def _tell(answer: Answer, deployment: str, said: str, scope: Scope) -> None:
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    elif scope.output == "name":
        output.lines([deployment])
    else:
        output.note(f"deployment {deployment} {said}")


def grid(deployments: list[Deployment]) -> Sheet:
    """Make the table of a list."""
    rows = [
        (d.id, d.job, d.namespace, d.version, _kind(d), d.status, progress(d), _share(d), d.created_at, d.reason)
        for d in deployments
    ]
    titles = ("ID", "JOB", "NAMESPACE", "VERSION", "KIND", "STATUS", "HEALTHY", "STEP", "CREATED", "REASON")
    return [Grid(titles, rows)]


def sheet(deployment: Deployment) -> Sheet:
    """Make the page of one, with what may be decided about it."""
    facts = Facts(
        [
            ("ID", deployment.id),
            ("Job", deployment.job),
            ("Namespace", deployment.namespace),
            ("Version", deployment.version),
            ("Previous", deployment.previous_version),
            ("Kind", _kind(deployment)),
            ("Way back from", deployment.revert_of),
            ("Strategy", deployment.strategy),
            ("Status", deployment.status),
            ("Reason", deployment.reason),
            ("Step", _share(deployment)),
            ("Promoted", deployment.promoted_at),
            ("Fails unless another is healthy by", deployment.deadline),
            ("Created", deployment.created_at),
            *(("Next", hint) for hint in rollout.choices(deployment)),
        ]
    )
    rows = [
        (name, t.desired, t.placed, t.healthy, t.unhealthy, t.canaries) for name, t in sorted(deployment.tasks.items())
    ]
    tasks = Grid(("TASK", "DESIRED", "PLACED", "HEALTHY", "UNHEALTHY", "CANARIES"), rows)
    shares = [
        (name, share.version, f"{share.weight} %", share.header_value)
        for name, all_ in sorted(deployment.traffic.items())
        for share in all_
    ]
    return [facts, tasks, Grid(("TASK", "VERSION", "TRAFFIC", "HEADER"), shares)] if shares else [facts, tasks]


def progress(deployment: Deployment) -> str:
    """Say how many of all replicas are healthy: `2/3`."""
    tasks = deployment.tasks.values()
    return f"{sum(task.healthy for task in tasks)}/{sum(task.desired for task in tasks)}"


def _kind(deployment: Deployment) -> str:
    return deployment.kind if deployment.strategy == "rolling" else f"{deployment.kind}, {deployment.strategy}"


def _share(deployment: Deployment) -> str:
    """Say which share of the traffic a canary has: `1/3, 10 %`."""
    if not deployment.weights or deployment.promoted:
        return ""
    return f"{deployment.step}/{deployment.steps}, {rollout.weight(deployment)} %"
