"""Intents that launch batch jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from heroctl.domain import spec as specs
from heroctl.domain.checks_launches import meta_problems
from heroctl.domain.errors import Conflict, Invalid, Problem
from heroctl.domain.events import JobDispatched, TaskSummary
from heroctl.domain.intents.change import Change, job_stream
from heroctl.domain.records import Job, Launch

Decide = Callable[[Job, list[Launch]], Change]  # of a job, with its launches that have not ended

MAX_PAYLOAD: Final = 64 * 1024  # bytes
MAX_RUNNING: Final = 500  # launches of a job at a time


def begins(job: Job | None, spec: specs.Job, tasks: tuple[TaskSummary, ...]) -> bool:
    """Tell whether a version of a batch job is launched as soon as it is there: if it has something else to do."""
    if not spec.launched_at_once:
        return False
    if job is None or job.stopped or not specs.decode(job.current.spec).launched_at_once:
        return True
    return {task.name: task.content for task in job.current.tasks} != {task.name: task.content for task in tasks}


def winds(job: Job | None, spec: specs.Job) -> bool:
    """Tell whether the clock of a version begins anew: its times are others, or it stood still."""
    if spec.periodic is None:
        return False
    before = specs.decode(job.current.spec).periodic if job is not None and not job.stopped else None
    return before is None or _times(before) != _times(spec.periodic)


def _times(periodic: specs.Periodic) -> tuple[str, str]:
    return periodic.cron, periodic.time_zone


def following(job: Job | None) -> int:
    """Number the next launch of a job."""
    return job.launched + 1 if job is not None else 1


def restartable(job: Job) -> None:
    """Go on if a batch job can be launched again with nothing said. Refuses with `not_restartable`."""
    spec = specs.decode(job.current.spec)
    if spec.periodic is not None:
        said = f"job '{job.name}' is launched by the clock: to launch it now, force it (periodic/force)"
        raise Conflict("not_restartable", said)
    if spec.dispatch is not None:
        said = f"job '{job.name}' is launched when it is dispatched: dispatch it again"
        raise Conflict("not_restartable", said)


def dispatch(job: Job, going: list[Launch], payload: bytes, meta: Mapping[str, str], by: str) -> Change:
    """Launch a batch job, with something to work on. `going`: its launches that have not ended."""
    spec = _of_batch(job)
    if spec.periodic is not None:
        raise Conflict("not_dispatchable", f"job '{job.name}' is launched by the clock: force it (periodic/force)")
    problems = [*_payload_problems(spec.dispatch, payload), *meta_problems(meta), *_asked(spec.dispatch, meta)]
    if problems:
        first = problems[0]
        raise Invalid("invalid_body", f"{first.path}: {first.message}", details=tuple(problems))
    return _launch(job, going, by, payload=payload, meta=meta)


def force(job: Job, going: list[Launch], by: str) -> Change:
    """Launch a periodic job now, whatever its clock says, and whether a launch goes on or not."""
    spec = _of_batch(job)
    if spec.periodic is None:
        raise Conflict("not_periodic", f"job '{job.name}' is not launched by the clock: it has no `periodic`")
    return _launch(job, going, by, forced=True)


def _of_batch(job: Job) -> specs.Job:
    if job.type != "batch":
        raise Conflict("not_batch", f"job '{job.name}' is a {job.type}: only batch jobs are launched")
    if job.stopped:
        raise Conflict("job_stopped", f"job '{job.name}' is stopped: submit it again to start it")
    return specs.decode(job.current.spec)


def _launch(
    job: Job,
    going: list[Launch],
    by: str,
    *,
    payload: bytes = b"",
    meta: Mapping[str, str] | None = None,
    forced: bool = False,
) -> Change:
    if len(going) >= MAX_RUNNING:
        raise Conflict("too_many_launches", f"{len(going)} launches of job '{job.name}' have not ended yet")
    event = JobDispatched(
        uid=job.uid,
        namespace=job.namespace,
        name=job.name,
        version=job.current.version,
        launch=following(job),
        by=by,
        payload=payload,
        meta=dict(meta or {}),
        forced=forced,
    )
    return Change((event,), (job_stream(job.namespace, job.name),))


def _payload_problems(wanted: specs.Dispatch | None, payload: bytes) -> list[Problem]:
    if len(payload) > MAX_PAYLOAD:
        return [Problem("payload", "out_of_range", f"at most {MAX_PAYLOAD} bytes, and these are {len(payload)}")]
    rule = wanted.payload if wanted is not None else "optional"
    if rule == "required" and not payload:
        return [Problem("payload", "required", "each dispatch of this job brings one")]
    if rule == "forbidden" and payload:
        return [Problem("payload", "invalid_value", "no dispatch of this job brings one")]
    return []


def _asked(wanted: specs.Dispatch | None, meta: Mapping[str, str]) -> list[Problem]:
    """Hold what is brought to what the job asks for; one that says nothing takes anything."""
    if wanted is None:
        return []
    required = [
        Problem(f"meta.{key}", "required", "each dispatch of this job brings it")
        for key in wanted.meta_required
        if key not in meta
    ]
    known = {*wanted.meta_required, *wanted.meta_optional}
    names = ", ".join(sorted(known)) or "nothing"
    return required + [
        Problem(f"meta.{key}", "unknown_field", f"the job takes {names}") for key in sorted(meta) if key not in known
    ]
