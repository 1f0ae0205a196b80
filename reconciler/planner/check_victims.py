"""A linter of what a job stops of others: only what has to make way for it, and may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heroctl.domain.cluster_settings import cluster_settings
from heroctl.domain.events import AllocStopping, Event
from heroctl.domain.records import Job
from heroctl.domain.state import State

_GAP = 10


def is_victim(state: State, job: Job, event: Event) -> bool:
    """Tell whether an event stops a replica of another job."""
    if not isinstance(event, AllocStopping) or event.reason != "preempted":
        return False
    alloc = state.allocs.get(event.alloc)
    return alloc is not None and alloc.uid != job.uid


def broken_victims(state: State, job: Job, events: Sequence[Event], stopped: set[str]) -> Iterator[str]:
    """Say which of them may not be stopped; `stopped`: those that other pieces of the plan stop, and now these."""
    for event in events:
        if not isinstance(event, AllocStopping):
            continue
        if event.alloc in stopped:
            yield f"{event.alloc} is stopped twice"
        stopped.add(event.alloc)
        if not is_victim(state, job, event):
            continue
        alloc = state.allocs[event.alloc]
        other = state.jobs[alloc.uid].current
        if not alloc.live or event.by != f"{job.namespace}/{job.name}":
            yield f"{event.alloc} has nothing to make way with"
        if other.priority + _GAP > job.current.priority or other.type == "system":
            yield f"{event.alloc}, of priority {other.priority}, need not make way for {job.current.priority}"
        if not cluster_settings(state).preemption or not job.wanted:
            yield f"{event.alloc} is to make way, and preemption is off"
