"""A pass as a whole: its bounds, its order, its pace."""

from __future__ import annotations

import gc
import time

import pytest

from heroctl.domain.events import AllocPlaced, AllocStopping, MemberJoined
from heroctl.domain.records import Member
from reconciler.hand import next_of
from reconciler.planner import plan as planning
from reconciler.planner.piece import Plan
from reconciler.planner.plan import MAX_PLACEMENTS, Memo, plan
from tests.reconciler.cluster import Cluster


def crowd(nodes: int, cpu: float = 64, memory: str = "512GiB") -> Cluster:
    cluster = Cluster()
    for number in range(nodes):
        cluster.join(f"n{number}", cpu, memory, "10TB")
    cluster.decide()
    return cluster


def test_a_large_job_is_placed_pass_by_pass() -> None:
    cluster = crowd(40)
    cluster.run(count=2 * MAX_PLACEMENTS + 300)
    sizes: list[list[int]] = []
    while (made := cluster.look()).pieces:
        assert made.more == (len(sizes) < 2)
        sizes.append([len(piece.events) for piece in made.pieces])
        for piece in made.pieces:
            cluster.apply(piece)
    assert sizes == [[997, 997, 6], [997, 997, 6], [300]]  # a piece stays under 1,000 events
    assert len({alloc.id for alloc in cluster.live("web")}) == 2 * MAX_PLACEMENTS + 300
    cluster.delete("web")
    assert [len(piece.events) for piece in cluster.decide()] == [997, 997, 997, 997, 312]


@pytest.mark.parametrize("kind", ["service", "batch"])
@pytest.mark.parametrize("first", [0, 1])
def test_what_is_missing_of_several_pieces_is_decided_again(kind: str, first: int) -> None:
    cluster = crowd(20)
    cluster.run(type=kind, count=1_200)
    pieces = cluster.look().pieces
    assert len(pieces) == 2
    assert pieces[0].expects == pieces[1].expects  # so the second does not become true without the first
    cluster.apply(pieces[first])
    cluster.decide()
    assert sorted(alloc.slot for alloc in cluster.live("web")) == list(range(1_200))


def test_stops_are_of_one_piece_a_pass() -> None:
    """What is decided after them may rest on all of them."""
    cluster = crowd(20)
    cluster.run(count=1_200)
    cluster.settle()
    cluster.stop("web")
    made = cluster.look()
    assert ([len(piece.events) for piece in made.pieces], made.more) == ([997], True)


def test_a_pass_places_so_many_and_the_next_goes_on_with_the_others() -> None:
    cluster = crowd(20)
    for number in range(12):
        cluster.run(f"job{number}", count=MAX_PLACEMENTS // 10)
    made = cluster.look()
    assert sum(len(piece.events) for piece in made.pieces) == MAX_PLACEMENTS
    assert made.more
    for piece in made.pieces:
        cluster.apply(piece)
    made = cluster.look()
    assert [cluster.state.jobs[piece.uid or 0].name for piece in made.pieces] == ["job10", "job11"]
    assert not made.more


def test_a_pass_asks_so_many_nodes_and_the_next_goes_on_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one job costs, all get their turn."""
    monkeypatch.setattr(planning, "MAX_EVALUATIONS", 40)
    cluster = crowd(30)
    for number in range(6):
        cluster.run(f"job{number}", resources={"cpu": 100 + number})
    blocked = []
    for _ in range(6):
        made = cluster.look()
        blocked += [cluster.state.jobs[piece.uid or 0].name for piece in made.pieces]
        for piece in made.pieces:
            cluster.apply(piece)
    assert sorted(blocked) == [f"job{number}" for number in range(6)]


def test_what_is_decided_and_not_appended_is_decided_again() -> None:
    cluster = crowd(3)
    cluster.run(count=3)
    first = cluster.look()
    assert cluster.look() == first
    cluster.join("n9")
    assert [piece.uid for piece in cluster.look().pieces] == [None]


def test_a_placement_expects_its_job_and_its_nodes() -> None:
    cluster = crowd(3)
    cluster.run(count=2)
    [piece] = cluster.look().pieces
    nodes = {event.node for event in piece.events if isinstance(event, AllocPlaced)}
    assert piece.expects == tuple(sorted(["job:default/web", *(f"node:{node}" for node in nodes)]))
    assert piece.moves == ()


def test_members_are_told_with_the_nodes() -> None:
    cluster = crowd(1)
    made = plan(cluster.state, cluster.beats(), cluster.clock, live=[Member("a", "api", "a:1", "1")])
    assert [piece.events for piece in made.pieces] == [(MemberJoined("a", "api", "a:1", "1"),)]
    assert made.more


def test_the_highest_slots_stop_first() -> None:
    cluster = crowd(2)
    cluster.run(count=5)
    cluster.settle()
    cluster.run(count=2)
    [piece] = cluster.look().pieces
    stopped = [cluster.state.allocs[event.alloc].slot for event in piece.events if isinstance(event, AllocStopping)]
    assert stopped == [4, 3, 2]


# ── pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pace(cluster: Cluster, memo: Memo, rounds: int = 5) -> float:
    """Return the seconds of the fastest of some passes."""
    took = []
    for _ in range(rounds):
        gc.collect()
        began = time.perf_counter()
        plan(cluster.state, cluster.beats(), cluster.clock, memo)
        took.append(time.perf_counter() - began)
    return min(took)


def test_one_job_in_a_thousand_is_planned_in_milliseconds() -> None:
    """Goal: 5 ms; the bound allows for a busy machine."""
    cluster = crowd(50)
    for number in range(1_000):
        cluster.run(f"job{number}", count=10)
    cluster.decide()
    cluster.step()
    cluster.wait(10_000)
    cluster.decide()
    cluster.run("job500", "v2", count=10)
    assert len(plan(cluster.state, cluster.beats(), cluster.clock, cluster.memo).pieces) == 1
    assert pace(cluster, cluster.memo) < 0.02


def test_placements_per_second() -> None:
    """Goal: 4,800 a second over 5,000 nodes, the plan from its first look on."""
    cluster = crowd(5_000, cpu=4, memory="8GiB")
    cluster.run(count=990)
    took = []
    for _ in range(3):
        memo = Memo()
        began = time.perf_counter()
        made = plan(cluster.state, cluster.beats(), cluster.clock, memo)
        took.append(time.perf_counter() - began)
        assert len(made.pieces[0].events) == 990
    assert 990 / min(took) > 4_800


def test_each_job_is_told_of_before_it_is_planned() -> None:
    """And only those that are; what comes out is the plan, however it is gone through."""
    cluster = crowd(3)
    for number in range(4):
        cluster.run(f"job{number}")
    cluster.decide()
    cluster.run("job2", "v2")
    state, uid = cluster.state, next(job.uid for job in cluster.state.jobs.values() if job.name == "job2")
    passing = planning.steps(state, cluster.beats(), cluster.clock, cluster.memo, None)
    told = []
    while not isinstance(step := next_of(passing), Plan):
        told.append(step)
    assert told[-1] == uid
    assert step == plan(state, cluster.beats(), cluster.clock)
