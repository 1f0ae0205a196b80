"""Batch jobs: launched by a submit, by the clock and by hand, and how launches end."""

from __future__ import annotations

from heroctl.domain import events as e
from heroctl.domain.assignment import Report
from heroctl.domain.evolve.launches import running
from heroctl.domain.intents import jobs, launches
from heroctl.domain.intents.change import Change
from heroctl.domain.records import Alloc, Job, Node
from tests.domain.worlds import World


def tell(world: World) -> None:
    """Tell of two batch jobs: one that is dispatched, one that the clock launches."""
    node = next(node for node in world.state.nodes.values() if node.up)
    plain = world.submit(job="import", type="batch", count=2)
    _ended(world, plain, node, 1, 0)
    _failed(world, plain, node)
    world.add(e.JobRestarted(plain.uid, "default", "import", 1, "tester", 2))
    world.do(_dispatched(world, plain))
    _ended(world, plain, node, 3, 0)
    _ended(world, plain, node, 3, 1)
    world.add(e.JobLaunchFinished(plain.uid, "default", "import", 3, "complete"))
    nightly = world.submit(job="nightly", type="batch", periodic={"cron": "30 2 * * *", "time_zone": "Europe/Berlin"})
    at = world.state.time + 3_600_000
    world.add(e.JobLaunched(nightly.uid, "default", "nightly", 1, 1, at))
    world.add(e.JobLaunchSkipped(nightly.uid, "default", "nightly", 1, at + 3_600_000))
    job = world.state.jobs[nightly.uid]
    world.do(launches.force(job, running(world.state, job.uid), "tester"))
    world.do(jobs.stop_job(world.state, "default", "nightly"))


def _dispatched(world: World, job: Job) -> Change:
    job = world.state.jobs[job.uid]
    return launches.dispatch(job, running(world.state, job.uid), b"\xff row", {"key": "value"}, "tester")


def _ended(world: World, job: Job, node: Node, launch: int, slot: int) -> Alloc:
    alloc = world.place(job, node, slot, launch=launch)
    world.report(node, Report(alloc.id, 1, "complete", exit_code=0))
    return alloc


def _failed(world: World, job: Job, node: Node) -> None:
    """One replica fails on two nodes, and with it its launch."""
    for reschedules in range(2):
        alloc = world.place(job, node, 1, launch=1)
        reason = f"exited {reschedules}"
        world.report(node, Report(alloc.id, 1, "failed", failed_attempt=1, reason=reason, exit_code=3))
    world.add(e.JobLaunchFinished(job.uid, "default", "import", 1, "failed", "main[1] failed with exit code 3"))
