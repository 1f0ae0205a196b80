"""How a deployment goes on and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from heroctl.domain import spec as specs
from heroctl.domain.counts import asked_since, with_counts
from heroctl.domain.duration import Duration
from heroctl.domain.events import DeploymentFinished, DeploymentStepped, JobDeployed, JobFailed, JobReverted
from heroctl.domain.intents.change import job_stream
from heroctl.domain.records import Alloc, Deployment, Job, Version
from reconciler.planner import strategy
from reconciler.planner.draft import Draft
from reconciler.planner.reschedule import NODES_FAULT
from reconciler.planner.slots import cause
from reconciler.planner.task import TaskRollout

_CUT_SHORT: Final = frozenset({"superseded", "cancelled"})


def fail(draft: Draft, tasks: Sequence[TaskRollout]) -> bool:
    """End an active deployment that has failed, before it stops another old replica. Tells whether it did."""
    deployment = draft.deployment
    if deployment is None or not deployment.active:
        return False
    reason = f"failed_by_user: {deployment.fail_reason}" if deployment.fail_reason else None
    if reason is None and deployment.status != "paused":
        reason = _failure(draft, deployment, tasks)
    if reason is not None:
        _fail(draft, deployment, reason)
    return reason is not None


def conclude(draft: Draft, tasks: Sequence[TaskRollout]) -> bool:
    """Move an active deployment on, or end it well, if it is time. Tells whether it did: the rest is for later."""
    deployment = draft.deployment
    if deployment is None or not deployment.active or deployment.status == "paused":
        return False
    done = [task.done for task in tasks]  # each says when to look again
    if all(done):
        _succeed(draft, deployment)
        return True
    return _step(draft, deployment, [task for task in tasks if task.on_trial])


def tell_overdue(draft: Draft) -> None:
    """Tell that a deployment failed whose way back was cut short: by a newer version, or by whoever stopped the job.

    Where the way back goes to its end, that is told then; so each failed deployment is told of once, and never late.
    """
    job, state = draft.job, draft.scene.state
    for known in state.job_deployments.get(job.uid, ()):
        revert = state.deployments[known]
        failed = state.deployments.get(revert.revert_of)
        if failed is not None and not failed.told and revert.status in _CUT_SHORT:
            draft.events.append(_told(job, failed))


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _succeed(draft: Draft, deployment: Deployment) -> None:
    job = draft.job
    draft.events.append(_finished(job, deployment, "successful"))
    if deployment.kind != "revert":
        draft.events.append(JobDeployed(job.uid, job.namespace, job.name, deployment.version, deployment.id))
        return
    failed = draft.scene.state.deployments.get(deployment.revert_of)
    if failed is not None:
        draft.events.append(_told(job, failed, job.current.of))


def _fail(draft: Draft, deployment: Deployment, reason: str) -> None:
    """End a deployment as failed, and go back to the version that was last deployed, if it is another and may be."""
    job = draft.job
    draft.events.append(_finished(job, deployment, "failed", reason))
    good = _way_back(job, deployment)
    if good is not None:
        number = job.current.version + 1
        draft.events.append(_back(job, number, good, deployment))
        draft.moves = (job_stream(job.namespace, job.name),)
        return
    failed = draft.scene.state.deployments.get(deployment.revert_of)
    if failed is not None:
        draft.events.append(_told(job, failed))
    else:
        draft.events.append(JobFailed(job.uid, job.namespace, job.name, deployment.version, deployment.id, reason))


def _way_back(job: Job, deployment: Deployment) -> Version | None:
    """Find the version to go back to. A task that says no says so for its job: a job goes back as a whole."""
    good = job.stable
    if deployment.kind == "revert" or good is None or _contents(good) == _contents(job.current):
        return None
    willing = all(task.update.auto_revert for task in specs.decode(job.current.spec).tasks)
    return good if willing else None


def _back(job: Job, number: int, good: Version, failed: Deployment) -> JobReverted:
    """Go back to a version, with as many replicas as a scale asked for since."""
    event = JobReverted(job.uid, job.namespace, job.name, number, good.version, failed.id)
    counts = asked_since(job, good)
    if not counts:
        return event
    spec, tasks = with_counts(good, counts)
    return replace(event, spec=msgspec.Raw(spec), tasks=tasks)


def _contents(version: Version) -> dict[str, str]:
    return {task.name: task.content for task in version.tasks}


def _finished(
    job: Job, deployment: Deployment, status: Literal["successful", "failed"], reason: str = ""
) -> DeploymentFinished:
    return DeploymentFinished(deployment.id, job.uid, job.namespace, job.name, status, reason)


def _told(job: Job, failed: Deployment, reverted_to: int | None = None) -> JobFailed:
    return JobFailed(job.uid, job.namespace, job.name, failed.version, failed.id, failed.reason, reverted_to)


# ── before the promotion ─────────────────────────────────────────────────────────────────────────────────────────────


def _step(draft: Draft, deployment: Deployment, trials: Sequence[TaskRollout]) -> bool:
    """Take the next step of a trial whose replicas all stand: a greater share, a user's turn, or the promotion."""
    if not trials:
        return False
    canaries = [strategy.canary(task.task.update) for task in trials if task.task.update.strategy == "canary"]
    last = max((len(canary.weights) - 1 for canary in canaries), default=0)
    if deployment.step > last:  # by a user, past the last share
        return _stepped(draft, deployment, last, promoted=True)
    if deployment.status == "awaiting_promotion" or not all(task.stands for task in trials):
        return False
    if not all(strategy.auto_promote(task.task.update) for task in trials):
        return _stepped(draft, deployment, deployment.step, awaiting=True)
    if deployment.step_at is None and canaries:
        return _stepped(draft, deployment, deployment.step)
    if not _passed(draft, (deployment.step_at or 0) + _pause(trials)):
        return False
    return _stepped(draft, deployment, min(deployment.step + 1, last), promoted=deployment.step >= last)


