"""What is on a node that is silent: when it is given up, so that its slot may be filled elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc, Job
from reconciler.planner.draft import Draft
from reconciler.planner.liveness import is_back
from reconciler.planner.scene import Scene

GIVEN_UP_AFTER_MS: Final = 5_000  # from node.down; in that time it shows whether many nodes are gone, or we are


def lost(scene: Scene, draft: Draft, alloc: Alloc) -> Alloc:
    """Give up what has been on a silent node for too long. The brake holds that back: it may be us who are cut off.

    A node that has opened a session again is waited for: it is up, or down anew, in a moment.
    """
    if alloc.terminal or alloc.given_up or not scene.is_down(alloc.node):
        return alloc
    at = given_up_at(scene, draft.job, alloc)
    if at is None or is_back(scene.state.nodes[alloc.node]):
        return alloc
    if scene.state.brake:
        draft.waiting = True
    elif scene.now < at:
        draft.look_again(at)
    else:
        return draft.give_up(alloc, "node_lost")
    return alloc


def given_up_at(scene: Scene, job: Job, alloc: Alloc) -> int | None:
    """Say when (ms) one on a node that is down is given up; None: never, unless the node is removed.

    Its agent may not have heard of the newest policy. Where it stops by itself what is given up, the longest time that
    it may have heard of counts.
    """
    policies = list(_policies(job, alloc))
    after = policies[-1].lost_after.ms if policies else 0
    if policies and policies[-1].mode == "keep":
        return None
    after = max([after, *(policy.lost_after.ms for policy in policies if policy.mode == "stop")])
    return (scene.state.nodes[alloc.node].down_at or 0) + GIVEN_UP_AFTER_MS + after


def _policies(job: Job, alloc: Alloc) -> Iterator[specs.OnDisconnect]:
    """Give what the versions said that its agent may hold it to, oldest first."""
    for version in job.versions:
        summary, task = version.task(alloc.task), specs.decode(version.spec).task(alloc.task)
        if summary is not None and task is not None and summary.content == alloc.content:
            yield task.on_disconnect
