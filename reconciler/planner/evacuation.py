"""What would become of a node's allocations if it were drained: the planner itself, run ahead for each of their jobs.

All of them share one state and one set of nodes, so that no room is promised twice. It ends short of the deadline: what
has found no other place by then is what would have to be stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from typing import Final, Literal

from msgspec import Struct

from heroctl.domain.draining import leaving
from heroctl.domain.events import Event
from heroctl.domain.records import Alloc, Job
from heroctl.domain.state import State
from reconciler.planner.dryrun import DryRun, Outlook, overlay
from reconciler.planner.place import Fleet

Why = Literal["", "no_room", "volume", "batch", "system", "not_looked_at"]
_STAYS: Final[dict[str, Why]] = {"batch": "batch", "system": "system"}


class Departure(Struct, frozen=True):
    """Replicas of one task that are to leave: to which nodes (by id) they go, and how many find no other place.

    `why` those stay: `no_room`, and then `reasons` say what is missing; `volume`: what they write to is on this node;
    `batch`: they may run to their end, or to the deadline; `system`: they have no other node to go to, and are stopped
    last; `not_looked_at`: there was too much.
    """

    uid: int
    task: str
    replicas: int
    nodes: dict[str, int]
    stays: int
    why: Why = ""
    reasons: tuple[str, ...] = ()


def evacuation(
    state: State, node: str, events: Sequence[Event], now: int, *, ignore_system: bool
) -> Generator[None, None, list[Departure]]:
    """Tell what a drain, said by these events, leads to; pause after each pass of the planner."""
    on_it = leaving(state, node, ignore_system=ignore_system)
    there = [alloc for alloc in on_it if alloc.live and state.jobs[alloc.uid].wanted]
    uids = sorted({alloc.uid for alloc in there})
    own, fleet = overlay(state, *uids), Fleet()
    tasks = Counter((alloc.uid, alloc.task) for alloc in there)
    found: list[Departure] = []
    for uid in uids:
        job = own.jobs[uid]
        mine = {task: count for (owner, task), count in sorted(tasks.items()) if owner == uid}
        why = _STAYS.get(job.type, "not_looked_at" if found and found[-1].why == "not_looked_at" else "")
        if why:
            found += [Departure(uid, task, count, {}, count, why) for task, count in mine.items()]
            continue
        outlook = yield from DryRun(own, job, now, fleet).run(job.namespace, job.name, events)
        events = ()
        found += [_departure(own, job, node, task, count, outlook=outlook) for task, count in mine.items()]
    return found


def _departure(state: State, job: Job, node: str, task: str, replicas: int, *, outlook: Outlook) -> Departure:
    left = [alloc for alloc in state.allocs_on(node) if alloc.uid == job.uid and alloc.task == task and alloc.live]
    nodes = outlook.tasks[task].nodes if task in outlook.tasks else {}
    return Departure(
        job.uid, task, replicas, nodes, len(left), _why(left, outlook) if left else "", outlook.blocked if left else ()
    )


def _why(left: Sequence[Alloc], outlook: Outlook) -> Why:
    if outlook.truncated or outlook.fault is not None:
        return "not_looked_at"
    return "volume" if not outlook.blocked and all(alloc.volumes for alloc in left) else "no_room"