def _pause(trials: Sequence[TaskRollout]) -> int:
    """Return how long (ms) each share of the traffic lasts that nobody ends earlier."""
    updates = [task.task.update for task in trials if task.task.update.strategy == "canary"]
    return max((strategy.canary(update).pause.ms for update in updates), default=0)


def _stepped(
    draft: Draft, deployment: Deployment, step: int, *, awaiting: bool = False, promoted: bool = False
) -> bool:
    job = draft.job
    event = DeploymentStepped(deployment.id, job.uid, job.namespace, job.name, step, awaiting, promoted)
    draft.events.append(event)
    return True


# ── failure ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _failure(draft: Draft, deployment: Deployment, tasks: Sequence[TaskRollout]) -> str | None:
    """Say why a deployment has failed; None: it has not, and the draft knows when that could be."""
    for task in tasks:
        for alloc in task.allocs:
            if alloc.deployment != deployment.id:
                continue
            reason = _verdict(draft, deployment, alloc, task.task.update.healthy_deadline)
            if reason is not None:
                return reason
    busy = [task for task in tasks if not task.done and not task.waits.reasons]
    if deployment.status == "awaiting_promotion" or not busy:
        return None
    patience = max(task.task.update.progress_deadline for task in busy)
    if _passed(draft, _progress_at(deployment, tasks) + patience.ms):
        return f"progress_deadline: no replica became healthy for {patience}"
    return None


def _progress_at(deployment: Deployment, tasks: Sequence[TaskRollout]) -> int:
    """Return since when (ms) a deployment should go on: neither a canary's share nor waiting for others is a delay."""
    trials = [task for task in tasks if task.on_trial]
    at = max(deployment.progress_at, *(task.waits.since for task in tasks))
    return at if deployment.step_at is None or not trials else max(at, deployment.step_at + _pause(trials))


def _verdict(draft: Draft, deployment: Deployment, alloc: Alloc, deadline: Duration) -> str | None:
    """Say why one replica of a deployment makes it fail."""
    if alloc.terminal and cause(alloc) == "failed" and alloc.reason not in NODES_FAULT:
        return f"replica_failed: {alloc.task}[{alloc.slot}] {alloc.reason or 'ended'}"
    if not alloc.live or alloc.first_healthy_at is not None or draft.scene.is_down(alloc.node):
        return None
    if _passed(draft, max(alloc.created_at, deployment.resumed_at or 0) + deadline.ms):
        return f"healthy_deadline: {alloc.task}[{alloc.slot}] was not healthy within {deadline}"
    return None


def _passed(draft: Draft, at: int) -> bool:
    if at > draft.scene.now:
        draft.look_again(at)
        return False
    return True
