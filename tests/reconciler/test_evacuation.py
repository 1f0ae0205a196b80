"""What a drain is told to come to: the planner run ahead for all that is on a node, and nothing promised twice."""

from __future__ import annotations

import pytest

from heroctl.domain.intents import drains
from heroctl.domain.records import Node
from reconciler.planner.evacuation import Departure, evacuation
from reconciler.planner.pausing import whole
from tests.reconciler.cluster import Cluster


def _node(cluster: Cluster, name: str) -> Node:
    return cluster.state.nodes[cluster.state.node_names[name]]


def _ahead(cluster: Cluster, name: str, *, ignore_system: bool = False) -> list[Departure]:
    node = _node(cluster, name)
    events = drains.drain_node(node, None, ignore_system=ignore_system).events
    before = (cluster.state.index, dict(cluster.state.allocs), dict(cluster.state.nodes), dict(cluster.state.usage))
    found = whole(evacuation(cluster.state, node.id, events, cluster.clock, ignore_system=ignore_system))
    after = (cluster.state.index, cluster.state.allocs, cluster.state.nodes, cluster.state.usage)
    assert after == before, "it only looks"
    return found


def _full() -> Cluster:
    """Run two jobs on one node of two; on the other is room for one of them."""
    cluster = Cluster()
    cluster.join("n1", cpu=8)
    for name in ("web", "api"):
        cluster.run(name, resources={"cpu": 3})
    cluster.settle()
    cluster.join("n2", cpu=4)
    cluster.settle()
    return cluster


def test_no_room_is_promised_twice() -> None:
    cluster = _full()
    first, second = _ahead(cluster, "n1")
    assert (first.nodes, first.stays, first.why) == ({_node(cluster, "n2").id: 1}, 0, "")
    assert (second.nodes, second.stays, second.why) == ({}, 1, "no_room")
    assert second.reasons
    assert "exhausted cpu" in second.reasons[0]


def test_what_is_told_is_what_happens() -> None:
    cluster = _full()
    told = {cluster.state.jobs[each.uid].name: each.stays for each in _ahead(cluster, "n1")}
    cluster.do(drains.drain_node(_node(cluster, "n1"), None, ignore_system=False))
    cluster.settle()
    left = {alloc.job for alloc in cluster.state.allocs_on(_node(cluster, "n1").id)}
    assert left == {name for name, stays in told.items() if stays}


def test_who_is_drained_already_is_told_the_same() -> None:
    cluster = _full()
    before = _ahead(cluster, "n1")
    cluster.do(drains.drain_node(_node(cluster, "n1"), None, ignore_system=False))
    assert _ahead(cluster, "n1") == before


def test_an_empty_node_and_one_whose_jobs_nobody_wants_have_nothing_to_tell() -> None:
    cluster = _full()
    assert _ahead(cluster, "n2") == []
    cluster.stop("web")
    cluster.delete("api")
    assert _ahead(cluster, "n1") == []


def test_who_writes_to_a_volume_of_the_node_stays_for_that() -> None:
    cluster = Cluster()
    cluster.join("n1")
    cluster.run("db", volumes=[{"source": "data", "target": "data"}])
    cluster.settle()
    cluster.join("n2")
    [told] = _ahead(cluster, "n1")
    assert (told.nodes, told.stays, told.why, told.reasons) == ({}, 1, "volume", ())


@pytest.mark.parametrize("kind", ["batch", "system"])
def test_jobs_of_other_types_are_counted_and_not_placed(kind: str) -> None:
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name)
    cluster.behaviour["v1"] = "sick"
    cluster.run("other", type=kind)
    cluster.decide()
    home = cluster.state.nodes[cluster.live("other")[0].node].name
    [told] = _ahead(cluster, home)
    assert (told.replicas, told.stays, told.why, told.nodes) == (1, 1, kind, {})
    assert _ahead(cluster, home, ignore_system=True) == ([] if kind == "system" else [told])
