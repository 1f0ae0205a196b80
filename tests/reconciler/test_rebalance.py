"""Moving replicas to better nodes: when somebody asks for it, or when a node joins and the cluster is set so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heroctl.domain import events as e
from heroctl.domain.errors import Conflict
from heroctl.domain.events import Event
from heroctl.domain.intents import balance
from heroctl.domain.intents.settings import set_settings
from heroctl.domain.records import Alloc, Job
from tests.reconciler.cluster import Cluster
from tests.reconciler.watched import Watched


def _job(cluster: Cluster, name: str = "web") -> Job:
    job = cluster.state.job("default", name)
    assert job is not None
    return job


def _ask(cluster: Cluster, name: str = "web") -> None:
    cluster.do(balance.rebalance_job(_job(cluster, name)))


def _nodes(cluster: Cluster, name: str = "web") -> Counter[str]:
    return Counter(cluster.state.nodes[alloc.node].name for alloc in cluster.live(name))


def _since(cluster: Cluster, index: int, *kinds: type[Event]) -> list[Event]:
    return [record.event for record in cluster.records if record.index > index and isinstance(record.event, kinds)]


def _lopsided(count: int = 4, *, joins: int = 1, **fields: Any) -> Watched:  # noqa: ANN401 - a spec's fields
    """Run replicas on one node, before others join."""
    cluster = Watched()
    cluster.join("n0", cpu=8)
    cluster.run(count=count, **fields)
    cluster.settle()
    for number in range(1, joins + 1):
        cluster.join(f"n{number}", cpu=8)
    cluster.settle()
    return cluster


def test_nobody_moves_unasked() -> None:
    cluster = _lopsided()
    assert _nodes(cluster) == {"n0": 4}


def test_replicas_move_to_where_they_are_apart_each_at_most_once_and_then_it_is_over() -> None:
    cluster = _lopsided(2, joins=1)
    before = {alloc.id for alloc in cluster.live("web")}
    index = cluster.state.index
    _ask(cluster)
    cluster.settle()
    assert _nodes(cluster) == {"n0": 1, "n1": 1}
    assert len(before & {alloc.id for alloc in cluster.live("web")}) == 1
    assert len(_since(cluster, index, e.AllocMisplaced)) == 1
    [ended] = _since(cluster, index, e.JobRebalanced)
    assert isinstance(ended, e.JobRebalanced)
    assert (ended.moved, _job(cluster).rebalance) == (1, 0)


def test_it_is_healthy_there_before_it_stops_here() -> None:
    cluster = _lopsided(2, joins=1)
    _ask(cluster)
    fewest = 2
    for _ in range(40):
        cluster.decide()
        healthy = {alloc.slot for alloc in cluster.live("web") if alloc.health == "healthy"}
        fewest = min(fewest, len(healthy))
        cluster.step()
        cluster.wait(1_000)
    assert (fewest, _nodes(cluster)) == (2, {"n0": 1, "n1": 1})


def test_where_nothing_is_to_be_gained_nothing_moves_and_that_is_said() -> None:
    cluster = _lopsided(2, joins=1)
    _ask(cluster)
    cluster.settle()
    index = cluster.state.index
    _ask(cluster)
    cluster.settle()
    assert _since(cluster, index, e.AllocMisplaced) == []
    assert [each.moved for each in _since(cluster, index, e.JobRebalanced)] == [0]  # type: ignore[attr-defined] # of that kind


def test_it_waits_for_a_deployment_and_for_the_brake() -> None:
    cluster = _lopsided(2, joins=1)
    cluster.run(count=2, args="v2")
    _ask(cluster)
    cluster.decide()
    assert not any(alloc.misplaced for alloc in cluster.live("web"))
    cluster.settle()
    assert _job(cluster).rebalance == 0
    cluster = _lopsided(2, joins=1)
    cluster.add(e.BrakeRequested(on=True), e.BrakeOn(0, 2, "operator"))
    _ask(cluster)
    cluster.settle()
    assert _nodes(cluster) == {"n0": 2}
    cluster.add(e.BrakeRequested(on=False))
    cluster.settle()
    assert _nodes(cluster) == {"n0": 1, "n1": 1}


def test_no_more_are_on_their_way_than_the_task_allows() -> None:
    cluster = _lopsided(6, joins=5, resources={"cpu": 1.2}, migrate={"max_parallel": 2})
    _ask(cluster)
    most = 0
    for _ in range(100):
        cluster.decide()
        most = max(most, len(cluster.live("web")) - 6)
        cluster.step()
        cluster.wait(1_000)
    assert 0 < most <= 2
    assert max(_nodes(cluster).values()) < 6


def test_what_is_ill_is_not_moved_and_not_waited_for() -> None:
    cluster = _lopsided(2, joins=1)
    cluster.sicken(cluster.live("web")[0])
    _ask(cluster)
    cluster.settle()
    assert (_nodes(cluster), _job(cluster).rebalance) == ({"n0": 2}, 0)


def test_batch_and_system_jobs_stay_where_they_are() -> None:
    cluster = Watched()
    cluster.join("n0")
    cluster.run(type="system")
    with pytest.raises(Conflict) as refused:
        balance.rebalance_job(_job(cluster))
    assert refused.value.code == "not_movable"


def test_who_finds_the_room_taken_stays_and_it_is_over() -> None:
    """Two jobs want the same room at once: one gets it, and the other does not wait for it for ever."""
    cluster = Watched()
    cluster.join("a0", cpu=8)
    for name in ("web", "api"):
        cluster.run(name, count=2, resources={"cpu": 1.5})
    cluster.settle()
    cluster.join("b0", cpu=2)
    cluster.settle()
    index = cluster.state.index
    for name in ("web", "api"):
        _ask(cluster, name)
    cluster.settle()
    assert _nodes(cluster, "web")["b0"] + _nodes(cluster, "api")["b0"] == 1
    assert sorted(each.moved for each in _since(cluster, index, e.JobRebalanced)) == [0, 1]  # type: ignore[attr-defined] # of that kind
    assert [_job(cluster, name).rebalance for name in ("web", "api")] == [0, 0]
    assert [_job(cluster, name).blocked for name in ("web", "api")] == [(), ()]
    assert not any(alloc.misplaced for alloc in cluster.state.allocs.values() if alloc.live)
    index = cluster.state.index
    cluster.join("b1", cpu=2)
    cluster.settle()
    assert _since(cluster, index, e.AllocPlaced) == [], "nobody moves unasked"


# ── by itself ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _automatic(cluster: Cluster) -> None:
    cluster.do(set_settings(cluster.state, {"auto_rebalance": True}))


def test_when_a_node_joins_job_after_job_is_balanced_where_the_cluster_is_set_so() -> None:
    cluster = Watched()
    cluster.join("n0", cpu=8)
    for name in ("web", "api"):
        cluster.run(name, count=2)
    _automatic(cluster)
    cluster.settle()
    index = cluster.state.index
    cluster.join("n1", cpu=8)
    cluster.settle()
    assert [_nodes(cluster, name) for name in ("web", "api")] == [{"n0": 1, "n1": 1}] * 2
    begun = [type(each) for each in _since(cluster, index, e.JobRebalanceBegun, e.JobRebalanced)]
    assert begun == [e.JobRebalanceBegun, e.JobRebalanced] * 2, "one after the other"
    index = cluster.state.index
    cluster.wait(600_000)
    cluster.settle()
    assert _since(cluster, index, e.JobRebalanceBegun, e.AllocMisplaced) == []


def test_a_node_that_was_away_is_none_that_joins() -> None:
    cluster = _lopsided(2, joins=1)
    _automatic(cluster)
    cluster.settle()
    index = cluster.state.index
    cluster.hush("n1")
    cluster.wait(14_000)
    cluster.settle()
    cluster.come_back("n1")
    cluster.settle()
    assert _since(cluster, index, e.JobRebalanceBegun) == []


# ── whatever the cluster is like ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    nodes=st.lists(st.sampled_from([2, 4, 8, 16]), min_size=1, max_size=5),
    later=st.lists(st.sampled_from([2, 4, 8, 16]), min_size=1, max_size=4),
    runs=st.lists(st.tuples(st.integers(1, 8), st.sampled_from([0.25, 0.5, 1.5])), min_size=1, max_size=3),
    spread=st.booleans(),
)
def test_calm_follows_and_nobody_moves_twice(
    nodes: list[int],
    later: list[int],
    runs: list[tuple[int, float]],
    spread: bool,  # noqa: FBT001 - drawn
) -> None:
    cluster = Watched()
    if spread:
        cluster.do(set_settings(cluster.state, {"placement": "spread"}))
    for number, cpu in enumerate(nodes):
        cluster.join(f"a{number}", cpu=cpu)
    for number, (count, cores) in enumerate(runs):
        cluster.run(f"job{number}", count=count, resources={"cpu": cores})
    cluster.settle()
    for number, cpu in enumerate(later):
        cluster.join(f"b{number}", cpu=cpu)
    cluster.settle()
    index = cluster.state.index
    for number in range(len(runs)):
        _ask(cluster, f"job{number}")
    cluster.settle(most=2_000)
    moved: list[Alloc] = [
        cluster.state.allocs[event.alloc]
        for event in _since(cluster, index, e.AllocMisplaced)
        if isinstance(event, e.AllocMisplaced)
    ]
    slots = Counter((alloc.uid, alloc.slot) for alloc in moved)
    assert all(times == 1 for times in slots.values()), "nobody moves twice"
    waiting = {job.uid for job in cluster.state.jobs.values() if cluster.state.deployments[job.deployment].active}
    assert all(job.rebalance == 0 or job.uid in waiting for job in cluster.state.jobs.values()), "it ends"
