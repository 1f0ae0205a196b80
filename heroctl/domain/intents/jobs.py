"""Intents on jobs and their allocations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.counts import asked_since, differ_in_counts_alone, with_counts
from heroctl.domain.errors import Conflict, not_found, too_new
from heroctl.domain.events import AllocStopRequested, JobDeleted, JobRestarted, JobStopped, JobSubmitted, TaskSummary
from heroctl.domain.intents import launches
from heroctl.domain.intents.change import NOTHING, Change, claim_stream, job_stream
from heroctl.domain.intents.secrets import secret_stream
from heroctl.domain.level import beyond
from heroctl.domain.pinning import gone, renewed, summarise
from heroctl.domain.records import Alloc, Job, Version
from heroctl.domain.state import State

NO_IMAGES: Final[Mapping[str, str]] = MappingProxyType({})


def submit_job(
    state: State, spec: specs.Job, by: str, check_index: int | None = None, images: Mapping[str, str] = NO_IMAGES
) -> Change:
    """Make a job so. An equal spec of a job that is wanted, and that could be planned, changes nothing.

    `check_index` is the client's guard: the job's `spec_index` must be it, 0: the job must not exist. `images`: what
    the tags stand for, by task, as far as it is known; the same tag with another image behind it is a change.
    """
    if spec.namespace not in state.namespaces:
        raise not_found("namespace", spec.namespace)
    job = state.job(spec.namespace, spec.name)
    _guard(job, spec.name, check_index)
    if job is not None and not (job.stopped or job.plan_failures) and _stands(job.current, spec, images):
        return NOTHING
    if job is not None and job.type != spec.type:
        said = f"job '{spec.name}' is a {job.type}, and stays one: delete it first, or take another name"
        raise Conflict("job_type_fixed", said)
    late = beyond(spec, state.level)
    if late is not None:
        raise too_new(late)
    tasks = tuple(summarise(state, job, spec.namespace, task, images.get(task.name, "")) for task in spec.tasks)
    event = JobSubmitted(
        uid=job.uid if job else 0,
        namespace=spec.namespace,
        name=spec.name,
        version=job.current.version + 1 if job else 1,
        spec=msgspec.Raw(specs.encode(spec)),
        tasks=tasks,
        by=by,
        strategy=spec.strategy,
        priority=spec.priority,
        type=spec.type,
        launch=launches.following(job) if launches.begins(job, spec, tasks) else 0,
        clock=launches.winds(job, spec),
    )
    reads = (claim_stream("namespace", spec.namespace), *_secrets(spec.namespace, tasks))
    return Change((event,), (job_stream(spec.namespace, spec.name),), reads)


def rollback_job(state: State, job: Job, version: int | None, by: str, check_index: int | None = None) -> Change:
    """Repeat an earlier version, to the byte, as a new one; None: the newest that was stable and is another.

    Another one differs in more than counts; and what a scale asked for since then is kept unless the version is named.
    One that is equal to the present one of a job that is wanted changes nothing. Refuses with `secret_version_gone`
    what would have to be made with something else.
    """
    _guard(job, job.name, check_index)
    good = rollback_target(job, version)
    made, tasks = with_counts(good, asked_since(job, good) if version is None else {})
    if job.wanted and not job.plan_failures and (made, tasks) == (job.current.spec, job.current.tasks):
        return NOTHING
    _need_secrets(state, job, good)
    spec = specs.decode(made)
    event = JobSubmitted(
        uid=job.uid,
        namespace=job.namespace,
        name=job.name,
        version=job.current.version + 1,
        spec=msgspec.Raw(made),
        tasks=tasks,
        by=by,
        strategy=good.strategy,
        priority=good.priority,
        kind="rollback",
        of=good.version,
        type=good.type,
        launch=launches.following(job) if launches.begins(job, spec, tasks) else 0,
        clock=launches.winds(job, spec),
    )
    return Change((event,), (job_stream(job.namespace, job.name),), _secrets(job.namespace, good.tasks))


def _need_secrets(state: State, job: Job, version: Version) -> None:
    for name, number in gone(state, job.namespace, version.tasks):
        said = f"version {version.version} of job '{job.name}' was made with version {number} of secret '{name}', which"
        raise Conflict("secret_version_gone", f"{said} was deleted: submit its spec again to use the present one")


def _secrets(namespace: str, tasks: tuple[TaskSummary, ...]) -> tuple[str, ...]:
    """Name the streams of the secrets that tasks are made with: which version of one is the newest was read."""
    return tuple(secret_stream(namespace, name) for name in sorted({name for task in tasks for name, _ in task.pins}))


def rollback_target(job: Job, version: int | None) -> Version:
    """Find the version to go back to; see `rollback_job`. Refuses with `version_not_found`."""
    if version is not None:
        found = job.version(version)
        if found is None:
            raise not_found("version", f"{version} of {job.name}")
        return found
    earlier = (each for each in reversed(job.versions) if each.stable and not differ_in_counts_alone(each, job.current))
    good = next(earlier, None)
    if good is None:
        raise Conflict("no_stable_version", f"job '{job.name}' has no earlier version that was ever deployed: name one")
    return good


def scale_job(job: Job, task: str, count: int, by: str, check_index: int | None = None) -> Change:
    """Run another number of replicas of a task, as a new version that is the present one otherwise."""
    _guard(job, job.name, check_index)
    _running(job)
    if job.type == "system":
        raise Conflict("not_scalable", f"job '{job.name}' runs once on every node that fits: it has no count")
    spec = scaled(job, task, count)
    if not job.plan_failures and spec == specs.decode(job.current.spec):
        return NOTHING
    tasks = tuple(replace(each, count=count) if each.name == task else each for each in job.current.tasks)
    event = JobSubmitted(
        uid=job.uid,
        namespace=job.namespace,
        name=job.name,
        version=job.current.version + 1,
        spec=msgspec.Raw(specs.encode(spec)),
        tasks=tasks,
        by=by,
        strategy=job.current.strategy,
        priority=job.current.priority,
        kind="scale",
        type=job.type,
    )
    return Change((event,), (job_stream(job.namespace, job.name),))


def scaled(job: Job, task: str, count: int) -> specs.Job:
    """Give a job's present spec with another count. Refuses with `task_not_found`."""
    spec = specs.decode(job.current.spec)
    if spec.task(task) is None:
        raise not_found("task", f"{task} of {job.name}")
    return replace(spec, tasks=tuple(replace(each, count=count) if each.name == task else each for each in spec.tasks))


