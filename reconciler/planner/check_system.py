"""The linter's rules for system jobs: what must hold of their replicas, whatever the planner thought. See `check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heroctl.domain.events import AllocGivenUp, AllocPlaced, AllocStopping, DeploymentFinished, Event
from heroctl.domain.records import Alloc, Job
from heroctl.domain.state import State


def broken_seats(state: State, job: Job, events: Sequence[Event]) -> Iterator[str]:
    """Say what must never be decided: two of a kind on one node, or one version deployed that is not everywhere."""
    ended = {event.alloc for event in events if isinstance(event, AllocStopping | AllocGivenUp)}
    left = [alloc for alloc in state.allocs_of(job.uid) if alloc.live and alloc.id not in ended]
    there = {(alloc.task, alloc.node, alloc.content, alloc.create_index > job.renewed): alloc.id for alloc in left}
    crowd = [(alloc.task, alloc.node) for alloc in left]
    for event in events:
        if not isinstance(event, AllocPlaced):
            continue
        kind = event.task, event.node, event.content, True
        if kind in there or crowd.count(kind[:2]) > 1:
            yield f"{event.id} is one too many of {event.task} on {event.node}"
        there[kind] = event.id
        crowd.append(kind[:2])
        before = state.allocs.get(event.replaces)
        if before is not None and before.node in state.nodes and before.node != event.node:
            yield f"{event.id} replaces {before.id}, which is another node's"
    if any(isinstance(event, DeploymentFinished) and event.status == "successful" for event in events):
        yield from (
            f"not deployed: {alloc.id} is outdated or not healthy" for alloc in left if _lags(state, job, alloc)
        )


def _lags(state: State, job: Job, alloc: Alloc) -> bool:
    task, node = job.current.task(alloc.task), state.nodes[alloc.node]
    if not (node.up and node.eligible):
        return False
    fresh = task is not None and task.content == alloc.content and alloc.create_index > job.renewed
    return not fresh or alloc.health != "healthy"
