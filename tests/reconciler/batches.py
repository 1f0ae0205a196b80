"""A cluster whose agents run batch jobs: what becomes of a replica is said by its first argument, or for it alone."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from heroctl.domain.assignment import Report
from heroctl.domain.events import Event
from heroctl.domain.evolve.launches import running
from heroctl.domain.intents import jobs, launches
from heroctl.domain.records import Alloc, Job, Launch
from heroctl.domain.state import job_status
from tests.domain.worlds import spec
from tests.reconciler.cluster import Cluster

NODES: Final = ("n1", "n2", "n3")
_E = TypeVar("_E", bound=Event)


class Batches(Cluster):
    """`behaviour` by first argument: `ends` (at once, with 0), `fails`; any other runs for ever."""

    def told(self, kind: type[_E]) -> list[_E]:
        """Give all events of a kind."""
        return [record.event for record in self.records if isinstance(record.event, kind)]

    def batch(self, name: str = "import", args: str = "ends", **fields: Any) -> Job:  # noqa: ANN401 - a spec's fields
        """Submit a batch job of one process task."""
        self.do(jobs.submit_job(self.state, spec(job=name, type="batch", args=[args], **fields), "tester"))
        return self.job(name)

    def job(self, name: str = "import") -> Job:
        """Give a job."""
        job = self.state.job("default", name)
        assert job is not None
        return job

    def status(self, name: str = "import") -> str:
        """Say how a job stands."""
        return job_status(self.state, self.job(name))

    def launches(self, name: str = "import") -> tuple[Launch, ...]:
        """List the kept launches of a job, the oldest first."""
        return self.state.launches.get(self.job(name).uid, ())

    def dispatch(self, name: str = "import", payload: bytes = b"", **meta: str) -> None:
        """Dispatch a job."""
        job = self.job(name)
        self.do(launches.dispatch(job, running(self.state, job.uid), payload, meta, "tester"))

    def force(self, name: str = "import") -> None:
        """Launch a periodic job now."""
        job = self.job(name)
        self.do(launches.force(job, running(self.state, job.uid), "tester"))

    def restart(self, name: str = "import") -> None:
        """Launch a job again."""
        self.do(jobs.restart_job(self.state, self.job(name), "tester"))

    def end(self, alloc: Alloc, code: int = 0) -> None:
        """Report that a replica has ended for good."""
        self.report(self.state.nodes[alloc.node], ending(alloc, code))

    def _act(self, alloc: Alloc) -> Report | None:
        behaviour = self.behaviour.get(self._args(alloc), self._args(alloc))
        if alloc.wanted == "run" and behaviour in ("ends", "fails"):
            return ending(alloc, int(behaviour == "fails"))
        return super()._act(alloc)


def ending(alloc: Alloc, code: int) -> Report:
    """Tell of the end of a replica as its agent would."""
    attempt = max(alloc.attempt, 1)
    if not code:
        return Report(alloc.id, attempt, "complete", exit_code=0)
    return Report(alloc.id, attempt, "failed", failed_attempt=attempt, reason="exited", exit_code=code)


def up(*nodes: str) -> Batches:
    """Bring nodes up, three unless they are named."""
    cluster = Batches()
    for node in nodes or NODES:
        cluster.join(node)
    cluster.decide()
    return cluster
