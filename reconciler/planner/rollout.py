"""What one job needs now: stops, placements, the next step of its update.

Everything is judged anew from the state: who fills each slot, what became of those who did, whether a deployment is
under way. An allocation is *outdated* when its content is not the present version's, or when it was there before the
job's last restart; while a deployment is active, outdated ones are replaced as their strategy says, and only then.
Whatever else leaves a slot empty is filled at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc, Job
from reconciler.planner.batch import decide_batch
from reconciler.planner.depends import waits
from reconciler.planner.deployment import conclude, fail, tell_overdue
from reconciler.planner.draft import Draft
from reconciler.planner.images import pins
from reconciler.planner.lost import lost
from reconciler.planner.rebalance import Task, rebalance
from reconciler.planner.scene import Scene
from reconciler.planner.secrets import repin
from reconciler.planner.system import SystemRollout
from reconciler.planner.task import TaskRollout


def decide(scene: Scene, job: Job) -> Draft:
    """Decide on one job."""
    draft = Draft(scene, job)
    if not job.deleted:
        tell_overdue(draft)
    allocs = [lost(scene, draft, alloc) for alloc in scene.state.allocs_of(job.uid)]
    if not job.wanted:
        reason = "job_deleted" if job.deleted else "job_stopped"
        _stop_all(draft, (alloc for alloc in allocs if alloc.live), reason)
        return draft
    allocs = [draft.stop(alloc, "requested") if alloc.live and alloc.stop_requested else alloc for alloc in allocs]
    draft.events.extend(pins(job, allocs))
    if job.type == "batch":
        if not repin(draft):
            decide_batch(draft, allocs)
        return draft
    tasks = _tasks(draft, allocs)
    draft.slots = {task.name: task.slots for task in tasks}
    if draft.deployment is None or draft.deployment.kind != "revert":
        for task in tasks:
            task.waits = waits(scene, job, task.task, draft.slots)
    if fail(draft, tasks) or repin(draft):
        return draft
    for task in tasks:
        task.settle()
    if draft.cut or conclude(draft, tasks):
        return draft
    for task in tasks:
        task.fill()
    if not draft.cut:
        _tell_blocked(draft, tasks)
        rebalance(draft, [Task(task.task, task.slots) for task in tasks])
    return draft


def _stop_all(draft: Draft, allocs: Iterable[Alloc], reason: str) -> None:
    """Stop allocations, those of the highest slots first."""
    for alloc in sorted(allocs, key=lambda alloc: (-alloc.slot, alloc.n)):
        draft.stop(alloc, reason)


def _tasks(draft: Draft, allocs: list[Alloc]) -> list[TaskRollout]:
    """Sort a job's allocations by the tasks of its present version, and stop those that have no place in it."""
    spec = specs.decode(draft.job.current.spec)
    by_task: dict[str, list[Alloc]] = {task.name: [] for task in spec.tasks}
    removed = []
    for alloc in allocs:
        if alloc.task in by_task:
            by_task[alloc.task].append(alloc)
        elif alloc.live:
            removed.append(alloc)
    _stop_all(draft, removed, "task_removed")
    if draft.job.type == "system":
        return [SystemRollout(draft, task, by_task[task.name]) for task in spec.tasks]
    for task in spec.tasks if allocs else ():
        surplus = (alloc for alloc in by_task[task.name] if alloc.live and alloc.slot >= task.count)
        _stop_all(draft, surplus, "scaled_down")
    return [TaskRollout(draft, task, by_task[task.name]) for task in spec.tasks]


def _tell_blocked(draft: Draft, tasks: list[TaskRollout]) -> None:
    if len(tasks) == 1:
        draft.tell_blocked(tuple(tasks[0].reasons))
    else:
        draft.tell_blocked(tuple(f"{task.name}: {reason}" for task in tasks for reason in task.reasons))
