"""The part of the made history that is about settings of the cluster, priorities, and volumes that are kept."""

from __future__ import annotations

from heroctl.domain import events as e
from heroctl.domain.assignment import Report
from heroctl.domain.intents.settings import set_settings
from tests.domain.worlds import World


def tell(world: World) -> None:
    """Tell it, of a node and jobs of its own."""
    world.do(set_settings(world.state, {"placement": "spread", "preemption": False}))
    world.do(set_settings(world.state, {"preemption": True}))
    node, low = world.node("n7"), world.submit(job="low", priority=20)
    weak = world.place(low, node, 0)
    world.submit(job="high", priority=90)
    world.add(e.AllocStopping(weak.id, "default", "low", "preempted", "default/high"))
    world.report(node, Report(weak.id, attempt=1, phase="complete", exit_code=0))
    _kept(world, node.id)
    world.add(e.CoordinatorTransferred("r1", "r2"), e.CoordinatorElected("r2", world.state.epoch + 1))
    world.add(e.CoordinatorTransferred("r2", "r1"), e.CoordinatorElected("r1", world.state.epoch + 1))


def _kept(world: World, node: str) -> None:
    job = world.submit(job="keeper", volumes=[{"source": "data", "target": "data"}])
    world.place(job, world.state.nodes[node], volumes=("default/data",))
