"""`heroctl job`: look at jobs, stop and remove them. What else is done with jobs has files of its own."""

from __future__ import annotations

import math
import time
from typing import Annotated

from cyclopts import App, Parameter

from heroctl.cli import output, rollout
from heroctl.cli.allocs import grid as allocation_grid
from heroctl.cli.client import Answer, decode, path
from heroctl.cli.explaining import explain
from heroctl.cli.faults import TIMED_OUT, Fault, Refused
from heroctl.cli.launches import dispatch, launches, periodic
from heroctl.cli.options import SCOPE, At, Name, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.planning import plan
from heroctl.cli.reading import Page, read, read_with
from heroctl.cli.session import Session
from heroctl.cli.shapes import Allocation, Job, Submitted
from heroctl.cli.submitting import Detach, Timeout, restart, rollback, run, scale, seconds
from heroctl.cli.validating import validate
from heroctl.cli.versions import diff, history, made_with

app = App(name="job")

for _command in (run, plan, validate, history, diff, rollback, scale, restart, explain, dispatch, launches):
    app.command(_command)
app.command(periodic)


@app.command(name="list")
def list_jobs(*, watch: Watch = False, at: At = None, scope: Scope = SCOPE) -> None:
    """List the jobs."""
    read(
        scope,
        Page(path("jobs"), list[Job], grid, lambda jobs: [job.name for job in jobs], in_namespace=True),
        watch=watch,
        at=at,
    )


@app.command
def status(name: Name, /, *, watch: Watch = False, at: At = None, scope: Scope = SCOPE) -> None:
    """Show one job: its tasks, its replicas, its deployment, and what blocks it."""
    with Session(scope) as session:
        if at is not None:  # the job and its replicas as of the same index, whatever time passes in between
            at = str(session.client.get(path("jobs", name), {**session.scope, "at": at}).index)

        def page(job: Job) -> Sheet:
            query = {"job": job.name, "namespace": job.namespace, "at": at}
            replicas = session.client.get(path("allocations"), query)
            known = decode(replicas, list[Allocation], session.client.caller)
            allocations = [alloc for alloc in known if alloc.status != "complete"]
            return [*sheet(job), allocation_grid(allocations)] if allocations else sheet(job)

        read_with(
            session,
            Page(path("jobs", name), Job, page, lambda job: [job.name], in_namespace=True),
            scope.output,
            watch=watch,
            at=at,
        )


@app.command
def stop(
    name: Name,
    /,
    *,
    purge: Annotated[bool, Parameter(negative="", show_default=False, help="Delete the job, too.")] = False,
    detach: Detach = False,
    timeout: Timeout = "5m",
    scope: Scope = SCOPE,
) -> int:
    """Stop all replicas of a job and keep the job; wait until they are gone."""
    if purge:
        return delete(name, detach=detach, timeout=timeout, scope=scope)
    with Session(scope) as session:
        answer = session.client.ask("POST", path("jobs", name, "stop"), query=session.scope)
        return _stopping(session, answer, "stopped", scope, 0.0 if detach else seconds(timeout))


@app.command
def rebalance(name: Name, /, *, scope: Scope = SCOPE) -> int:
    """Move those replicas of a job that would be clearly better on another node, each at most once, bit by bit."""
    with Session(scope) as session:
        answer = session.client.ask("POST", path("jobs", name, "rebalance"), query=session.scope)
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    else:
        output.note(f"{name} is balanced, as its tasks' `migrate` allows: heroctl alloc list --job {name} --watch")
    return 0


@app.command
def delete(
    name: Name,
    /,
    *,
    detach: Detach = False,
    timeout: Timeout = "5m",
    scope: Scope = SCOPE,
) -> int:
    """Delete a job; its replicas stop, and its name is free at once."""
    with Session(scope) as session:
        answer = session.client.ask("DELETE", path("jobs", name), query=session.scope)
        return _stopping(session, answer, "deleted", scope, 0.0 if detach else seconds(timeout))


def grid(jobs: list[Job]) -> Sheet:
    """Make the table of a list."""
    rows = [
        (job.name, job.namespace, job.status, job.version, progress(job), _deployment(job), job.updated_at)
        for job in jobs
    ]
    return [Grid(("NAME", "NAMESPACE", "STATUS", "VERSION", "HEALTHY", "DEPLOYMENT", "UPDATED"), rows)]


def sheet(job: Job) -> Sheet:
    """Make the page of one, without its replicas."""
    facts = Facts(
        [
            ("Name", job.name),
            ("Namespace", job.namespace),
            ("Type", job.type),
            ("Status", job.status),
            ("Version", job.version),
            ("Stable version", job.stable_version),
            ("Deployment", f"{job.deployment.id} {job.deployment.status}" if job.deployment else ""),
            ("Launch", f"{job.launch.number} {job.launch.status}" if job.launch else ""),
            ("Next launch", job.next_launch_at),
            *(("Blocked", reason) for reason in job.blocked),
            *((f"Secrets of {task.name}", made_with(task.secrets)) for task in job.tasks if task.secrets),
            *((f"Meta {key}", value) for key, value in sorted(job.meta.items())),
            ("Created", job.created_at),
            ("Updated", job.updated_at),
        ]
    )
    rows = [(t.name, t.driver, t.image, t.desired, t.running, t.healthy) for t in job.tasks]
    return [facts, Grid(("TASK", "DRIVER", "IMAGE", "DESIRED", "RUNNING", "HEALTHY"), rows)]


def progress(job: Job) -> str:
    """Say how many of all replicas are healthy: `2/3`; those of an older version beside them are not counted twice."""
    if job.type == "batch" and job.status != "running":
        return ""
    healthy = sum(min(task.healthy, task.desired) for task in job.tasks)
    return f"{healthy}/{sum(task.desired for task in job.tasks)}"


def _stopping(session: Session, answer: Answer, done: str, scope: Scope, patience: float) -> int:
    """Wait until the replicas are gone, too; no patience: don't."""
    name = decode(answer, Submitted, session.client.caller).name
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    if patience and (left := _left(session, name, patience)):
        raise Fault(
            f"{name} is {done}, but {left} of its replicas had not ended after {patience:g} s",
            hints=[f"heroctl alloc list --job {name} --watch"],
            code=TIMED_OUT,
        )
    if scope.output == "table":
        output.note(f"{name} is {done}" + (", and none of its replicas is left" if patience else "; its replicas stop"))
    return 0


def _left(session: Session, name: str, patience: float) -> int:
    """Wait until no replica of a job is left, and return how many are when the time is up."""
    index, until = 0, time.monotonic() + patience
    query = {"job": name, "namespace": session.namespace or "default"}
    while True:
        wait = max(1, math.ceil(until - time.monotonic()))
        try:
            answer = session.client.poll(path("allocations"), query, index=index, wait=wait)
        except Refused as fault:
            if fault.status == 404:
                return 0
            raise
        left = [a for a in decode(answer, list[Allocation], session.client.caller) if a.status not in rollout.ENDED]
        if not left or time.monotonic() >= until:
            return len(left)
        index = answer.index


def _deployment(job: Job) -> str:
    if job.launch is not None:
        return f"launch {job.launch.number} {job.launch.status}"
    return job.deployment.status if job.deployment else ""
