"""Folding what happens to a deployment from its beginning to its end."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.lifecycle import DeploymentKind, DeploymentStatus
from heroctl.domain.records import Deployment, Job
from heroctl.domain.state import State
from heroctl.domain.topics import deployment_topic, deployment_topics

KEPT_DEPLOYMENTS: Final = 10
_ROLLED_OUT: Final = frozenset({"submit", "restart", "secret"})  # by the strategy, as something new


def make(state: State, job: Job, old: Job | None, kind: DeploymentKind, touch: Touch) -> Deployment:
    """Make the record of a deployment that begins.

    What repeats a version that was good is promoted from the start. So is what has nothing to be compared with. More
    or fewer replicas change nothing about what is being tried, nor about what failed its trial: nobody promoted it.
    """
    before = state.deployments.get(old.deployment) if old is not None else None
    trying = before is not None and not before.promoted and (before.active or before.status == "failed")
    strategy = job.current.strategy if kind in _ROLLED_OUT | {"scale"} else "rolling"
    fresh = kind not in _ROLLED_OUT and not (kind == "scale" and trying)
    record = Deployment(
        id=job.deployment,
        uid=job.uid,
        namespace=job.namespace,
        job=job.name,
        version=job.current.version,
        previous_version=old.current.version if old else None,
        created_at=touch.time,
        progress_at=touch.time,
        create_index=touch.index,
        modify_index=touch.index,
        topics=deployment_topics(job.deployment, job.name),
        strategy=strategy,
        kind=kind,
        promoted=fresh or old is None or not old.wanted or strategy == "rolling",
    )
    return _carried_on(record, before) if kind == "scale" and before is not None else record


def _carried_on(record: Deployment, before: Deployment) -> Deployment:
    """Let what was under way when a job was scaled go on where it stood: a trial at its share, paused if it was so.

    What everything new has to stand for is judged anew: there may be more of it now. An old set stands by no longer,
    and no shorter, than it was to.
    """
    if not before.active:
        over = before.status == "successful" or before.kind == "scale"
        return replace(record, promoted_at=before.promoted_at) if record.promoted and over else record
    status: DeploymentStatus = "paused" if before.status == "paused" else record.status
    record = replace(record, status=status, fail_reason=before.fail_reason)
    if record.promoted:
        return replace(record, promoted_at=before.promoted_at)
    step, step_at = (before.step, before.step_at) if record.strategy == "canary" else (0, None)
    return replace(record, step=step, step_at=step_at)


def begin(state: State, record: Deployment, touch: Touch) -> None:
    """Keep the record of a deployment that begins, and forget the oldest of too many."""
    known = (*state.job_deployments.get(record.uid, ()), record.id)
    for gone in known[:-KEPT_DEPLOYMENTS]:
        state.deployments.pop(gone, None)
        touch.forget(deployment_topic(gone))
    state.job_deployments[record.uid] = known[-KEPT_DEPLOYMENTS:]
    state.deployments[record.id] = record
    touch.deployment(record)


def close(state: State, deployment: str, status: DeploymentStatus, touch: Touch, reason: str = "") -> None:
    """End a deployment that goes on."""
    record = state.deployments.get(deployment)
    if record is not None and record.active:
        record = replace(record, status=status, reason=reason, modify_index=touch.index)
        state.deployments[deployment] = record
        touch.deployment(record)


def put(state: State, record: Deployment, touch: Touch) -> None:
    """Keep a record anew."""
    record = replace(record, modify_index=touch.index)
    state.deployments[record.id] = record
    touch.deployment(record)
    job = state.jobs.get(record.uid)
    if job is not None:
        touch.job(job)


def _active(state: State, deployment: str) -> Deployment | None:
    record = state.deployments.get(deployment)
    return record if record is not None and record.active else None


def _promoted(state: State, event: e.DeploymentPromoted, touch: Touch) -> None:
    record = _active(state, event.deployment)
    if record is None or record.promoted:
        return
    if event.step:
        record = replace(record, step=record.step + 1, step_at=touch.time)
    else:
        record = replace(record, promoted=True, promoted_at=touch.time)
    status: DeploymentStatus = "paused" if record.status == "paused" else "running"
    put(state, replace(record, status=status, progress_at=touch.time), touch)


def _stepped(state: State, event: e.DeploymentStepped, touch: Touch) -> None:
    record = _active(state, event.deployment)
    if record is None:
        return
    if event.promoted:
        record = replace(record, promoted=True, promoted_at=touch.time, progress_at=touch.time)
    step_at = record.step_at if record.step_at is not None and record.step == event.step else touch.time
    status: DeploymentStatus = "awaiting_promotion" if event.awaiting else "running"
    put(state, replace(record, step=event.step, step_at=step_at, status=status), touch)


def _paused(state: State, event: e.DeploymentPaused, touch: Touch) -> None:
    record = _active(state, event.deployment)
    if record is not None:
        put(state, replace(record, status="paused"), touch)


def _resumed(state: State, event: e.DeploymentResumed, touch: Touch) -> None:
    record = _active(state, event.deployment)
    if record is not None and record.status == "paused":
        step_at = touch.time if record.step_at is not None else None
        now = touch.time
        put(state, replace(record, status="running", progress_at=now, resumed_at=now, step_at=step_at), touch)


def _fail_requested(state: State, event: e.DeploymentFailRequested, touch: Touch) -> None:
    record = _active(state, event.deployment)
    if record is not None:
        put(state, replace(record, fail_reason=event.reason or "requested"), touch)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.DeploymentPromoted: _promoted,
    e.DeploymentStepped: _stepped,
    e.DeploymentPaused: _paused,
    e.DeploymentResumed: _resumed,
    e.DeploymentFailRequested: _fail_requested,
}
