"""What every fault has to leave alone, in a steady state and in the middle of a rollout, in one scenario."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from heroctl.domain.state import State
from tests.e2e.cluster import Cluster, healthy
from tests.e2e.history import of_job, replay
from tests.e2e.runtimes import Workload
from tests.e2e.specs import job

REPLICAS: Final = 3
Counts = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Before:
    """How things stood when the fault came: `steady` at rest, `rolling` with one replica of the new release healthy."""

    steady: list[Workload]
    rolled: list[Workload]  # of the new release, healthy: final
    index: int


@contextmanager
def under_fault(there: Cluster, name: str) -> Iterator[Before]:
    """Bring one job to rest and another into the middle of a rollout; after the block both must be as they should.

    What was healthy and stays wanted keeps container, start time and attempt; no replica is ever missing or doubled;
    the rollout ends; and within 30 s there is nothing left to decide.
    """
    before = prepare(there, name)
    yield before
    there.wait_deployed(f"{name}-rolling", 2, timeout=90)
    there.wait_healthy(f"{name}-rolling", REPLICAS, version=2)
    rolling = there.wait_running(f"{name}-rolling", REPLICAS)
    assert set(before.rolled) <= set(rolling), "a healthy replica of the new release was touched"
    assert {found.version for found in rolling} == {2}
    assert there.running(f"{name}-steady") == before.steady, "a job at rest was touched"
    there.wait_healthy(f"{name}-steady", REPLICAS)
    there.wait_quiet(within=30)
    assert_history(there, name, before.index)


def prepare(there: Cluster, name: str) -> Before:
    """Bring both jobs there."""
    for kind in ("steady", "rolling"):
        there.submit(job(there.runtime, f"{name}-{kind}", count=REPLICAS))
    for kind in ("steady", "rolling"):
        there.wait_deployed(f"{name}-{kind}", 1)
    steady = there.wait_running(f"{name}-steady", REPLICAS)
    start = there.wait_quiet(still=0.5)
    there.submit(job(there.runtime, f"{name}-rolling", count=REPLICAS, release="two"))
    allocs = there.client.wait_until("/v1/allocations", new_and_healthy, job=f"{name}-rolling", what="half a rollout")
    fresh = {alloc["id"] for alloc in allocs if healthy(alloc, 2)}
    rolled = [found for found in there.running(f"{name}-rolling") if found.alloc in fresh]
    return Before(steady, rolled, start)


def new_and_healthy(allocs: list[dict[str, Any]]) -> bool:
    """Tell whether a replica of the second version is healthy."""
    return any(healthy(alloc, 2) for alloc in allocs)


def assert_history(there: Cluster, name: str, after: int) -> None:
    """Let the log itself say that no attempt was begun twice and that no replica was ever missing or doubled."""

    def look(state: State) -> tuple[Counts, Counts]:
        return counted(state, f"{name}-steady"), counted(state, f"{name}-rolling")

    seen = replay(there.postgres.dsn(), look, after=after)
    assert all(steady == (REPLICAS, REPLICAS, 1) for steady, _ in seen)
    assert min(fewest for _, (fewest, _, _) in seen) >= REPLICAS
    assert max(most for _, (_, most, _) in seen) <= REPLICAS + 1
    assert {attempt for _, (_, _, attempt) in seen} == {1}


def counted(state: State, name: str) -> Counts:
    """Return how many replicas are healthy, how many are not over, and the highest attempt."""
    allocs = list(of_job(state, name))
    good = sum(alloc.live and alloc.phase == "running" and alloc.health == "healthy" for alloc in allocs)
    return good, sum(not alloc.terminal for alloc in allocs), max(alloc.attempt for alloc in allocs)
