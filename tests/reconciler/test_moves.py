"""Replicas that leave their nodes: each once, within one budget, and nobody is missed meanwhile."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heroctl.domain import spec as specs
from heroctl.domain.events import AllocPlaced, AllocStopping
from reconciler.planner.piece import Piece
from tests.reconciler.test_properties import Act, begun, histories, live
from tests.reconciler.watched import Watched

ORDERS: Final = st.sampled_from(["start-first", "stop-first"])


def placed(cluster: Watched, since: int) -> list[AllocPlaced]:
    events = (record.event for record in cluster.records if record.index > since)
    return [event for event in events if isinstance(event, AllocPlaced)]


def stopped(cluster: Watched, since: int) -> list[str]:
    events = (record.event for record in cluster.records if record.index > since)
    return [event.reason for event in events if isinstance(event, AllocStopping)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(histories(st.just(True)), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_whatever_is_on_a_drained_node_moves_once(history: list[Act], numbers: list[int]) -> None:
    """Whatever becomes of its deployment: under way, paused, waiting for somebody, failed, or over."""
    cluster = begun()
    for act in history:
        act(cluster)
    cluster.heal()
    names = sorted(node.name for node in cluster.state.nodes.values())
    drained = {names[number % len(names)] for number in numbers}
    nodes = {cluster.state.node_names[name] for name in drained}
    before, since = [alloc for alloc in cluster.state.allocs.values() if alloc.live], cluster.state.index
    for name in drained:
        cluster.drain(name)
    cluster.calm()
    left = [alloc for alloc in before if alloc.node in nodes]
    after = {alloc.id for alloc in cluster.state.allocs.values() if alloc.live}
    assert sorted(event.replaces for event in placed(cluster, since)) == sorted(alloc.id for alloc in left)
    assert stopped(cluster, since) == ["migrated"] * len(left)
    assert after >= {alloc.id for alloc in before if alloc.node not in nodes}
    assert {(one.job, one.task, one.slot, one.content) for one in before} == {
        (one.job, one.task, one.slot, one.content) for one in cluster.state.allocs.values() if one.live
    }
    assert not [alloc for alloc in cluster.state.allocs.values() if alloc.live and alloc.node in nodes]
    assert all(cluster.state.nodes[node].drain is None for node in nodes)


class Budgeted(Watched):
    """Looks, after every decision, at how many replicas of its job are extra, and how many are healthy."""

    spare = 0  # how many may be missing

    def apply(self, piece: Piece) -> None:
        """Apply one piece, and count."""
        super().apply(piece)
        job = self.state.job("default", "web")
        if job is None or not job.stable:
            return
        task = specs.decode(job.current.spec).tasks[0]
        filling = [alloc for alloc in self.state.allocs_of(job.uid) if alloc.live]
        most = max(task.update.max_parallel, task.migrate.max_parallel)
        assert len(filling) <= task.count + most
        healthy = {alloc.slot for alloc in filling if alloc.health == "healthy"}
        assert len(healthy) >= task.count - self.spare


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_one_budget_for_all_nodes_and_the_update(data: st.DataObject) -> None:
    """Drains, cancels and updates of a job that works: extra are as many as the larger of both budgets allows."""
    most = st.integers(1, 3)
    update: dict[str, Any] = {"max_parallel": data.draw(most), "order": data.draw(ORDERS)}
    migrate: dict[str, Any] = {"max_parallel": data.draw(most), "order": data.draw(ORDERS)}
    cluster = Budgeted()
    cluster.spare = max([one["max_parallel"] for one in (update, migrate) if one["order"] == "stop-first"], default=0)
    names = [f"n{number}" for number in range(5)]
    for name in names:
        cluster.join(name)
    cluster.run(args="v0", count=5, update=update, migrate=migrate)
    live(12)(cluster)
    for number in range(data.draw(st.integers(1, 6))):
        name = data.draw(st.sampled_from(names))
        if data.draw(st.booleans()):
            cluster.run(args=f"v{number}", count=5, update=update, migrate=migrate)
        elif cluster.state.nodes[cluster.state.node_names[name]].drain is not None:
            cluster.cancel_drain(name)
        elif sum(node.eligible for node in cluster.state.nodes.values()) > 2:
            cluster.drain(name)
        live(data.draw(st.integers(0, 25)))(cluster)
    cluster.calm()
    assert len(cluster.live("web")) == 5
