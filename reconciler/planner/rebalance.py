"""Replicas that would be clearly better on another node: found one by one, and each moved at most once for one wish.

That is what makes it end: a replica that came here by such a move is younger than the wish, and stays; whatever the
prices are, no more moves follow than there were replicas. Only a job at rest is looked at, so that each next move is
judged by what the one before has come to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from heroctl.domain import spec as specs
from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.events import AllocMisplaced, JobRebalanceBegun, JobRebalanced
from heroctl.domain.intents.change import job_stream
from heroctl.domain.records import Alloc, Job
from heroctl.domain.state import State
from reconciler.planner.draft import Draft
from reconciler.planner.moves import is_bound
from reconciler.planner.piece import Piece
from reconciler.planner.shape import RANGE
from reconciler.planner.slots import Slot

GAIN: Final = RANGE // 6  # by so much a node must be better: less is not worth a move
SETTLE_MS: Final = 60_000  # after a node came up first, in which others may come, too
REASON: Final = "rebalance"


class Task(NamedTuple):
    """A task, and its slots as they are."""

    spec: specs.Task
    slots: Sequence[Slot]


def rebalance(draft: Draft, tasks: Sequence[Task]) -> None:
    """Let the next replica of each task move, if the job is to be balanced and at rest; say when none is left.

    While one is ill no other begins to move; and a job of which nothing moves any more is not kept in mind.
    """
    job, scene = draft.job, draft.scene
    if not job.rebalance or draft.events or (draft.deployment is not None and draft.deployment.active):
        return
    if scene.state.brake:
        draft.waiting = True
        return
    chosen = [_worst(draft, task) if _has_turn(draft, task) else None for task in tasks]
    for alloc in chosen:
        if alloc is not None:
            draft.events.append(AllocMisplaced(alloc.id, alloc.namespace, alloc.job, REASON))
    if not draft.events and not any(_goes_on(draft, task) for task in tasks):
        draft.events.append(JobRebalanced(job.uid, job.namespace, job.name, _moved(scene.state, job)))


def begin(state: State, now: int) -> tuple[list[Piece], int | None]:
    """Balance all jobs after a node has joined, one after the other, where the cluster is set so; and when (ms)."""
    if not state.grown or not cluster_settings(state).auto_rebalance:
        return [], None
    due = [job for job in state.jobs.values() if job.wanted and job.type == "service" and _is_due(state, job)]
    if not due or state.brake or any(job.rebalance for job in state.jobs.values()):
        return [], None
    if now < state.grown_at + SETTLE_MS:
        return [], state.grown_at + SETTLE_MS
    job = min(due, key=lambda job: job.uid)
    event = JobRebalanceBegun(job.uid, job.namespace, job.name)
    return [Piece((event,), (job_stream(job.namespace, job.name),))], None


def _is_due(state: State, job: Job) -> bool:
    """Tell whether a job has stood since before a node joined, was not balanced since, and is at rest."""
    deployment = state.deployments.get(job.deployment)
    at_rest = deployment is None or not deployment.active
    return job.create_index < state.grown and job.rebalanced < state.grown and at_rest


def _moving(draft: Draft, task: Task) -> int:
    """Count those that are on their way, or are to leave."""
    misplaced = draft.scene.misplaced
    return sum(1 for slot in task.slots if slot.moves or (slot.fresh is not None and misplaced(slot.fresh)))


def _goes_on(draft: Draft, task: Task) -> bool:
    """Tell whether one is on its way, or will be. One for which others took the room meanwhile stays after all."""
    misplaced, notes = draft.scene.misplaced, draft.notes
    stuck = {slot for (name, slot), note in notes.items() if name == task.spec.name and note.why == "room"}
    return any(
        slot.moves or (slot.number not in stuck and slot.fresh is not None and misplaced(slot.fresh))
        for slot in task.slots
    )


def _has_turn(draft: Draft, task: Task) -> bool:
    """Tell whether one more may move: all are healthy, and not too many are on their way."""
    if is_bound(task.spec) or _moving(draft, task) >= task.spec.migrate.max_parallel:
        return False
    return all(slot.fresh is not None and draft.scene.healthy(slot.fresh) for slot in task.slots)


def _worst(draft: Draft, task: Task) -> Alloc | None:
    """Find the replica that gains most by a move, and enough. Those of one node are alike."""
    stay = [slot.fresh for slot in task.slots if slot.fresh is not None and not draft.scene.misplaced(slot.fresh)]
    elders = {alloc.node: alloc for alloc in reversed(stay) if alloc.create_index < draft.job.rebalance}
    gains: list[tuple[int, int, Alloc]] = []
    with draft.picker(task.spec, Counter(alloc.node for alloc in stay)) as picker:
        for alloc in elders.values():
            prices = picker.compare(alloc)
            if prices is not None and prices[0] - prices[1] >= GAIN:
                gains.append((prices[1] - prices[0], alloc.n, alloc))
    return min(gains)[2] if gains else None


def _moved(state: State, job: Job) -> int:
    """Count the replicas that came by this wish, as far as those before them are remembered."""
    come = (alloc for alloc in state.allocs_of(job.uid) if alloc.live and alloc.create_index > job.rebalance)
    before = (state.allocs.get(alloc.replaces) for alloc in come)
    return sum(1 for alloc in before if alloc is not None and alloc.misplaced)
