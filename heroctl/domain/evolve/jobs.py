"""Folding what concerns jobs and their deployments."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve import launches
from heroctl.domain.evolve.deployments import begin, close, make, put
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.ids import deployment_id
from heroctl.domain.records import Job, Version
from heroctl.domain.state import State
from heroctl.domain.topics import (
    CAPACITY,
    alloc_topic,
    assignment_topic,
    deployment_topic,
    job_topic,
    service_topic,
)

KEPT_VERSIONS: Final = 20


def _submitted(state: State, event: e.JobSubmitted, touch: Touch) -> None:
    old = state.jobs.get(event.uid) if event.uid else None
    if event.uid and old is None:
        return
    version = Version(
        event.version,
        bytes(event.spec),
        event.tasks,
        event.by,
        created_at=touch.time,
        index=touch.index,
        strategy=event.strategy,
        kind=event.kind,
        of=event.of,
        priority=event.priority,
        type=event.type,
        pinned=old.current.pinned if old is not None and event.kind == "scale" else touch.index,
    )
    deployment = "" if event.type == "batch" else deployment_id(state.incarnation, touch.index)
    if old is None:
        job = _new(event, version, deployment, touch)
        state.names[job.namespace, job.name] = job.uid
    else:
        job = _again(state, old, version, deployment, touch)
        if version.priority < old.current.priority:
            touch.add(CAPACITY)  # others may push it aside now
    if event.type != "batch":
        _follow(state, job, old, touch)
        return
    if old is not None:
        _hand_on_policy(state, old, job.current, touch)
    launches.follow(state, job, old, event, touch)


def _follow(state: State, job: Job, old: Job | None, touch: Touch, revert_of: str = "") -> None:
    """Let a job's newest version follow the one before it."""
    record = make(state, job, old, job.current.kind, touch)
    if old is not None:
        close(state, old.deployment, "superseded", touch)
        _hand_on_policy(state, old, job.current, touch)
    state.jobs[job.uid] = job
    begin(state, replace(record, revert_of=revert_of), touch)
    touch.job(job)
    touch.services(job.namespace, job.name)


def _new(event: e.JobSubmitted, version: Version, deployment: str, touch: Touch) -> Job:
    return Job(
        uid=touch.index,
        namespace=event.namespace,
        name=event.name,
        versions=(version,),
        deployment=deployment,
        created_at=touch.time,
        updated_at=touch.time,
        create_index=touch.index,
        modify_index=touch.index,
        spec_index=touch.index,
    )


def _again(state: State, old: Job, version: Version, deployment: str, touch: Touch) -> Job:
    return replace(
        old,
        versions=_kept(state, old, version),
        deployment=deployment,
        updated_at=touch.time,
        modify_index=touch.index,
        spec_index=touch.index,
        stopped=False,
        blocked=(),
        plan_failures=0,
    )


def _kept(state: State, job: Job, newest: Version) -> tuple[Version, ...]:
    """Keep the newest versions, the stable one, and those that still run somewhere or wait to be started again."""
    versions = (*job.versions, newest)
    if len(versions) <= KEPT_VERSIONS:
        return versions
    running = [alloc for alloc in state.allocs_of(job.uid) if not alloc.terminal]
    needed = {alloc.version for alloc in running} | _deployed(versions, {(one.task, one.content) for one in running})
    needed.update(launches.needed(state, job.uid))
    needed.update(state.allocs[alloc].version for alloc in state.unreplaced.get(job.uid, {}).values())
    if job.stable is not None:
        needed.add(job.stable.version)
    recent = versions[-KEPT_VERSIONS:]
    return tuple(v for v in versions[:-KEPT_VERSIONS] if v.version in needed) + recent


def _deployed(versions: tuple[Version, ...], contents: set[tuple[str, str]]) -> set[int]:
    """Find the versions that say that contents were deployed: it need not be the ones that their replicas came with."""
    found = {
        (task.name, task.content): version.version for version in versions if version.stable for task in version.tasks
    }
    return {found[each] for each in contents if each in found}


