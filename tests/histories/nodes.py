"""The part of the made history that is about emptying nodes, the brake, and moving replicas to better ones."""

from __future__ import annotations

from heroctl.domain import events as e
from heroctl.domain.assignment import Report
from heroctl.domain.intents import balance, drains
from tests.domain.worlds import World


def tell(world: World) -> None:
    """Tell it, of nodes and a job of its own."""
    _drained(world)
    _cancelled(world)
    _braked(world)
    _rebalanced(world)


def _drained(world: World) -> None:
    node, job = world.node("n8"), world.submit(job="guest", count=2)
    left, late = (world.place(job, node, slot) for slot in range(2))
    world.add(e.NodeUnknownContainers(node.id, ("c0ffee", "decade")))
    world.do(drains.release_containers(world.state.nodes[node.id], ["decade"]))
    world.do(drains.drain_node(node, 300, ignore_system=False))
    world.do(drains.drain_node(node, 600, ignore_system=True))
    world.add(e.AllocStopping(left.id, "default", "guest", "migrated"))
    world.report(node, Report(left.id, attempt=1, phase="complete", exit_code=0))
    world.add(e.AllocStopping(late.id, "default", "guest", "drain_deadline"))
    world.report(node, Report(late.id, attempt=1, phase="complete", exit_code=137))
    world.add(e.NodeDrainFinished(node.id, "n8", 1, 1))


def _cancelled(world: World) -> None:
    node = world.node("n9")
    world.do(drains.drain_node(node, None, ignore_system=False))
    world.do(drains.cancel_drain(world.state.nodes[node.id], eligible=True))
    world.do(drains.drain_node(world.state.nodes[node.id], 60, ignore_system=False))


def _braked(world: World) -> None:
    world.do(balance.set_brake(world.state, on=True))
    world.add(e.BrakeOn(0, 3, "operator"))
    world.do(balance.set_brake(world.state, on=False))
    world.add(e.BrakeOff("operator"))


def _rebalanced(world: World) -> None:
    job, node = world.submit(job="guest", count=2), world.state.nodes[world.state.node_names["n9"]]
    alloc = world.place(job, node, 1)
    world.do(balance.rebalance_job(world.state.jobs[job.uid]))
    world.add(e.AllocMisplaced(alloc.id, "default", "guest", "rebalance"))
    world.add(e.JobRebalanced(job.uid, "default", "guest", 1))
    world.add(e.JobRebalanceBegun(job.uid, "default", "guest"))
