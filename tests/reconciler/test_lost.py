"""Nodes that fall silent: what becomes of what is on them, as its task says."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain.events import AllocGivenUp
from heroctl.domain.intents import jobs
from heroctl.domain.records import Alloc
from reconciler.planner.explain import explain
from reconciler.planner.place import Fleet
from tests.reconciler.cluster import Cluster


def _silent(**on_disconnect: str) -> tuple[Cluster, Alloc]:
    """Run one replica on one of two nodes, and let that fall silent until it counts as down."""
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name)
    fields: dict[str, Any] = {"on_disconnect": on_disconnect} if on_disconnect else {}
    cluster.run(**fields)
    cluster.settle()
    [alloc] = cluster.live("web")
    cluster.hush(cluster.state.nodes[alloc.node].name)
    cluster.wait(13_000)
    cluster.decide()
    assert cluster.state.nodes[alloc.node].status == "down"
    return cluster, alloc


def _given_up(cluster: Cluster) -> list[str]:
    return [event.alloc for piece in cluster.decide() for event in piece.events if isinstance(event, AllocGivenUp)]


@pytest.mark.parametrize(
    ("on_disconnect", "seconds"),
    [({}, 5), ({"lost_after": "0s"}, 5), ({"lost_after": "10m"}, 605), ({"mode": "stop", "lost_after": "2m"}, 125)],
)
def test_it_is_given_up_so_long_after_the_node_went_down(on_disconnect: dict[str, str], seconds: int) -> None:
    cluster, alloc = _silent(**on_disconnect)
    wake = cluster.look().wake_at
    assert wake is not None
    assert wake <= cluster.clock + seconds * 1000
    cluster.wait(seconds * 1000 - 1)
    assert _given_up(cluster) == []
    cluster.wait(1)
    assert _given_up(cluster) == [alloc.id]
    [other] = cluster.live("web")
    assert other.node != alloc.node


def test_what_is_kept_is_never_given_up() -> None:
    cluster, alloc = _silent(mode="keep")
    cluster.wait(7 * 24 * 3_600_000)
    assert _given_up(cluster) == []
    job = cluster.state.jobs[alloc.uid]
    [slot] = explain(cluster.state, job, cluster.clock, Fleet()).slots
    assert "kept until that node is back, or removed" in slot.words
    cluster.come_back(cluster.state.nodes[alloc.node].name)
    cluster.settle()
    assert [each.id for each in cluster.live("web")] == [alloc.id]


def test_what_is_kept_is_placed_again_when_its_node_is_removed_or_its_user_stops_it() -> None:
    cluster, alloc = _silent(mode="keep")
    cluster.do(jobs.stop_alloc(alloc))
    cluster.decide()
    [other] = cluster.live("web")
    assert other.node != alloc.node
    cluster, alloc = _silent(mode="keep")
    cluster.remove(cluster.state.nodes[alloc.node].name)
    cluster.settle()
    [other] = cluster.live("web")
    assert other.node != alloc.node


def test_who_is_back_is_not_given_up_while_it_has_yet_to_beat() -> None:
    """Its agent has been told to go on: it is up in a moment, or down anew, and then its time begins anew."""
    cluster, alloc = _silent()
    node = alloc.node
    cluster.come_back(cluster.state.nodes[node].name)
    cluster.silent[node] = cluster.clock - 60_000
    cluster.wait(12_999)
    assert _given_up(cluster) == []
    cluster.wait(1)
    assert _given_up(cluster) == []
    assert cluster.state.nodes[node].down_at == cluster.clock, "it is down anew"
    cluster.wait(5_000)
    assert _given_up(cluster) == [alloc.id]


def test_a_give_up_and_a_return_exclude_each_other() -> None:
    cluster, alloc = _silent()
    cluster.wait(5_000)
    [piece] = [each for each in cluster.look().pieces if any(isinstance(one, AllocGivenUp) for one in each.events)]
    assert f"node:{alloc.node}" in piece.expects


def test_a_shorter_time_that_a_silent_agent_cannot_have_heard_of_does_not_count() -> None:
    """It stops by itself when it was told to, so that no two ever run."""
    cluster, alloc = _silent(mode="stop", lost_after="10m")
    cluster.run(on_disconnect={"mode": "stop", "lost_after": "1m"})
    cluster.wait(66_000)
    assert _given_up(cluster) == []
    cluster.wait(539_000)
    assert _given_up(cluster) == [alloc.id]
