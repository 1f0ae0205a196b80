"""When a failed replica's slot is filled again."""

from __future__ import annotations

from typing import Final

from heroctl.domain.ids import digest
from heroctl.domain.records import Alloc, Job
from heroctl.domain.spec import Reschedule
from heroctl.domain.state import State

PORT_IN_USE: Final = "port_in_use"
NOT_ALLOWED: Final = "not_allowed"
# An agent will not, or cannot: no place in memory for secrets, no room for the image. It begins anew when that changes.
REFUSALS: Final = frozenset({NOT_ALLOWED, "no_tmpfs", "disk_low"})
NODES_FAULT: Final = frozenset({PORT_IN_USE, *REFUSALS})  # that node takes nothing more; another can do at once
BARRED_MS: Final = 600_000  # how long a node on which a fixed port was in use takes nothing of that job
_SHORTEST_MS: Final = 1_000


def due(alloc: Alloc, policy: Reschedule) -> tuple[int, int] | None:
    """Return when a failed allocation is to be replaced (ms) and how many times that makes; None: never.

    The delay doubles with each time in a row, and begins anew after a healthy run of at least `max_delay`, unless it
    was to come to an end and failed to. Up to an eighth is added by a hash of the id, so that those that failed
    together do not come back together.
    """
    finished = alloc.finished_at or 0
    if alloc.reason in NODES_FAULT:
        return finished, alloc.reschedules
    healthy_from = alloc.first_healthy_at
    ran_long = not alloc.launch and healthy_from is not None and finished - healthy_from >= policy.max_delay.ms
    times = 0 if ran_long else alloc.reschedules
    if times and not policy.unlimited:
        return None
    delay = max(min(policy.delay.ms << min(times, 32), policy.max_delay.ms), _SHORTEST_MS)
    jitter = delay * (int(digest(alloc.id.encode()), 16) % 1024) // 8192
    return finished + delay + jitter, times + 1


def failed_on(state: State, last: Alloc) -> tuple[str, ...]:
    """Name the nodes on which a slot has failed in a row, the last one first, as far as it is remembered.

    Whoever avoided but the last would go back and forth between two bad nodes, and never try the third.
    """
    nodes = {last.node: None}
    one: Alloc | None = last
    for _ in range(last.reschedules):
        one = state.allocs.get(one.replaces) if one is not None else None
        if one is not None and one.phase == "failed":
            nodes[one.node] = None
    return tuple(nodes)


def barred_until(alloc: Alloc) -> int | None:
    """Return until when (ms) an allocation bars its node for its job; None: it does not."""
    if alloc.reason != PORT_IN_USE or alloc.given_up or alloc.finished_at is None:
        return None
    return alloc.finished_at + BARRED_MS


def refusing(state: State, job: Job) -> frozenset[str]:
    """Name the nodes whose agents refuse a job's tasks, or have no room for them, until an agent begins anew."""
    return frozenset(
        alloc.node
        for alloc in state.allocs_of(job.uid)
        if alloc.reason in REFUSALS and alloc.terminal and not alloc.given_up and _still(state, job, alloc)
    )


def _still(state: State, job: Job, alloc: Alloc) -> bool:
    task, node = job.current.task(alloc.task), state.nodes.get(alloc.node)
    return task is not None and task.content == alloc.content and node is not None and node.session < alloc.modify_index
