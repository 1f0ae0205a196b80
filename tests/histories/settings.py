"""The part of the made history that is about settings of the cluster, priorities, and volumes that are kept."""

from __future__ import annotations

from heroctl.domain import events as e
from heroctl.domain.assignment import Report
from heroctl.domain.ids import allocation_id
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


def _kept(world: World, node: str) -> None:
    job = world.submit(job="keeper", volumes=[{"source": "data", "target": "data"}])
    task = job.current.tasks[0]
    world.add(
        e.AllocPlaced(
            id=allocation_id(world.state.incarnation, job.uid, 1),
            uid=job.uid,
            n=1,
            namespace="default",
            job="keeper",
            task=task.name,
            slot=0,
            version=1,
            content=task.content,
            node=node,
            cpu=0.5,
            memory=256_000_000,
            disk=300_000_000,
            volumes=("default/data",),
            deployment=job.deployment,
        )
    )
