"""What every fault has to leave alone: one job at rest, another in the middle of a rollout, both while it happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from heroctl.domain.events import (
    AllocGivenUp,
    AllocPlaced,
    AllocStopping,
    DeploymentFinished,
    Event,
    JobDeployed,
    NodeDown,
)
from heroctl.domain.state import State
from tests.e2e.cluster import Cluster, healthy
from tests.e2e.history import healthy as healthy_in
from tests.e2e.history import of_job, records, replay
from tests.e2e.runtimes import Workload
from tests.e2e.specs import job

REPLICAS: Final = 3
Counts = tuple[int, int, int]  # healthy, not over, the highest attempt


@dataclass(slots=True)
class Scenario:
    """Two jobs of three replicas, `…-steady` and `…-rolling`, and what must be true of them."""

    there: Cluster
    name: str
    version: int = 1
    steady: list[Workload] = field(default_factory=list)
    began: int = 0  # the log's head when both were at rest

    @property
    def resting(self) -> str:
        """The job that nobody changes."""
        return f"{self.name}-steady"

    @property
    def rolling(self) -> str:
        """The job that gets new releases."""
        return f"{self.name}-rolling"

    def begin(self) -> None:
        """Bring both jobs to rest."""
        for name in (self.resting, self.rolling):
            self.there.submit(self._spec(name, 1))
        for name in (self.resting, self.rolling):
            self.there.wait_deployed(name, 1)
        self.steady = self.there.wait_running(self.resting, REPLICAS)
        self.began = self.there.wait_quiet(still=0.5)

    def roll(self) -> list[Workload]:
        """Begin the next release and return when a replica of it is healthy: those that are must stay for good."""
        self.version += 1
        self.there.submit(self._spec(self.rolling, self.version))

        def some(allocs: list[dict[str, Any]]) -> bool:
            return any(healthy(alloc, self.version) for alloc in allocs)

        allocs = self.there.client.wait_until("/v1/allocations", some, job=self.rolling, what="half a rollout")
        fresh = {alloc["id"] for alloc in allocs if healthy(alloc, self.version)}
        return [found for found in self.there.running(self.rolling) if found.alloc in fresh]

    def settle(self, rolled: list[Workload], *, timeout: float = 90) -> None:
        """Wait for the end of the rollout; nothing that was healthy and is wanted may have been touched."""
        there = self.there
        there.wait_deployed(self.rolling, self.version, timeout=timeout)
        there.wait_healthy(self.rolling, REPLICAS, version=self.version)
        running = there.wait_running(self.rolling, REPLICAS)
        assert set(rolled) <= set(running), f"of the new release there was {rolled}, now {running}"
        assert {found.version for found in running} == {self.version}
        assert there.running(self.resting) == self.steady, "the job at rest was touched"
        there.wait_healthy(self.resting, REPLICAS)

    def finish(self) -> None:
        """Nothing is left to decide within 30 s, and the log says that nothing was missing or doubled at any time.

        Nothing was decided twice either, and no node was taken for dead.
        """
        self.there.wait_quiet(within=30)

        def look(state: State) -> tuple[Counts, Counts]:
            return counted(state, self.resting), counted(state, self.rolling)

        seen = replay(self.there.postgres.dsn(), look, after=self.began)
        written = [record.event for record in records(self.there.postgres.dsn(), after=self.began)]
        decided = Counter(done for event in written if (done := decision(event)))
        assert [done for done, times in decided.items() if times > 1] == [], "decided twice"
        assert [event for event in written if isinstance(event, NodeDown)] == [], "taken for dead"
        assert {steady for steady, _ in seen} <= {(REPLICAS, REPLICAS, 1)}
        assert all(few >= REPLICAS and most <= REPLICAS + 1 and attempt == 1 for _, (few, most, attempt) in seen), seen

    def _spec(self, name: str, version: int) -> dict[str, Any]:
        restart = {"attempts": 3, "delay": "500ms"}
        return job(self.there.runtime, name, count=REPLICAS, release=str(version), restart=restart)


@contextmanager
def under_fault(there: Cluster, name: str) -> Iterator[Scenario]:
    """Bring one job to rest and another into the middle of a rollout; after the block both must come to a good end."""
    scenario = Scenario(there, name)
    scenario.begin()
    rolled = scenario.roll()
    yield scenario
    scenario.settle(rolled)
    scenario.finish()


def decision(event: Event) -> tuple[str, str] | None:
    """Name what a decision does, and to what: that is decided once and never again."""
    match event:
        case AllocPlaced():
            return event.TAG, event.id
        case AllocStopping() | AllocGivenUp():
            return event.TAG, event.alloc
        case JobDeployed() | DeploymentFinished():
            return event.TAG, event.deployment
        case _:
            return None


def counted(state: State, name: str) -> Counts:
    """Count a job's replicas that are healthy and those that are not over, and find the highest attempt."""
    allocs = list(of_job(state, name))
    return healthy_in(state, name), sum(not alloc.terminal for alloc in allocs), max(alloc.attempt for alloc in allocs)
