"""`heroctl job`: submit, watch, stop and remove jobs."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from heroctl.cli import output, rollout
from heroctl.cli.allocs import grid as allocation_grid
from heroctl.cli.client import Answer, decode, path
from heroctl.cli.faults import HEALTHY, TIMED_OUT, Fault, Problem, Refused, counted
from heroctl.cli.options import SCOPE, At, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read, read_with
from heroctl.cli.session import Session
from heroctl.cli.shapes import Allocation, Job, Submitted, Verdicts
from heroctl.domain.duration import Duration

app = App(name="job")

File = Annotated[str, Parameter(allow_leading_hyphen=True, help="A job spec in YAML or JSON; - reads stdin.")]
Name = Annotated[str, Parameter(help="The job's name.")]
Detach = Annotated[bool, Parameter(name=("--detach", "-d"), negative="", show_default=False, help="Do not wait.")]
Timeout = Annotated[str, Parameter(metavar="DURATION", help="How long to wait at most, such as 90s or 10m.")]
_JSON: Final = "application/json"
_YAML: Final = "application/yaml"


@app.command
def run(
    file: File,
    /,
    *,
    detach: Detach = False,
    timeout: Timeout = "15m",
    check_index: Annotated[
        int | None,
        Parameter(
            metavar="INDEX", help="Submit only if the job's spec_index is this; 0: only if there is no such job."
        ),
    ] = None,
    scope: Scope = SCOPE,
) -> int:
    """Submit a job and wait until it is healthy.

    Ends with 0 when all replicas are healthy, 2 when the version failed, 3 when the time is up, 4 when replicas cannot
    be placed and nothing else is going on.
    """
    patience = _seconds(timeout)
    content, content_type = _document(file)
    with Session(scope) as session:
        query = {**session.scope, "check_index": check_index}
        ask = session.client.ask
        answer = ask("POST", path("jobs"), query=query, content=content, content_type=content_type)
        made = decode(answer, Submitted, session.client.caller)
        for warning in made.warnings:
            output.note(f"warning: {_told(warning)}")
        if detach:
            _show_submitted(answer, made, scope)
            return HEALTHY
        wanted = rollout.Wanted(made.name, made.namespace, made.version, made.deployment_id or "")
        return _wait(session, wanted, patience, scope)


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
def validate(file: File, /, *, scope: Scope = SCOPE) -> int:
    """Check a job spec without submitting it; all that is wrong is said at once."""
    content, content_type = _document(file)
    with Session(scope) as session:
        answer = session.client.ask("POST", path("jobs", "validate"), content=content, content_type=content_type)
    verdicts = decode(answer, Verdicts, session.client.caller)
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
        return 1 if verdicts.problems else 0
    for warning in verdicts.warnings:
        output.note(f"warning: {_told(warning)}")
    if verdicts.problems:
        raise Fault(f"{file} has {counted(len(verdicts.problems), 'problem')}", problems=verdicts.problems)
    output.note(f"{file} is valid")
    return 0


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
        return _stopping(session, answer, "stopped", scope, 0.0 if detach else _seconds(timeout))


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
        return _stopping(session, answer, "deleted", scope, 0.0 if detach else _seconds(timeout))


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
            *(("Blocked", reason) for reason in job.blocked),
            *((f"Meta {key}", value) for key, value in sorted(job.meta.items())),
            ("Created", job.created_at),
            ("Updated", job.updated_at),
        ]
    )
    rows = [(t.name, t.driver, t.image, t.desired, t.running, t.healthy) for t in job.tasks]
    return [facts, Grid(("TASK", "DRIVER", "IMAGE", "DESIRED", "RUNNING", "HEALTHY"), rows)]


def progress(job: Job) -> str:
    """Say how many of all replicas are healthy: `2/3`."""
    return f"{sum(task.healthy for task in job.tasks)}/{sum(task.desired for task in job.tasks)}"


def _wait(session: Session, wanted: rollout.Wanted, patience: float, scope: Scope) -> int:
    from heroctl.cli.waiting import follow

    output.note(f"{wanted.name} version {wanted.version} is submitted; waiting until it is healthy")
    verdict, seen, seconds = follow(session.client, wanted, timeout=patience)
    if scope.output in ("json", "yaml") and not seen.gone:
        output.dump(session.client.get(path("jobs", wanted.name), {"namespace": wanted.namespace}).raw, scope.output)
    if verdict.code != HEALTHY:
        raise Fault(verdict.message, problems=verdict.problems, hints=verdict.hints, code=verdict.code)
    if scope.output == "name":
        output.lines([wanted.name])
    elif scope.output == "table":
        output.lines([f"{verdict.message} ({seconds:.1f} s)"])
        output.lines([f"  {replica}  {port}  {address}" for replica, port, address in rollout.reached(seen)])
    return HEALTHY


def _show_submitted(answer: Answer, made: Submitted, scope: Scope) -> None:
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    elif scope.output == "name":
        output.lines([made.name])
    else:
        deployment = f", deployment {made.deployment_id}" if made.deployment_id else ""
        output.lines([f"{made.name} version {made.version}{deployment}, index {made.index}"])


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


def _document(file: str) -> tuple[bytes, str]:
    """Read a spec as it is, and say what it is written in."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Fault(f"{file} cannot be read: {error.strerror}") from error
    if not content.strip():
        raise Fault(f"{file} is empty", hints=["see examples/ for job specs"])
    suffix = Path(file).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return content, _YAML
    if suffix == ".json":
        return content, _JSON
    return content, _JSON if content.lstrip()[:1] == b"{" else _YAML


def _seconds(text: str) -> float:
    try:
        return Duration.parse(text).seconds
    except ValueError as error:
        raise Fault(f"--timeout: {error}") from error


def _deployment(job: Job) -> str:
    return job.deployment.status if job.deployment else ""


def _told(problem: Problem | str) -> str:
    if isinstance(problem, str):
        return problem
    return f"{problem.path}: {problem.message}" if problem.path else problem.message
