"""What a task waits for before its replicas are first placed: other tasks of its job, and other jobs.

A dependency gates first starts and nothing else: a replica of the wanted version in a slot where none of it ran yet.
It stops nothing, and what ran once is replaced whatever became of the dependency. A job that goes back to its last
good version waits for nobody.

- A task of the same job has got so far when its replicas *of the same version* have: versions go out in this order.
- Another job has got so far when each of its slots has a replica, of whatever version, that has; a system job, when
  all its replicas have, and there is one; a batch job by its newest launch.
- Whoever ended well has got as far as can be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from heroctl.domain import spec as specs
from heroctl.domain.dependencies import circle
from heroctl.domain.records import Alloc, Job
from heroctl.domain.spec import Dependency
from heroctl.domain.topics import job_topic
from reconciler.planner.scene import Scene
from reconciler.planner.slots import Slot


class Waits(Struct, frozen=True):
    """What a task waits for: in words, and the topics to watch. Where that is nothing: since when (ms) all is there."""

    reasons: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    since: int = 0


NOTHING = Waits()


def waits(scene: Scene, job: Job, task: specs.Task, slots: Mapping[str, Sequence[Slot]]) -> Waits:
    """Look what a task waits for. `slots`: those of its job's tasks, by name."""
    if not task.depends_on:
        return NOTHING
    found = [_Look(scene, job, each).waits(slots) for each in task.depends_on]
    return Waits(
        tuple(reason for each in found for reason in each.reasons),
        tuple(topic for each in found for topic in each.topics),
        max(each.since for each in found),
    )


class _Look:
    def __init__(self, scene: Scene, job: Job, dependency: Dependency) -> None:
        self._scene = scene
        self._job = job
        self._condition = dependency.condition
        self._dependency = dependency

    def waits(self, slots: Mapping[str, Sequence[Slot]]) -> Waits:
        task, job = self._dependency.task, self._dependency.job
        if job is not None:
            return self._of_job(job)
        return self._judged(self._job.name, {task or "": self._of_task(slots.get(task or "", ()))})

    def _of_task(self, slots: Iterable[Slot]) -> list[int | None]:
        return [self._reached(slot.old or slot.fresh if slot.stage == "keep" else _fresh(slot)) for slot in slots]

    def _of_job(self, name: str) -> Waits:
        topic = job_topic(self._job.namespace, name)
        other = self._scene.state.job(self._job.namespace, name)
        if other is None:
            return Waits((f"waits for job {name}, which does not exist",), (topic,))
        if not other.wanted:
            return Waits((f"waits for job {name}, which is stopped",), (topic,))
        found = self._judged(name, dict(self._tasks(other)))
        around = circle(self._scene.state, self._job.namespace, self._job.name, self._job.current.spec)
        if found.reasons and name in around:
            found = Waits(
                tuple(f"{reason}, and they wait for each other: {', '.join(around)}" for reason in found.reasons)
            )
        return Waits(found.reasons, (topic,), found.since)

    def _tasks(self, other: Job) -> Iterator[tuple[str, list[int | None]]]:
        """Give the tasks of another job, each with the moments (ms) since which its slots have got so far."""
        spec = specs.decode(other.current.spec)
        launch = next(reversed(self._scene.state.launches.get(other.uid, ())), None)
        for task in spec.tasks:
            if launch is not None and launch.status == "complete":
                yield task.name, [launch.finished_at or 0]
                continue
            filled: dict[int, list[int | None]] = {}
            for alloc in self._scene.state.allocs_of(other.uid):
                if alloc.task == task.name and (alloc.live or spec.type == "batch"):
                    filled.setdefault(alloc.slot, []).append(self._reached(alloc))
            numbers = filled or {0: []} if spec.type == "system" else range(task.count)
            yield task.name, [_earliest(filled.get(number, ())) for number in numbers]

    def _reached(self, alloc: Alloc | None) -> int | None:
        """Return since when (ms) a replica has got so far; None: it has not."""
        if alloc is None:
            return None
        if alloc.phase == "complete" and alloc.wanted == "run":
            return alloc.finished_at or 0
        if not alloc.live or self._condition == "complete" or self._scene.is_down(alloc.node):
            return None
        if self._condition == "healthy":
            return alloc.healthy_since or 0 if alloc.health == "healthy" else None
        return alloc.started_at or 0 if alloc.phase == "running" else None

    def _judged(self, job: str, tasks: Mapping[str, Sequence[int | None]]) -> Waits:
        lacking = next((name for name, slots in tasks.items() if None in slots), None)
        if lacking is not None:
            return Waits((f"waits for {job}.{lacking} to be {self._condition}",))
        return Waits(since=max((at for slots in tasks.values() for at in slots if at is not None), default=0))


def _fresh(slot: Slot) -> Alloc | None:
    """Give whoever is in a slot as wanted now, or ended there so."""
    return slot.fresh or slot.last_fresh


def _earliest(moments: Iterable[int | None]) -> int | None:
    return min((at for at in moments if at is not None), default=None)
