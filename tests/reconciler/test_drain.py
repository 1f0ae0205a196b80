"""Draining nodes: what the planner decides for a node as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain import events as e
from heroctl.domain.draining import remaining
from heroctl.domain.intents import deployments, drains, jobs
from heroctl.domain.records import Alloc, Drain, Node
from reconciler.planner.piece import Piece
from tests.reconciler.cluster import Cluster
from tests.reconciler.watched import Watched


def _drain(cluster: Cluster, name: str, seconds: int | None = 60, *, ignore_system: bool = False) -> None:
    cluster.do(drains.drain_node(_node(cluster, name), seconds, ignore_system=ignore_system))


def _node(cluster: Cluster, name: str) -> Node:
    return cluster.state.nodes[cluster.state.node_names[name]]


def _drain_of(cluster: Cluster, name: str) -> Drain:
    drain = _node(cluster, name).drain
    assert drain is not None
    return drain


def _up(*nodes: str, **task: Any) -> Cluster:  # noqa: ANN401 - a spec's fields
    """Run a job on nodes until all is calm."""
    cluster = Cluster()
    for node in nodes:
        cluster.join(node)
    cluster.run(**task)
    cluster.settle()
    return cluster


def _told(pieces: list[Piece]) -> list[str]:
    return [event.TAG for piece in pieces for event in piece.events]


def _on(cluster: Cluster, name: str) -> list[Alloc]:
    return list(cluster.state.allocs_on(_node(cluster, name).id))


def test_an_empty_node_is_drained_at_once_and_stays_ineligible() -> None:
    cluster = Cluster()
    cluster.join("n1")
    cluster.settle()
    _drain(cluster, "n1")
    [piece] = cluster.decide()
    assert piece.events == (e.NodeDrainFinished(_node(cluster, "n1").id, "n1", 0, 0),)
    assert piece.expects == (f"node:{_node(cluster, 'n1').id}",)
    node = _node(cluster, "n1")
    assert (node.status, node.eligible, node.drain) == ("ready", False, None)
    assert cluster.decide() == []


def test_at_the_deadline_what_is_left_is_stopped_and_it_is_over_when_that_has_ended() -> None:
    """Nowhere else is room, so that nothing can leave before."""
    cluster = _up("n1", count=2)
    _drain(cluster, "n1", 60)
    cluster.decide()
    cluster.wait(59_999)
    assert "alloc.stopping" not in _told(cluster.decide())
    cluster.wait(1)
    stops = [event for piece in cluster.decide() for event in piece.events if isinstance(event, e.AllocStopping)]
    assert [stop.reason for stop in stops] == ["drain_deadline"] * 2
    assert (remaining(cluster.state, _node(cluster, "n1").id), _drain_of(cluster, "n1").stopped) == (2, 0)
    cluster.step()
    done = [event for piece in cluster.decide() for event in piece.events if isinstance(event, e.NodeDrainFinished)]
    assert [(each.moved, each.stopped) for each in done] == [(0, 2)]


def test_the_planner_wakes_at_the_next_deadline() -> None:
    cluster = Cluster()
    for number in range(3):
        cluster.join(f"n{number}")
    cluster.run(count=6, resources={"cpu": 2})
    cluster.settle()
    for number, seconds in enumerate((300, 7, None)):
        _drain(cluster, f"n{number}", seconds)
    cluster.decide()
    assert cluster.look().wake_at == cluster.clock + 7_000


def test_a_deadline_of_nothing_stops_all_at_once() -> None:
    cluster = _up("n1", "n2", count=2)
    _drain(cluster, "n1", 0)
    there = len(_on(cluster, "n1"))
    assert _told(cluster.decide()).count("alloc.stopping") == there
    cluster.settle()
    assert not _on(cluster, "n1")
    assert {alloc.node for alloc in cluster.live("web")} == {_node(cluster, "n2").id}


def test_without_a_deadline_nothing_is_ever_forced() -> None:
    cluster = _up("n1", count=1)
    _drain(cluster, "n1", None)
    cluster.wait(30 * 24 * 3600 * 1000)
    assert "alloc.stopping" not in _told(cluster.decide())
    assert _node(cluster, "n1").drain is not None


def test_a_cancel_leaves_what_is_there() -> None:
    cluster = _up("n1", count=2)
    _drain(cluster, "n1", 60)
    cluster.decide()
    cluster.do(drains.cancel_drain(_node(cluster, "n1"), eligible=True))
    cluster.wait(120_000)
    cluster.settle()
    assert (len(cluster.live("web")), _node(cluster, "n1").drained) == (2, None)


def test_a_later_deadline_counts_from_when_it_was_said() -> None:
    cluster = _up("n1")
    _drain(cluster, "n1", 60)
    cluster.wait(50_000)
    _drain(cluster, "n1", 60)
    cluster.wait(59_000)
    assert "alloc.stopping" not in _told(cluster.decide())
    cluster.wait(1_000)
    assert "alloc.stopping" in _told(cluster.decide())


def test_a_node_that_goes_down_is_drained_when_it_is_back_or_removed() -> None:
    """Nobody knows before that its containers are gone."""
    cluster = _up("n1", "n2", count=1, resources={"cpu": 3})
    [alloc] = cluster.live("web")
    [home] = [name for name in ("n1", "n2") if _node(cluster, name).id == alloc.node]
    cluster.hush(home)
    _drain(cluster, home, 600)
    cluster.settle()
    assert (_node(cluster, home).status, _drain_of(cluster, home).moved) == ("down", 0)
    [now] = cluster.live("web")
    assert now.node != alloc.node
    cluster.come_back(home)
    cluster.settle()
    node = _node(cluster, home)
    assert (node.status, node.eligible, node.drain) == ("ready", False, None)
    assert node.drained is not None
    assert node.drained.moved + node.drained.stopped == 1


def test_a_removed_node_is_drained_no_more() -> None:
    cluster = _up("n1")
    _drain(cluster, "n1", 60)
    cluster.decide()
    cluster.remove("n1")
    cluster.settle()
    assert [job.blocked for job in cluster.state.jobs.values()] == [("no nodes",)]


def test_who_is_stopped_by_its_user_has_left_by_itself() -> None:
    cluster = _up("n1", count=2)
    _drain(cluster, "n1", 60)
    cluster.decide()
    cluster.do(jobs.stop_job(cluster.state, "default", "web"))
    cluster.settle()
    drained = _node(cluster, "n1").drained
    assert drained is not None
    assert (drained.moved, drained.stopped) == (2, 0)


def test_nothing_comes_to_a_node_that_is_drained() -> None:
    cluster = Cluster()
    cluster.join("n1")
    cluster.settle()
    cluster.run(count=1)
    _drain(cluster, "n1", None)
    cluster.settle()
    assert not cluster.live("web")
    [job] = cluster.state.jobs.values()
    assert job.blocked == ("1 node: 1 not eligible",)


# ── jobs of other types ──────────────────────────────────────────────────────────────────────────────────────────────


def _jobs_on(cluster: Cluster, name: str) -> set[str]:
    return {alloc.job for alloc in _on(cluster, name)}


def test_what_system_jobs_have_there_goes_last() -> None:
    cluster = Cluster()
    cluster.join("n1")
    cluster.run("watcher", type="system")
    cluster.run("web", count=2)
    cluster.settle()
    cluster.join("n2")
    cluster.settle()
    _drain(cluster, "n1", 600)
    for _ in range(60):
        cluster.decide()
        cluster.step()
        cluster.wait(1_000)
        if "web" in _jobs_on(cluster, "n1"):
            assert [alloc.wanted for alloc in _on(cluster, "n1") if alloc.job == "watcher"] == ["run"]
    assert _on(cluster, "n1") == []
    drained = _node(cluster, "n1").drained
    assert drained is not None
    assert (drained.moved, drained.stopped) == (3, 0)
    assert _jobs_on(cluster, "n2") == {"watcher", "web"}


def test_what_system_jobs_have_there_may_stay() -> None:
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name)
    cluster.run("watcher", type="system")
    cluster.run("web", count=2)
    cluster.settle()
    _drain(cluster, "n1", 30, ignore_system=True)
    cluster.settle()
    assert _node(cluster, "n1").drained is not None
    assert _jobs_on(cluster, "n1") == {"watcher"}
    cluster.wait(60_000)
    cluster.settle()
    assert _jobs_on(cluster, "n1") == {"watcher"}


def test_two_that_fill_a_slot_on_the_same_node_leave_it_by_one() -> None:
    """A restart that is paused has put the new replica beside the old one; what follows the new follows both."""
    cluster = Watched()
    for name in ("n1", "n2"):
        cluster.join(name)
    cluster.run(count=1, update={"min_healthy_time": "0s"})
    cluster.settle()
    job = jobs.find_job(cluster.state, "default", "web")
    [old] = cluster.live("web")
    home = cluster.state.nodes[old.node].name
    cluster.set_eligible("n2" if home == "n1" else "n1", eligible=False)
    cluster.do(jobs.restart_job(cluster.state, job, "tester"))
    cluster.decide()
    [new] = (alloc for alloc in cluster.live("web") if alloc.id != old.id)
    assert new.node == old.node
    cluster.do(deployments.pause(cluster.state.deployments[new.deployment]))
    cluster.set_eligible("n2" if home == "n1" else "n1", eligible=True)
    _drain(cluster, home)
    [placed] = (event for piece in cluster.decide() for event in piece.events if isinstance(event, e.AllocPlaced))
    assert (placed.replaces, placed.node) == (new.id, _node(cluster, "n2" if home == "n1" else "n1").id)
    cluster.settle()
    assert [alloc.id for alloc in cluster.live("web")] == [placed.id]


def test_a_batch_runs_to_the_deadline() -> None:
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name)
    cluster.behaviour["v1"] = "sick"  # it works, and does not end
    cluster.run("report", type="batch")
    cluster.decide()
    [alloc] = cluster.live("report")
    home = cluster.state.nodes[alloc.node].name
    _drain(cluster, home, 30)
    for _ in range(29):
        cluster.decide()
        cluster.step()
        cluster.wait(1_000)
    assert [each.wanted for each in _on(cluster, home)] == ["run"]
    cluster.wait(1_000)
    cluster.decide()
    assert [(each.wanted, each.why) for each in _on(cluster, home)] == [("stop", "drain_deadline")]
    cluster.step()
    cluster.decide()
    assert _node(cluster, home).drained is not None


@pytest.mark.parametrize("restarts_first", [True, False])
@pytest.mark.parametrize(
    "strategy",
    [
        {"strategy": "blue-green", "blue_green": {"auto_promote": True, "keep_old": "10m"}},
        {"strategy": "canary", "canary": {"count": 1, "steps": [50], "pause": "5s", "auto_promote": True}},
    ],
)
def test_a_restart_on_trial_goes_on_while_a_node_is_emptied(
    strategy: dict[str, Any],
    restarts_first: bool,  # noqa: FBT001 - a table
) -> None:
    """Old and new are of the same content, and one of each moves: nobody is placed twice."""
    cluster = Cluster()
    for name in ("n1", "n2", "n3"):
        cluster.join(name, cpu=8)
    cluster.run(count=3, update=strategy)
    cluster.settle()
    job = cluster.state.job("default", "web")
    assert job is not None
    for restarts in (restarts_first, not restarts_first):
        if restarts:
            cluster.do(jobs.restart_job(cluster.state, job, "tester"))
        else:
            _drain(cluster, "n1", None)
        cluster.decide()
    cluster.settle(most=2_000)
    assert _on(cluster, "n1") == []
    assert _node(cluster, "n1").drained is not None
    assert {alloc.slot for alloc in cluster.live("web") if alloc.health == "healthy"} == {0, 1, 2}
