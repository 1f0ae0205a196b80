"""The linter's rules for batch jobs: what must hold of launches, whatever the planner thought. See `check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heroctl.domain.events import AllocGivenUp, AllocPlaced, Event, JobLaunched, JobLaunchFinished, JobLaunchSkipped
from heroctl.domain.records import Alloc, Job, Launch
from heroctl.domain.state import State, find_launch


def broken_launches(state: State, job: Job, events: Sequence[Event]) -> Iterator[str]:
    """Say what must never be decided about launches."""
    over: set[int] = set()
    scheduled = job.scheduled
    for event in events:
        if isinstance(event, JobLaunched | JobLaunchSkipped):
            yield from _scheduled(state, job, event, scheduled)
            scheduled = event.scheduled_at
        elif isinstance(event, JobLaunchFinished):
            yield from _finished(state, job, event, over)
            over.add(event.launch)
    yield from _placed(state, job, events, over)


def _scheduled(state: State, job: Job, event: JobLaunched | JobLaunchSkipped, scheduled: int) -> Iterator[str]:
    """Each scheduled time is dealt with once, and in order, of a job that is wanted."""
    if event.scheduled_at <= scheduled or not job.wanted or job.type != "batch":
        yield f"{event.TAG} for {event.scheduled_at}, which is over"
    if isinstance(event, JobLaunched) and event.launch != job.launched + 1:
        yield f"launch {event.launch} follows {job.launched}"
    if isinstance(event, JobLaunchSkipped) and _going(state, job, event.launch, set()) is None:
        yield f"launch {event.launch} is over, and cannot be waited for"


def _finished(state: State, job: Job, event: JobLaunchFinished, over: set[int]) -> Iterator[str]:
    """A launch ends once; it is complete when each of its slots has ended well."""
    launch = _going(state, job, event.launch, over)
    version = job.version(launch.version) if launch is not None else None
    if version is None:
        yield f"launch {event.launch} of {job.name} is over"
        return
    mine = (alloc for alloc in state.allocs_of(job.uid) if alloc.launch == event.launch)
    well = {(alloc.task, alloc.slot) for alloc in mine if _well(alloc)}
    missing = [task.name for task in version.tasks if any((task.name, n) not in well for n in range(task.count))]
    if event.status == "complete" and missing:
        yield f"launch {event.launch} is not complete: {', '.join(missing)}"


def _placed(state: State, job: Job, events: Sequence[Event], over: set[int]) -> Iterator[str]:
    """Only a launch that goes on gets replicas: each slot one, and none that ended well or whose last may still run."""
    given_up = {event.alloc for event in events if isinstance(event, AllocGivenUp)}
    placed = [event for event in events if isinstance(event, AllocPlaced)]
    taken = {
        (alloc.launch, alloc.task, alloc.slot): alloc.id
        for alloc in (state.allocs_of(job.uid) if placed else ())
        if _well(alloc) or not (alloc.finished_at is not None or alloc.given_up or alloc.id in given_up)
    }
    for event in placed:
        launch = _going(state, job, event.launch, over)
        version = job.version(event.version) if launch is not None and launch.version == event.version else None
        task = version.task(event.task) if version is not None else None
        if task is None or task.content != event.content or event.slot >= task.count or not job.wanted:
            yield f"launch {event.launch} has no {event.task}[{event.slot}] of version {event.version}"
        slot = (event.launch, event.task, event.slot)
        if slot in taken:
            yield f"{event.task}[{event.slot}] of launch {event.launch} is {taken[slot]}'s"
        taken[slot] = event.id


def _going(state: State, job: Job, number: int, over: set[int]) -> Launch | None:
    launch = find_launch(state, job.uid, number)
    return launch if launch is not None and launch.status == "running" and number not in over else None


def _well(alloc: Alloc) -> bool:
    return alloc.finished_at is not None and alloc.phase == "complete" and alloc.wanted == "run" and not alloc.given_up
