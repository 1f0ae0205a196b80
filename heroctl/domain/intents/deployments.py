"""Intents on deployments."""

from __future__ import annotations

from heroctl.domain.errors import Conflict
from heroctl.domain.events import (
    DeploymentFailRequested,
    DeploymentPaused,
    DeploymentPromoted,
    DeploymentResumed,
    Event,
)
from heroctl.domain.intents.change import NOTHING, Change, job_stream
from heroctl.domain.records import Deployment


def promote(deployment: Deployment, *, step: bool = False) -> Change:
    """Let the new version follow the old one: everywhere, or, `step`, as far as the next share of the traffic.

    Promoted already: nothing. Refused before what is to be promoted stands.
    """
    if deployment.promoted and deployment.promoted_at is not None:
        return NOTHING
    _active(deployment)
    if deployment.promoted:
        raise Conflict("not_promotable", f"deployment '{deployment.id}' is not one that waits for a promotion")
    if deployment.step_at is None:
        raise Conflict("not_ready", f"deployment '{deployment.id}': the new replicas are not all healthy yet")
    return _on(deployment, DeploymentPromoted(*_named(deployment), step=step))


def pause(deployment: Deployment) -> Change:
    """Let a deployment stand still; one that does already: nothing."""
    _active(deployment)
    return NOTHING if deployment.status == "paused" else _on(deployment, DeploymentPaused(*_named(deployment)))


def resume(deployment: Deployment) -> Change:
    """Let a paused deployment go on; one that does already: nothing."""
    _active(deployment)
    return NOTHING if deployment.status != "paused" else _on(deployment, DeploymentResumed(*_named(deployment)))


def fail(deployment: Deployment, reason: str = "") -> Change:
    """End a deployment as failed, with the way back that this has; asked for already: nothing."""
    _active(deployment)
    if deployment.fail_reason:
        return NOTHING
    return _on(deployment, DeploymentFailRequested(*_named(deployment), reason=reason))


def _active(deployment: Deployment) -> None:
    if not deployment.active:
        raise Conflict("deployment_over", f"deployment '{deployment.id}' is over: {deployment.status}")


def _named(deployment: Deployment) -> tuple[str, int, str, str]:
    return deployment.id, deployment.uid, deployment.namespace, deployment.job


def _on(deployment: Deployment, event: Event) -> Change:
    return Change((event,), (job_stream(deployment.namespace, deployment.job),))
