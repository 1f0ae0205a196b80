"""`heroctl deployment`: roll-outs of jobs' versions."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from heroctl.cli.client import path
from heroctl.cli.options import SCOPE, At, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.shapes import Deployment

app = App(name="deployment")


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
    deployment: Annotated[str, Parameter(help="Its id, or the beginning of it.")],
    /,
    *,
    watch: Watch = False,
    at: At = None,
    scope: Scope = SCOPE,
) -> None:
    """Show one deployment: how many replicas of which task are placed and healthy."""
    page = Page(path("deployments", deployment), Deployment, sheet, lambda one: [one.id])
    read(scope, page, watch=watch, at=at)


def grid(deployments: list[Deployment]) -> Sheet:
    """Make the table of a list."""
    rows = [(d.id, d.job, d.namespace, d.version, d.status, progress(d), d.reason) for d in deployments]
    return [Grid(("ID", "JOB", "NAMESPACE", "VERSION", "STATUS", "HEALTHY", "REASON"), rows)]


def sheet(deployment: Deployment) -> Sheet:
    """Make the page of one."""
    facts = Facts(
        [
            ("ID", deployment.id),
            ("Job", deployment.job),
            ("Namespace", deployment.namespace),
            ("Version", deployment.version),
            ("Previous", deployment.previous_version),
            ("Status", deployment.status),
            ("Reason", deployment.reason),
            ("Strategy", deployment.strategy),
        ]
    )
    rows = [(name, t.desired, t.placed, t.healthy, t.unhealthy) for name, t in sorted(deployment.tasks.items())]
    return [facts, Grid(("TASK", "DESIRED", "PLACED", "HEALTHY", "UNHEALTHY"), rows)]


def progress(deployment: Deployment) -> str:
    """Say how many of all replicas are healthy: `2/3`."""
    tasks = deployment.tasks.values()
    return f"{sum(task.healthy for task in tasks)}/{sum(task.desired for task in tasks)}"
