"""Services: where the healthy replicas of each task's ports are found.

A replica is an instance while it runs, is healthy, on a node that is up, and has not been told to stop: whoever leaves
is out of here before it is asked to end. The topics of services move when this does, and with new versions of jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from heroctl.domain import spec as specs
from heroctl.domain.records import Alloc, Job
from heroctl.domain.state import State


class Service(NamedTuple):
    """What a task of a job offers at one of its ports, and who offers it, oldest first."""

    job: Job
    task: str
    port: str
    instances: tuple[Alloc, ...]


def services(state: State, job: Job) -> Iterator[Service]:
    """Give the services of a job, those too that nobody offers now."""
    serving = [alloc for alloc in state.allocs_of(job.uid) if is_serving(alloc) and _reachable(state, alloc)]
    for task in specs.decode(job.current.spec).tasks:
        mine = [alloc for alloc in serving if alloc.task == task.name]
        for port in task.ports:
            yield Service(job, task.name, port, tuple(alloc for alloc in mine if port_of(alloc, port)))


def instances(state: State, job: Job, task: str, port: str) -> tuple[Alloc, ...]:
    """Give those who offer one service."""
    return tuple(
        alloc
        for alloc in state.allocs_of(job.uid)
        if alloc.task == task and is_serving(alloc) and _reachable(state, alloc) and port_of(alloc, port)
    )


def is_serving(alloc: Alloc) -> bool:
    """Tell whether a replica offers its ports, as far as its agent can tell."""
    return alloc.health == "healthy" and alloc.phase == "running" and alloc.live and bool(alloc.ports)


def offers(alloc: Alloc) -> tuple[str, tuple[tuple[str, int], ...]] | None:
    """Return where a replica offers what; None: it offers nothing."""
    return (alloc.address, alloc.ports) if is_serving(alloc) else None


def port_of(alloc: Alloc, name: str) -> int:
    """Return the host's port that leads to a named one of a replica; 0: there is none."""
    return next((port for known, port in alloc.ports if known == name), 0)


def _reachable(state: State, alloc: Alloc) -> bool:
    node = state.nodes.get(alloc.node)
    return node is not None and node.up is True