def restart_job(state: State, job: Job, by: str, check_index: int | None = None) -> Change:
    """Replace all replicas by ones of the same version, as a deployment would; of a batch job: launch it again.

    What starts anew starts with the secrets as they are now: where they changed, that is a version of its own.
    """
    _guard(job, job.name, check_index)
    _running(job)
    launch = 0
    if job.type == "batch":
        launches.restartable(job)
        launch = launches.following(job)
    tasks, number = renewed(state, job), job.current.version
    if tasks == job.current.tasks:
        tasks = ()
    else:
        number += 1
    event = JobRestarted(job.uid, job.namespace, job.name, number, by, launch, tasks)
    return Change((event,), (job_stream(job.namespace, job.name),), _secrets(job.namespace, job.current.tasks))


def _running(job: Job) -> None:
    """Who may change how much runs may not start what somebody stopped."""
    if job.stopped:
        raise Conflict("job_stopped", f"job '{job.name}' is stopped: submit it again to start it")


def _stands(version: Version, spec: specs.Job, images: Mapping[str, str]) -> bool:
    """Tell whether a version is what is asked for. A tag that could not be looked up stands for what it stood for."""
    same = all(images.get(task.name, task.image) == task.image for task in version.tasks)
    return same and specs.decode(version.spec) == spec


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
