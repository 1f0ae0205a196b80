"""Folding what launches a batch job, what becomes of its replicas, and how a launch ends.

Of a launch that goes on, whoever ended last in a slot is kept, however many there are: what has ended well is not run
again. When it is over they are history like others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.shelf import shelve, shelve_all
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.lifecycle import LaunchStatus
from heroctl.domain.pinning import lacking
from heroctl.domain.records import Alloc, Job, Launch, Version
from heroctl.domain.state import State, find_launch
from heroctl.domain.topics import CAPACITY

KEPT_LAUNCHES: Final = 50
_ONE_AT_A_TIME: Final = frozenset({"submit", "restart"})  # each ends the one before


def begin(state: State, job: Job, launch: Launch, touch: Touch) -> Job:
    """Begin a launch, and return the job that has it. Its number came with the event: an old one begins none."""
    if launch.number <= job.launched:
        return job
    if launch.kind in _ONE_AT_A_TIME:
        for other in running(state, job.uid):
            if other.kind in _ONE_AT_A_TIME:
                _end(state, job.uid, other, touch, status="stopped", reason="superseded")
    known = (*state.launches.get(job.uid, ()), launch)
    old = known[:-KEPT_LAUNCHES]
    state.launches[job.uid] = tuple(each for each in old if each.running) + known[-KEPT_LAUNCHES:]
    job = replace(job, launched=launch.number, modify_index=touch.index)
    state.jobs[job.uid] = job
    touch.job(job)
    return job


def follow(state: State, job: Job, old: Job | None, event: e.JobSubmitted, touch: Touch) -> None:
    """Let a batch job's newest version follow the one before: launches that go on and are of its content have it."""
    if old is not None:
        for launch in running(state, job.uid):
            version = old.version(launch.version)
            if version is not None and contents(version) == contents(job.current):
                _put(state, job.uid, replace(launch, version=job.current.version))
    if event.clock:
        job = replace(job, scheduled=max(job.scheduled, touch.time))
    state.jobs[job.uid] = job
    touch.job(job)
    if event.launch:
        launch = Launch(event.launch, event.version, "submit", event.by, touch.time, touch.index)
        begin(state, job, launch, touch)


def supply(state: State, job: Job, old: Job, touch: Touch) -> None:
    """Let launches go on with a batch job's newest version, made with other secrets, where they lack one.

    Others have begun with what they were made with, and go on with it.
    """
    waits = any(lacking(state, job.namespace, task) for task in old.current.tasks)
    for launch in running(state, job.uid):
        if waits and launch.version == old.current.version:
            _put(state, job.uid, replace(launch, version=job.current.version))
    state.jobs[job.uid] = job
    touch.job(job)


def again(state: State, job: Job, event: e.JobRestarted, touch: Touch) -> None:
    """Launch a batch job once more."""
    launch = Launch(event.launch, job.current.version, "restart", event.by, touch.time, touch.index)
    begin(state, replace(job, blocked=(), plan_failures=0, updated_at=touch.time), launch, touch)


def running(state: State, uid: int) -> list[Launch]:
    """List a job's launches that go on, the oldest first."""
    return [launch for launch in state.launches.get(uid, ()) if launch.running]


def contents(version: Version) -> dict[str, str]:
    """Say what the containers of a version are made from, by task."""
    return {task.name: task.content for task in version.tasks}


def stop_all(state: State, uid: int, reason: str, touch: Touch) -> None:
    """End every launch of a job that nobody wants any more."""
    for launch in running(state, uid):
        _end(state, uid, launch, touch, status="stopped", reason=reason)


def needed(state: State, uid: int) -> Iterable[int]:
    """Name the versions that launches go on with."""
    return (launch.version for launch in running(state, uid))


# ── allocations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def placed(state: State, alloc: Alloc, touch: Touch) -> None:
    """Another one has the slot now: whoever ended in it is history."""
    before = state.ended.get(alloc.uid, {}).pop((alloc.launch, alloc.task, alloc.slot), None)
    if before is not None:
        shelve(state, state.allocs[before], touch)


def ended(state: State, alloc: Alloc, touch: Touch) -> None:
    """Count one that is over, and keep it while its launch goes on, unless a newer one has ended in its slot."""
    launch = find_launch(state, alloc.uid, alloc.launch)
    if launch is None or not launch.running:
        shelve(state, alloc, touch)
        return
    held = state.ended.setdefault(alloc.uid, {})
    slot = alloc.launch, alloc.task, alloc.slot
    before = held.get(slot)
    if before is not None and state.allocs[before].n > alloc.n:
        shelve(state, alloc, touch)
        return
    placed(state, alloc, touch)
    held[slot] = alloc.id
    if alloc.wanted == "run" and not alloc.given_up:
        well = alloc.phase == "complete"
        counted = replace(launch, complete=launch.complete + well, failed=launch.failed + (not well))
        _put(state, alloc.uid, counted)


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _end(state: State, uid: int, launch: Launch, touch: Touch, *, status: LaunchStatus, reason: str) -> None:
    over = replace(launch, status=status, reason=reason, finished_at=touch.time, payload=b"")
    _put(state, uid, over)
    held = state.ended.get(uid, {})
    slots = [slot for slot in held if slot[0] == launch.number]
    shelve_all(state, uid, [held.pop(slot) for slot in slots], touch)


def _put(state: State, uid: int, launch: Launch) -> None:
    known = state.launches.get(uid, ())
    state.launches[uid] = tuple(launch if each.number == launch.number else each for each in known)


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _dispatched(state: State, event: e.JobDispatched, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is None:
        return
    launch = Launch(
        event.launch,
        event.version,
        "force" if event.forced else "dispatch",
        event.by,
        touch.time,
        touch.index,
        payload=event.payload,
        size=len(event.payload),
        meta=tuple(sorted(event.meta.items())),
    )
    blocked = () if job.plan_failures else job.blocked
    begin(state, replace(job, plan_failures=0, blocked=blocked), launch, touch)


def _launched(state: State, event: e.JobLaunched, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is None or event.scheduled_at <= job.scheduled or event.launch <= job.launched:
        return
    at = event.scheduled_at
    launch = Launch(event.launch, event.version, "schedule", "", touch.time, touch.index, scheduled_at=at)
    begin(state, replace(job, scheduled=at), launch, touch)


def _skipped(state: State, event: e.JobLaunchSkipped, touch: Touch) -> None:
    job = state.jobs.get(event.uid)
    if job is None or event.scheduled_at <= job.scheduled:
        return
    launch = find_launch(state, job.uid, event.launch)
    if launch is not None:
        _put(state, job.uid, replace(launch, skipped=launch.skipped + 1, skipped_at=event.scheduled_at))
    job = replace(job, scheduled=event.scheduled_at, modify_index=touch.index)
    state.jobs[job.uid] = job
    touch.job(job)


def _finished(state: State, event: e.JobLaunchFinished, touch: Touch) -> None:
    job, launch = state.jobs.get(event.uid), find_launch(state, event.uid, event.launch)
    if job is None or launch is None or not launch.running:
        return
    _end(state, job.uid, launch, touch, status=event.status, reason=event.reason)
    if event.status == "complete":
        versions = tuple(replace(v, stable=True) if v.version == launch.version else v for v in job.versions)
        job = replace(job, versions=versions)
    job = replace(job, modify_index=touch.index)
    state.jobs[job.uid] = job
    touch.job(job)
    touch.add(CAPACITY)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.JobDispatched: _dispatched,
    e.JobLaunched: _launched,
    e.JobLaunchSkipped: _skipped,
    e.JobLaunchFinished: _finished,
}