def _hand_on_policy(state: State, old: Job, version: Version, touch: Touch) -> None:
    """Agents learn of new health and restart settings for containers that stay as they are."""
    before = {task.name: (task.content, task.policy) for task in old.current.tasks}
    moved = {task.name: task.content for task in version.tasks if before.get(task.name) != (task.content, task.policy)}
    if not moved:
        return
    for alloc in state.allocs_of(old.uid):
        if moved.get(alloc.task) == alloc.content and not alloc.terminal:
            state.allocs[alloc.id] = replace(alloc, assign_index=touch.index)
            touch.add(assignment_topic(alloc.node))


def _restarted(state: State, event: e.JobRestarted, touch: Touch) -> None:
    old = state.jobs.get(event.uid)
    if old is None:
        return
    job = _remade(state, old, event, touch) if event.tasks else old
    if old.type == "batch":
        launches.again(state, job, event, touch)
        return
    deployment = deployment_id(state.incarnation, touch.index)
    job = replace(
        job,
        deployment=deployment,
        renewed=touch.index,
        updated_at=touch.time,
        modify_index=touch.index,
        blocked=(),
        plan_failures=0,
    )
    record = make(state, job, old, "restart", touch)
    close(state, old.deployment, "superseded", touch)
    state.jobs[job.uid] = job
    begin(state, record, touch)
    touch.job(job)


def _repinned(state: State, event: e.JobRepinned, touch: Touch) -> None:
    old = state.jobs.get(event.uid)
    if old is None:
        return
    job = replace(_remade(state, old, event, touch), blocked=(), plan_failures=0)
    if job.type == "batch":
        launches.supply(state, job, old, touch)
    else:
        _follow(state, replace(job, deployment=deployment_id(state.incarnation, touch.index)), old, touch)


def _remade(state: State, old: Job, event: e.JobRepinned | e.JobRestarted, touch: Touch) -> Job:
    """Give a job another version that is the present one, but for what it is made with."""
    version = replace(
        old.current,
        version=event.version,
        tasks=event.tasks,
        by="coordinator" if isinstance(event, e.JobRepinned) else event.by,
        created_at=touch.time,
        index=touch.index,
        stable=False,
        kind="secret" if isinstance(event, e.JobRepinned) else "restart",
        of=None,
        pinned=touch.index,
    )
    index = touch.index
    return replace(
        old, versions=_kept(state, old, version), updated_at=touch.time, modify_index=index, spec_index=index
    )


def _reverted(state: State, event: e.JobReverted, touch: Touch) -> None:
    old = state.jobs.get(event.uid)
    good = old.version(event.of) if old is not None else None
    if old is None or good is None:
        return
    version = replace(
        good,
        version=event.version,
        spec=bytes(event.spec) or good.spec,
        tasks=event.tasks or good.tasks,
        by="coordinator",
        created_at=touch.time,
        index=touch.index,
        stable=False,
        kind="revert",
        of=good.version,
        pinned=touch.index,
    )
    job = _again(state, old, version, deployment_id(state.incarnation, touch.index), touch)
    _follow(state, job, old, touch, revert_of=event.deployment)


def _pinned(state: State, event: e.ImagePinned, touch: Touch) -> None:
    """The image is named from here on; what a version is made from was decided when it was submitted.

    Agents hear of it for when they start a replica again. Those that run are of the same content, and stay.
    """
    job = state.jobs.get(event.uid)
    version = job.version(event.version) if job is not None else None
    task = version.task(event.task) if version is not None else None
    if job is None or task is None:
        return
    for alloc in state.allocs_of(job.uid):
        if (alloc.task, alloc.content) == (task.name, task.content) and alloc.live:
            state.allocs[alloc.id] = replace(alloc, assign_index=touch.index)
            touch.add(assignment_topic(alloc.node))
    versions = tuple(_with_image(v, event.task, event.image) if v.version == event.version else v for v in job.versions)
    job = replace(job, versions=versions, modify_index=touch.index)
    state.jobs[job.uid] = job
    touch.job(job)


def _with_image(version: Version, name: str, image: str) -> Version:
    tasks = tuple(replace(task, image=image) if task.name == name else task for task in version.tasks)
    return replace(version, tasks=tasks)


