"""`heroctl job run`, `rollback`, `scale`, `restart`: what begins a deployment, and waits for what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from heroctl.cli import output, rollout
from heroctl.cli.client import Answer, decode, path
from heroctl.cli.faults import HEALTHY, Fault, Problem
from heroctl.cli.options import SCOPE, Name, Scope
from heroctl.cli.session import Session
from heroctl.cli.shapes import Job, Launch, Submitted
from heroctl.cli.specfiles import read_spec
from heroctl.domain.duration import Duration

File = Annotated[str, Parameter(allow_leading_hyphen=True, help="A job spec in YAML or JSON; - reads stdin.")]
Detach = Annotated[bool, Parameter(name=("--detach", "-d"), negative="", show_default=False, help="Do not wait.")]
Timeout = Annotated[str, Parameter(metavar="DURATION", help="How long to wait at most, such as 90s or 10m.")]
CheckIndex = Annotated[
    int | None,
    Parameter(metavar="INDEX", help="Only if the job's spec_index is this, as a plan tells; 0: only if there is none."),
]


def run(
    file: File,
    /,
    *,
    detach: Detach = False,
    timeout: Timeout = "15m",
    check_index: CheckIndex = None,
    scope: Scope = SCOPE,
) -> int:
    """Submit a job and wait until it is healthy, waits for somebody to promote it, or has done what it was to do.

    Ends with 0 when all replicas are healthy, what is to be promoted stands, or a batch job's launch is complete; 2
    when the version or the launch failed, 3 when the time is up, 4 when replicas cannot be placed and nothing else is
    going on.
    """
    patience = seconds(timeout)
    spec = read_spec(file)
    with Session(scope) as session:
        query = {**session.scope, "check_index": check_index}
        answer = session.client.ask("POST", path("jobs"), query=query, content=spec.content, content_type=spec.kind)
        return settle(session, answer, scope, None if detach else patience, "is submitted")


def rollback(
    name: Name,
    version: Annotated[
        int | None, Parameter(help="The version to go back to; unless given, the last good one that is another.")
    ] = None,
    /,
    *,
    detach: Detach = False,
    timeout: Timeout = "15m",
    check_index: CheckIndex = None,
    scope: Scope = SCOPE,
) -> int:
    """Go back to an earlier version of a job, as a new one, and wait until it is healthy. Ends as `job run` does."""
    said = f"repeats version {version}" if version is not None else "repeats the last good one"
    body = {} if version is None else {"version": version}
    patience = None if detach else seconds(timeout)
    with Session(scope) as session:
        return settle(session, _ask(session, name, "rollback", body, check_index), scope, patience, said)


def scale(
    name: Name,
    count: Annotated[int, Parameter(help="How many replicas it should have.")],
    /,
    *,
    task: Annotated[
        str | None, Parameter(metavar="TASK", help="Of which task; needed where the job has several.")
    ] = None,
    detach: Detach = False,
    timeout: Timeout = "15m",
    check_index: CheckIndex = None,
    scope: Scope = SCOPE,
) -> int:
    """Run more or fewer replicas of a task, and wait until they are healthy. Ends as `job run` does."""
    if count < 0:
        raise Fault(f"{count} replicas cannot be had", hints=[f"to have none: heroctl job scale {name} 0"])
    body: dict[str, object] = {"count": count} | ({} if task is None else {"task": task})
    said = f"has {count} of {task}" if task is not None else f"has a count of {count}"
    patience = None if detach else seconds(timeout)
    with Session(scope) as session:
        return settle(session, _ask(session, name, "scale", body, check_index), scope, patience, said)


def restart(
    name: Name,
    /,
    *,
    detach: Detach = False,
    timeout: Timeout = "15m",
    check_index: CheckIndex = None,
    scope: Scope = SCOPE,
) -> int:
    """Replace all replicas of a job by ones of the same version, as a deployment would. Ends as `job run` does."""
    patience = None if detach else seconds(timeout)
    with Session(scope) as session:
        answer = _ask(session, name, "restart", None, check_index)
        return settle(session, answer, scope, patience, "restarts, replica by replica")


def _ask(session: Session, name: str, verb: str, body: object, check_index: int | None) -> Answer:
    query = {**session.scope, "check_index": check_index}
    return session.client.ask("POST", path("jobs", name, verb), query=query, json=body)


def settle(session: Session, answer: Answer, scope: Scope, patience: float | None, said: str) -> int:
    """Wait for what becomes of what was begun, at most `patience` seconds; None: don't."""
    made = decode(answer, Submitted, session.client.caller)
    warn(made.warnings)
    if patience is None:
        _show(answer, made, scope)
        return HEALTHY
    asked = awaited(session, made)
    if asked is None:
        _show(answer, made, scope)
        output.note(_waits(_job(session, made)))
        return HEALTHY
    what = f"launch {asked.launch} has ended" if asked.launch else "it is healthy"
    output.note(f"{made.name} version {made.version} {said}; waiting until {what}")
    return wait(session, asked, patience, scope)


