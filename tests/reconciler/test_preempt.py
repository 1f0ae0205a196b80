"""Replicas of lower priority make way: the fewest, the lowest, the youngest; only where it helps, and not for ever."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations
from typing import Any, Final

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from heroctl.domain.assignment import Capacity
from heroctl.domain.events import AllocPlaced, AllocStopping
from heroctl.domain.intents import jobs as jobs_
from heroctl.domain.intents.settings import set_settings
from heroctl.domain.records import Alloc, Node, Usage
from heroctl.domain.state import State
from reconciler.planner.dryrun import dry_run, overlay
from reconciler.planner.explain import explain
from reconciler.planner.filters import Ask, Room, full
from reconciler.planner.piece import Piece
from reconciler.planner.place import Fleet
from reconciler.planner.preempt import GAP, fewest
from tests.domain.worlds import spec
from tests.reconciler.cluster import Cluster
from tests.reconciler.watched import Watched

GIB: Final = 1 << 30


def alloc(n: int, cpu: int, memory: int, port: int = 0) -> Alloc:
    made: dict[str, Any] = dict.fromkeys(
        ("id", "namespace", "job", "task", "content", "node", "deployment", "replaces"), ""
    )
    made |= dict.fromkeys(("uid", "slot", "version", "disk", "reschedules"), 0)
    made |= dict.fromkeys(("created_at", "create_index", "modify_index", "assign_index"), n)
    return Alloc(**made | {"id": f"a{n}", "n": n, "cpu": cpu, "memory": memory, "host_ports": (port,) if port else ()})


sizes = st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0, 0, 0, 80, 81]))


@settings(max_examples=400)
@given(st.lists(sizes, max_size=7), st.integers(0, 6), st.integers(0, 6), st.sampled_from([(), (80,), (80, 81)]))
def test_the_fewest_make_way_and_only_if_it_helps(
    held: list[tuple[int, int, int]], cpu: int, memory: int, ports: tuple[int, ...]
) -> None:
    taken: set[int] = set()
    allocs = []
    for n, (cores, bytes_, port) in enumerate(held):
        allocs.append(alloc(n, cores, bytes_, port if port not in taken else 0))
        taken.add(port)
    use = Usage(sum(one.cpu for one in allocs), sum(one.memory for one in allocs))
    node = Node("n1", "n1", "", 1, 1, up=True, capacity=Capacity(use.cpu / 1000, use.memory + 1, GIB))
    room = Room(node, use, 1)
    room.hold(allocs)
    ask = Ask("docker", cpu, memory, 0, ports)
    chosen = fewest(room, ask, allocs)
    least = next(
        (
            size
            for size in range(len(allocs) + 1)
            if any(full(room.without(*some), ask) is None for some in combinations(allocs, size))
        ),
        None,
    )
    assert (chosen is None) == (least is None)
    if chosen is None or least is None:
        return
    assert full(room.without(*chosen), ask) is None
    for one in chosen:
        assert full(room.without(*(other for other in chosen if other is not one)), ask) is not None
    holders = [one for one in allocs if not set(one.host_ports).isdisjoint(ports)]
    if not holders and least <= 2:
        assert len(chosen) == least
    if not holders and least == 1:
        assert chosen == (next(one for one in allocs if full(room.without(one), ask) is None),)


class Pushed(Watched):
    """Looks at who makes way for whom."""

    def __init__(self) -> None:
        self.pushed: list[AllocStopping] = []
        super().__init__()

    def apply(self, piece: Piece) -> None:
        for event in piece.events:
            if isinstance(event, AllocStopping) and event.reason == "preempted":
                self.pushed.append(event)
                assert piece.uid is not None
                job, victim = self.state.jobs[piece.uid], self.state.jobs[self.state.allocs[event.alloc].uid]
                assert job.current.priority >= victim.current.priority + GAP
                assert event.by == f"default/{job.name}"
        super().apply(piece)


jobs = st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3]), st.sampled_from([10, 19, 20, 50, 60, 100]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@example([4], [(1, 1, 10), (1, 3, 19), (1, 2, 20), (1, 2, 50)])  # what makes way for the last leaves room for another
@given(st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=3), st.lists(jobs, min_size=1, max_size=5))
def test_it_comes_to_rest_and_nobody_waits_whom_others_could_let_in(
    nodes: list[int], wanted: list[tuple[int, int, int]]
) -> None:
    """Whatever comes, in whatever order: no ping-pong, and no room given twice."""
    cluster = Pushed()
    for number, cpu in enumerate(nodes):
        cluster.join(f"n{number}", cpu)
    for number, (count, cpu, priority) in enumerate(wanted):
        need = {"cpu": cpu, "memory": "1MB", "disk": "1MB"}
        cluster.run(f"job-{number}", "v1", count=count, priority=priority, resources=need)
        cluster.settle(tick=15_000)
    assert len(cluster.pushed) <= 3 * len(wanted) ** 2
    for number, (_, cpu, priority) in enumerate(wanted):
        job = cluster.state.job("default", f"job-{number}")
        assert job is not None
        for node in cluster.state.nodes.values() if job.blocked else ():
            assert node.capacity.cpu - _held_against(cluster, node, priority) < cpu


def _held_against(cluster: Cluster, node: Node, priority: int) -> float:
    """Count the cores of a node that need not make way for a priority."""
    held = cluster.state.allocs_on(node.id)
    return sum(one.cpu for one in held if cluster.state.jobs[one.uid].current.priority > priority - GAP) / 1000


def _full() -> Cluster:
    cluster = Cluster()
    cluster.join("n1", 4)
    cluster.run("low", "v1", count=4, priority=20, resources={"cpu": 1})
    cluster.settle()
    return cluster


def test_the_one_that_waits_and_the_one_that_made_way_are_told_why() -> None:
    cluster = _full()
    cluster.run("high", "v1", priority=30, resources={"cpu": 1})
    cluster.decide()
    words = _words(cluster, "high")
    assert words == ["main[0]: waiting for replicas of lower priority to end on n1, which make way for it"]
    cluster.settle()
    [waits] = [word for word in _words(cluster, "low") if "healthy" not in word]
    assert waits.startswith("main[3]: waiting for room: 1 node considered: 1 exhausted cpu")
    [gone] = [one for one in cluster.allocs("low") if one.why == "preempted"]
    assert [message for _, _, event, message in gone.timeline if event == "alloc.stopping"] == [
        "preempted by default/high"
    ]


def _words(cluster: Cluster, name: str) -> list[str]:
    job = cluster.state.job("default", name)
    assert job is not None
    return [slot.words for slot in explain(cluster.state, job, cluster.clock, Fleet()).slots]


def test_nobody_makes_way_for_an_update_that_could_go_on_without() -> None:
    cluster = _full()
    cluster.run("high", "v1", priority=90, resources={"cpu": 1})
    cluster.settle()
    cluster.run("high", "v2", priority=90, resources={"cpu": 1})
    cluster.settle()
    assert sum(one.why == "preempted" for one in cluster.allocs("low")) == 1
    assert [one.version for one in cluster.live("high")] == [2]


def test_switched_off_nobody_makes_way() -> None:
    cluster = _full()
    cluster.do(set_settings(cluster.state, {"preemption": False}))
    cluster.run("high", "v1", priority=90, resources={"cpu": 1})
    cluster.settle()
    assert (len(cluster.live("low")), cluster.live("high")) == (4, [])


def test_a_port_is_made_free_by_who_holds_it_and_promised_once() -> None:
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name, 4)
    port = {"http": {"container": 80, "host": 80}}
    cluster.run("low", "v1", count=2, priority=20, ports=port)
    cluster.settle()
    cluster.run("high", "v1", count=3, priority=30, ports=port)
    cluster.settle()
    assert sorted(one.node for one in cluster.live("high")) == sorted(cluster.state.nodes)
    assert cluster.live("low") == []


def test_a_dry_run_tells_how_many_make_way_and_does_nothing() -> None:
    cluster = _full()
    before = snapshot(cluster.state)
    wanted = jobs_.submit_job(cluster.state, spec(job="high", count=2, priority=90, resources={"cpu": 1}), "tester")
    told = dry_run(overlay(cluster.state, 0), "default", "high", wanted.events, cluster.clock)
    assert (told.preempted, told.tasks["main"].counts.place, told.blocked, told.fault) == (2, 2, (), None)
    assert snapshot(cluster.state) == before


def snapshot(state: State) -> str:
    """Write down all that is in a state."""
    return repr({field.name: getattr(state, field.name) for field in fields(state)})


def test_the_work_of_it_is_counted() -> None:
    cluster = _full()
    for number in range(5):
        cluster.join(f"m{number}", 0.5)
    cluster.decide()
    before = cluster.memo.fleet.evaluations
    cluster.run("high", "v1", count=2, priority=90, resources={"cpu": 3})
    cluster.look()
    assert cluster.memo.fleet.evaluations - before >= 6 + 4


def test_priority_decides_who_comes_first() -> None:
    cluster = Cluster()
    for name, priority in (("low", 40), ("high", 60), ("middle", 50)):
        cluster.run(name, "v1", priority=priority, resources={"cpu": 2})
    cluster.join("n1", 4)
    placed = [event.job for piece in cluster.decide() for event in piece.events if isinstance(event, AllocPlaced)]
    assert placed == ["high", "middle"]
