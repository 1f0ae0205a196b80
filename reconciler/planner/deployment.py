"""How a deployment ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from heroctl.domain.duration import Duration
from heroctl.domain.events import DeploymentFinished, JobDeployed, JobFailed
from heroctl.domain.state import Alloc, Deployment, Job
from reconciler.planner.draft import Draft
from reconciler.planner.reschedule import NODES_FAULT
from reconciler.planner.slots import cause
from reconciler.planner.task import TaskRollout


def conclude(draft: Draft, tasks: Sequence[TaskRollout]) -> bool:
    """End an active deployment if it is time: successful, or failed. Tells whether it ended."""
    job, deployment = draft.job, draft.deployment
    if deployment is None or not deployment.active:
        return False
    done = [task.done for task in tasks]  # each says when to look again
    if all(done):
        draft.events.append(_finished(job, deployment, "successful"))
        draft.events.append(JobDeployed(job.uid, job.namespace, job.name, deployment.version, deployment.id))
        return True
    reason = _failure(draft, deployment, tasks)
    if reason is None:
        return False
    draft.events.append(_finished(job, deployment, "failed", reason))
    draft.events.append(JobFailed(job.uid, job.namespace, job.name, deployment.version, deployment.id, reason))
    return True


def _finished(
    job: Job, deployment: Deployment, status: Literal["successful", "failed"], reason: str = ""
) -> DeploymentFinished:
    return DeploymentFinished(deployment.id, job.uid, job.namespace, job.name, status, reason)


def _failure(draft: Draft, deployment: Deployment, tasks: Sequence[TaskRollout]) -> str | None:
    """Say why a deployment has failed; None: it has not, and the draft knows when that could be."""
    for task in tasks:
        for alloc in task.allocs:
            if alloc.deployment != deployment.id:
                continue
            reason = _verdict(draft, alloc, task.task.update.healthy_deadline)
            if reason is not None:
                return reason
    patience = max((task.task.update.progress_deadline for task in tasks if not task.done), default=Duration(0))
    if _passed(draft, deployment.progress_at + patience.ms):
        return f"progress_deadline: no replica became healthy for {patience}"
    return None


def _verdict(draft: Draft, alloc: Alloc, deadline: Duration) -> str | None:
    """Say why one replica of a deployment makes it fail."""
    name = f"{alloc.task}[{alloc.slot}]"
    if alloc.terminal and cause(alloc) == "failed" and alloc.reason not in NODES_FAULT:
        return f"replica_failed: {name} {alloc.reason or 'ended'}"
    if not alloc.live or alloc.first_healthy_at is not None or draft.scene.is_down(alloc.node):
        return None
    if _passed(draft, alloc.created_at + deadline.ms):
        return f"healthy_deadline: {name} was not healthy within {deadline}"
    return None


def _passed(draft: Draft, at: int) -> bool:
    if at > draft.scene.now:
        draft.look_again(at)
        return False
    return True