def awaited(session: Session, made: Submitted) -> rollout.Wanted | None:
    """Say what was begun, or goes on; None: a batch job was changed that waits to be launched."""
    asked = wanted(made)
    if asked.deployment or asked.launch or _job(session, made).type != "batch":
        return asked
    launch = _last_launch(session, made)
    return asked._replace(launch=launch) if launch else None


def _job(session: Session, made: Submitted) -> Job:
    answer = session.client.get(path("jobs", made.name), {"namespace": made.namespace})
    return decode(answer, Job, session.client.caller)


def _last_launch(session: Session, made: Submitted) -> int:
    """Find the launch with which this version of a batch job was begun, or goes on; 0: there is none.

    What the clock or a dispatch has launched is not what was submitted.
    """
    answer = session.client.get(path("jobs", made.name, "launches"), {"namespace": made.namespace})
    known = decode(answer, tuple[Launch, ...], session.client.caller)
    mine = (each.number for each in known if each.kind in ("submit", "restart") and each.version == made.version)
    return next(mine, 0)


def _waits(job: Job) -> str:
    """Say what a batch job waits for that was not launched with its submit."""
    if job.next_launch_at is not None:
        at = f"{job.next_launch_at:%Y-%m-%d %H:%M} UTC"
        return f"the clock launches it next at {at}; now: heroctl job periodic force {job.name}"
    return f"nothing of it was begun; launch it: heroctl job dispatch {job.name}, or heroctl job restart {job.name}"


def wanted(made: Submitted) -> rollout.Wanted:
    """Say what was asked for."""
    return rollout.Wanted(made.name, made.namespace, made.version, made.deployment_id or "", made.launch or 0)


def wait(session: Session, asked: rollout.Wanted, patience: float, scope: Scope) -> int:
    """Show what happens until it has an end; raises a Fault with why, where the end is not a good one."""
    from heroctl.cli.waiting import follow

    try:
        verdict, seen, took = follow(session.client, asked, timeout=patience)
    except KeyboardInterrupt:
        output.note(f"\nit goes on without us: heroctl job status {asked.name} --watch")
        raise
    if scope.output in ("json", "yaml") and not seen.gone:
        output.dump(session.client.get(path("jobs", asked.name), {"namespace": asked.namespace}).raw, scope.output)
    if verdict.code != HEALTHY:
        raise Fault(
            verdict.message, facts=verdict.facts, problems=verdict.problems, hints=verdict.hints, code=verdict.code
        )
    if scope.output == "name":
        output.lines([asked.name])
    elif scope.output == "table":
        output.lines([f"{verdict.message} ({took:.1f} s)"])
        output.lines([f"  {replica}  {port}  {address}" for replica, port, address in rollout.reached(seen)])
    for hint in verdict.hints:
        output.note(f"next: {hint}")
    return HEALTHY


def warn(warnings: Iterable[Problem | str]) -> None:
    """Say what is doubtful."""
    for each in warnings:
        text = each if isinstance(each, str) else ": ".join(part for part in (each.path, each.message) if part)
        output.note(f"warning: {text}")


def seconds(text: str) -> float:
    """Read a duration of the command line."""
    try:
        return Duration.parse(text).seconds
    except ValueError as error:
        raise Fault(f"--timeout: {error}", hints=["write it as 90s, 10m or 1h30m"]) from error


def _show(answer: Answer, made: Submitted, scope: Scope) -> None:
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    elif scope.output == "name":
        output.lines([made.name])
    else:
        deployment = f", deployment {made.deployment_id}" if made.deployment_id else ""
        deployment += f", launch {made.launch}" if made.launch else ""
        output.lines([f"{made.name} version {made.version}{deployment}, index {made.index}"])
