"""Intents on jobs and their allocations."""

from __future__ import annotations

import msgspec

from heroctl.domain import spec as specs
from heroctl.domain.errors import Conflict, not_found, too_new
from heroctl.domain.events import AllocStopRequested, JobDeleted, JobStopped, JobSubmitted, TaskSummary
from heroctl.domain.intents.change import NOTHING, Change, claim_stream, job_stream
from heroctl.domain.level import beyond
from heroctl.domain.state import Alloc, Job, State


def submit_job(state: State, spec: specs.Job, by: str, check_index: int | None = None) -> Change:
    """Make a job so. An equal spec of a job that is wanted, and that could be planned, changes nothing.

    `check_index` is the client's guard: the job's `spec_index` must be it, 0: the job must not exist.
    """
    if spec.namespace not in state.namespaces:
        raise not_found("namespace", spec.namespace)
    job = state.job(spec.namespace, spec.name)
    _guard(job, spec.name, check_index)
    if job is not None and not (job.stopped or job.plan_failures) and specs.decode(job.current.spec) == spec:
        return NOTHING
    late = beyond(spec, state.level)
    if late is not None:
        raise too_new(late)
    event = JobSubmitted(
        uid=job.uid if job else 0,
        namespace=spec.namespace,
        name=spec.name,
        version=job.current.version + 1 if job else 1,
        spec=msgspec.Raw(specs.encode(spec)),
        tasks=tuple(_summary(job, task) for task in spec.tasks),
        by=by,
    )
    return Change((event,), (job_stream(spec.namespace, spec.name),), (claim_stream("namespace", spec.namespace),))


def _summary(job: Job | None, task: specs.Task) -> TaskSummary:
    """Sum a task up. What a kept version has already has its digests, whichever release made them."""
    content = policy = ""
    for version in reversed(job.versions) if job is not None else ():
        known, before = version.task(task.name), specs.decode(version.spec).task(task.name)
        if known is None or before is None:
            continue
        if not content and specs.content(before) == specs.content(task):
            content = known.content
        if not policy and specs.policy(before) == specs.policy(task):
            policy = known.policy
        if content and policy:
            break
    return TaskSummary(
        task.name, task.count, content or specs.content_digest(task), policy or specs.policy_digest(task)
    )


def _guard(job: Job | None, name: str, check_index: int | None) -> None:
    if check_index is None:
        return
    if check_index == 0 and job is not None:
        raise Conflict("job_exists", f"job '{name}' exists already")
    if check_index and (job is None or job.spec_index != check_index):
        now = job.spec_index if job else "nowhere"
        raise Conflict(
            "index_conflict", f"job '{name}' is at spec_index {now}, not {check_index}: read it again, then submit"
        )


def find_job(state: State, namespace: str, name: str) -> Job:
    """Return the job that holds a name, or refuse with `job_not_found`."""
    job = state.job(namespace, name)
    if job is None:
        raise not_found("job", name)
    return job


def stop_job(state: State, namespace: str, name: str, check_index: int | None = None) -> Change:
    """Stop all of a job's replicas and keep the job; stopped already: nothing."""
    job = find_job(state, namespace, name)
    _guard(job, name, check_index)
    if job.stopped:
        return NOTHING
    return Change((JobStopped(job.uid, namespace, name),), (job_stream(namespace, name),))


def delete_job(state: State, namespace: str, name: str, check_index: int | None = None) -> Change:
    """Remove a job and its replicas; its name is free from here on."""
    job = find_job(state, namespace, name)
    _guard(job, name, check_index)
    return Change((JobDeleted(job.uid, namespace, name),), (job_stream(namespace, name),))


def stop_alloc(alloc: Alloc) -> Change:
    """Stop one allocation; its slot is filled again. Over or stopping already: nothing."""
    if alloc.stop_requested or not alloc.live:
        return NOTHING
    event = AllocStopRequested(alloc.id, alloc.namespace, alloc.job)
    return Change((event,), (job_stream(alloc.namespace, alloc.job),))