def _stopped(state: State, event: e.JobStopped, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is not None:
        job = replace(job, stopped=True, blocked=(), plan_failures=0, modify_index=touch.index, updated_at=touch.time)
        close(state, job.deployment, "cancelled", touch, "job_stopped")
        launches.stop_all(state, job.uid, "job_stopped", touch)
        state.jobs[job.uid] = job
        touch.job(job)


def _deleted(state: State, event: e.JobDeleted, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is None:
        return
    job = replace(job, deleted=True, blocked=(), plan_failures=0, modify_index=touch.index, updated_at=touch.time)
    close(state, job.deployment, "cancelled", touch, "job_deleted")
    launches.stop_all(state, job.uid, "job_deleted", touch)
    state.jobs[job.uid] = job
    if state.names.get((job.namespace, job.name)) == job.uid:
        del state.names[job.namespace, job.name]
    touch.job(job)
    touch.services(job.namespace, job.name)
    forget_if_over(state, job.uid, touch)


def forget_if_over(state: State, uid: int, touch: Touch) -> None:
    """Drop the record of a deleted job, and all that hangs on it, once its last allocation is over."""
    job = state.jobs[uid]
    if not job.deleted or any(not alloc.terminal and alloc.node in state.nodes for alloc in state.allocs_of(uid)):
        return
    for alloc in state.by_job.pop(uid, {}):
        del state.allocs[alloc]
        touch.forget(alloc_topic(alloc))
    for deployment in state.job_deployments.pop(uid, ()):
        state.deployments.pop(deployment, None)
        touch.forget(deployment_topic(deployment))
    state.finished.pop(uid, None)
    state.unreplaced.pop(uid, None)
    state.launches.pop(uid, None)
    state.ended.pop(uid, None)
    del state.jobs[uid]
    if (job.namespace, job.name) not in state.names:
        touch.forget(job_topic(job.namespace, job.name))
        touch.forget(service_topic(job.namespace, job.name))


def _blocked(state: State, event: e.JobBlocked, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is not None:
        job = replace(job, blocked=event.reasons, modify_index=touch.index)
        state.jobs[job.uid] = job
        touch.job(job)


def _plan_failed(state: State, event: e.JobPlanFailed, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is None:
        return
    failures = job.plan_failures + 1 if job.plan_release == event.release else 1
    job = replace(job, plan_failures=failures, plan_release=event.release, modify_index=touch.index)
    if job.quarantined(event.release):
        job = replace(job, blocked=(f"quarantined: planning it failed {failures} times: {event.error}",))
    state.jobs[job.uid] = job
    touch.job(job)


def release_quarantine(state: State, uid: int, touch: Touch) -> None:
    """Let a job be planned again: a user wants something of it."""
    job = state.jobs[uid]
    if job.plan_failures:
        state.jobs[uid] = replace(job, plan_failures=0, blocked=(), modify_index=touch.index)


def _deployment_finished(state: State, event: e.DeploymentFinished, touch: Touch) -> None:
    deployment = state.deployments.get(event.deployment)
    job = state.jobs.get(event.uid)
    if deployment is None or job is None:
        return
    close(state, event.deployment, event.status, touch, event.reason)
    failed = state.deployments.get(deployment.revert_of)
    if event.status == "successful" and failed is not None:
        put(state, replace(failed, status="reverted"), touch)
    if event.status == "successful":
        versions = tuple(replace(v, stable=True) if v.version == deployment.version else v for v in job.versions)
        job = replace(job, versions=versions)
    job = replace(job, modify_index=touch.index)
    state.jobs[job.uid] = job
    touch.job(job)
    touch.add(CAPACITY)


def _outcome(state: State, event: e.JobDeployed | e.JobFailed, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is not None:
        touch.job(job)
    deployment = state.deployments.get(event.deployment)
    if deployment is not None and isinstance(event, e.JobFailed):
        state.deployments[deployment.id] = replace(deployment, told=True)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.JobSubmitted: _submitted,
    e.JobStopped: _stopped,
    e.JobDeleted: _deleted,
    e.JobRestarted: _restarted,
    e.JobRepinned: _repinned,
    e.JobReverted: _reverted,
    e.ImagePinned: _pinned,
    e.JobBlocked: _blocked,
    e.JobPlanFailed: _plan_failed,
    e.DeploymentFinished: _deployment_finished,
    e.JobDeployed: _outcome,
    e.JobFailed: _outcome,
}
