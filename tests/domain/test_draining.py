"""Emptying nodes, letting go of unknown containers, the word on the brake, asking for a rebalance: their fold."""

from __future__ import annotations

import pytest

from heroctl.domain import events as e
from heroctl.domain.assignment import Capacity, Inventory, Report, SessionRequest
from heroctl.domain.draining import leaving, remaining
from heroctl.domain.errors import Conflict, NotFound
from heroctl.domain.intents import balance, drains, jobs, nodes
from heroctl.domain.intents.change import NOTHING
from heroctl.domain.records import Alloc, Drain, Drained, Node
from heroctl.domain.topics import CLUSTER, node_topic
from tests.domain.worlds import World


def _two() -> tuple[World, Node, list[Alloc]]:
    world = World()
    node = world.node()
    job = world.submit(count=2)
    return world, node, [world.place(job, node, slot) for slot in range(2)]


def _ended(world: World, alloc: Alloc) -> None:
    node = world.state.nodes[alloc.node]
    assert world.report(node, Report(alloc.id, attempt=1, phase="complete")) == ["ok"]


def test_a_drain_makes_its_node_ineligible_with_the_same_event() -> None:
    world, node, _ = _two()
    change = drains.drain_node(node, 60, ignore_system=False)
    assert (change.moves, len(change.events)) == ((f"node:{node.id}",), 1)
    world.do(change)
    now = world.state.nodes[node.id]
    assert (now.eligible, now.status, remaining(world.state, node.id)) == (False, "draining", 2)
    assert now.drain == Drain(world.state.time, world.state.time + 60_000, ignore_system=False, index=world.state.index)
    assert {CLUSTER, node_topic(node.id)} <= world.touched


def test_said_again_it_is_the_same_drain_with_another_deadline() -> None:
    world, node, _ = _two()
    world.do(drains.drain_node(node, 60, ignore_system=False))
    first = world.state.nodes[node.id].drain
    assert first is not None
    world.do(drains.drain_node(node, None, ignore_system=True), seconds=5)
    assert world.state.nodes[node.id].drain == Drain(first.started_at, None, ignore_system=True, index=first.index)


def test_what_leaves_is_counted_by_how_it_left() -> None:
    """What was leaving before the drain began is none of its business."""
    world, node, (left, late) = _two()
    early = world.place(world.submit(job="other"), node)
    world.add(e.AllocStopping(early.id, "default", "other", "requested"))
    world.do(drains.drain_node(node, 60, ignore_system=False))
    world.add(e.AllocStopping(late.id, "default", "web", "drain_deadline"))
    for alloc in (early, left, late):
        _ended(world, alloc)
    drain = world.state.nodes[node.id].drain
    assert drain is not None
    assert (drain.moved, drain.stopped, remaining(world.state, node.id)) == (1, 1, 0)
    world.add(e.NodeDrainFinished(node.id, "n1", drain.moved, drain.stopped))
    now = world.state.nodes[node.id]
    assert (now.drain, now.eligible, now.status) == (None, False, "ready")
    assert now.drained == Drained(drain.started_at, world.state.time, 1, 1)


def test_a_cancel_gives_the_node_back_unless_told_otherwise() -> None:
    world, node, _ = _two()
    assert drains.cancel_drain(node, eligible=True) == NOTHING
    for eligible in (True, False):
        world.do(drains.drain_node(node, 60, ignore_system=False))
        world.do(drains.cancel_drain(world.state.nodes[node.id], eligible=eligible))
        now = world.state.nodes[node.id]
        assert (now.drain, now.eligible, now.status) == (None, eligible, "ready")


def test_a_node_that_is_emptied_cannot_be_made_eligible() -> None:
    world, node, _ = _two()
    world.do(drains.drain_node(node, 60, ignore_system=False))
    draining = world.state.nodes[node.id]
    with pytest.raises(Conflict) as refused:
        nodes.set_eligibility(draining, eligible=True)
    assert refused.value.code == "node_draining"
    assert nodes.set_eligibility(draining, eligible=False) == NOTHING


def test_all_on_a_node_leaves() -> None:
    world, node, allocs = _two()
    assert [each.id for each in leaving(world.state, node.id, ignore_system=True)] == [each.id for each in allocs]
    assert remaining(world.state, node.id) == 0, "it is not drained"


def _told(world: World, node: Node, *unknown: str) -> Node:
    request = SessionRequest("boot-n1", Inventory(unknown=list(unknown)), Capacity(), {}, "10.0.0.1")
    world.do(nodes.open_session(world.state, node.id, request, beating=False))
    return world.state.nodes[node.id]


def test_unknown_containers_are_released_by_name_or_all() -> None:
    world = World()
    node = _told(world, world.node(), "c1", "c2", "c3")
    world.do(drains.release_containers(node, ["c2"]))
    node = world.state.nodes[node.id]
    assert (node.unknown, node.released) == (("c1", "c2", "c3"), ("c2",))
    assert drains.release_containers(node, ["c2"]) == NOTHING
    with pytest.raises(NotFound) as refused:
        drains.release_containers(node, ["c1", "stranger"])
    assert refused.value.code == "container_not_found"
    world.do(drains.release_containers(node, None))
    assert world.state.nodes[node.id].released == ("c1", "c2", "c3")


def test_what_is_gone_is_not_released_any_more() -> None:
    world = World()
    node = _told(world, world.node(), "c1", "c2")
    world.do(drains.release_containers(node, None))
    node = _told(world, world.state.nodes[node.id], "c2", "c4")
    assert (node.unknown, node.released) == (("c2", "c4"), ("c2",))
    node = _told(world, node)
    assert (node.unknown, node.released) == ((), ())


def test_an_operator_holds_the_brake_and_lets_it_go() -> None:
    world = World()
    assert balance.set_brake(world.state, on=False) == NOTHING
    world.do(balance.set_brake(world.state, on=True))
    assert (world.state.brake, world.state.brake_wanted) == (False, True)
    assert balance.set_brake(world.state, on=True) == NOTHING
    world.add(e.BrakeOn(0, 2, "operator"))
    world.do(balance.set_brake(world.state, on=False))
    assert (world.state.brake, world.state.brake_wanted) == (True, False)
    assert balance.set_brake(world.state, on=False) == NOTHING
    world.add(e.BrakeOff("operator"))
    assert (world.state.brake, world.state.brake_wanted) == (False, None)


def test_a_brake_that_was_never_on_is_let_go_at_once() -> None:
    world = World()
    world.do(balance.set_brake(world.state, on=True))
    world.do(balance.set_brake(world.state, on=False))
    assert world.state.brake_wanted is None


def test_a_rebalance_is_asked_for_once_until_it_has_ended() -> None:
    world = World()
    job = world.submit()
    world.do(balance.rebalance_job(job))
    job = world.state.jobs[job.uid]
    assert (job.rebalance, balance.rebalance_job(job)) == (world.state.index, NOTHING)
    world.add(e.JobRebalanced(job.uid, "default", "web", 1))
    job = world.state.jobs[job.uid]
    assert (job.rebalance, job.rebalanced) == (0, world.state.index)
    world.do(jobs.stop_job(world.state, "default", "web"))
    with pytest.raises(Conflict) as refused:
        balance.rebalance_job(world.state.jobs[job.uid])
    assert refused.value.code == "job_stopped"


def test_the_first_time_that_a_node_is_up_the_cluster_has_grown() -> None:
    world = World()
    node = world.node()
    grown = world.state.grown
    assert grown
    world.add(e.NodeDown(node.id, "n1", 13.0), e.NodeUp(node.id, "n1"))
    assert world.state.grown == grown
