"""What runs on a node, for who measures it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from agents.desired import Desired
from agents.runtime import Runtime
from agents.worker import Worker


class Running(NamedTuple):
    """An allocation whose container runs, and what it may use: cores, bytes."""

    alloc: str
    container: str
    runtime: Runtime
    cpu: float
    memory: float
    restarts: int


def runs(worker: Worker | None) -> tuple[Runtime, str] | None:
    """Give what runs of an allocation: in which runtime, in which container."""
    if worker is None or worker.record.phase != "running" or not worker.record.container:
        return None
    return worker.runtime, worker.record.container


def running(workers: Iterable[Worker], desired: Desired) -> Iterator[Running]:
    """Name what runs of the allocations that a node holds."""
    for worker in workers:
        record, known = worker.record, desired.known(worker.alloc)
        if record.phase == "running" and record.container and known is not None:
            needs = known.spec.resources
            limits = needs.cpu, float(needs.memory.bytes)
            yield Running(record.alloc, record.container, worker.runtime, *limits, max(0, record.attempt - 1))
