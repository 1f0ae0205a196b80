"""What is said of batch jobs to those who ask why."""

from __future__ import annotations

from typing import Any

from reconciler.planner.explain import Case, explain
from reconciler.planner.place import Fleet
from tests.reconciler.batches import Batches


def _cluster(*nodes: str, **fields: Any) -> Batches:  # noqa: ANN401 - a spec's fields
    cluster = Batches()
    for node in nodes or ("n1", "n2"):
        cluster.join(node)
    cluster.decide()
    cluster.batch(**fields)
    return cluster


def _case(cluster: Batches) -> Case:
    return explain(cluster.state, cluster.job(), cluster.clock, Fleet())


def test_a_launch_that_goes_on() -> None:
    cluster = _cluster(args="works", count=2)
    cluster.decide()
    cluster.step()
    cluster.decide()
    [one, other] = cluster.live("import")
    cluster.end(one)
    cluster.wait(30_000)
    case = _case(cluster)
    assert case.summary == "import: launch 1 of version 1, begun with its submit 30s ago: 1 of 2 replicas ended well"
    assert {slot.slot: slot.standing for slot in case.slots} == {one.slot: "complete", other.slot: "healthy"}


def test_one_that_fits_nowhere() -> None:
    cluster = _cluster("n1", resources={"cpu": 9})
    cluster.decide()
    case = _case(cluster)
    assert "waiting for room: 1 node considered: 1 exhausted cpu (needs 9 cores)" in case.summary
    assert case.slots[0].standing == "no_room"


def test_one_that_failed_and_is_tried_again() -> None:
    cluster = _cluster(args="works")
    cluster.decide()
    [alloc] = cluster.live("import")
    cluster.end(alloc, 3)
    cluster.decide()
    [slot] = _case(cluster).slots
    assert (slot.standing, slot.retry_at is not None) == ("rescheduled", True)
    assert "failed with exit code 3" in slot.words
    assert "placed again in 5s" in slot.words


def test_launches_that_are_over_and_what_comes_next() -> None:
    cluster = _cluster(args="fails", periodic={"cron": "* * * * *"})
    assert "import: it was not launched yet; the clock launches it next in " in _case(cluster).summary
    cluster.wait(60_000)
    for _ in range(3):  # on one node, on another, and that was it
        cluster.decide()
        cluster.step()
        cluster.wait(6_000)
    assert "launch 1 of version 1 failed 6s ago: main[0] failed with exit code 1" in _case(cluster).summary
    cluster = _cluster(dispatch={})
    assert _case(cluster).summary == "import: it was not launched yet; it is launched when it is dispatched"
    cluster.dispatch()
    cluster.dispatch()
    cluster.behaviour["ends"] = "works"
    cluster.decide()
    assert "dispatched 0s ago: 0 of 1 replica ended well; 1 other launch goes on beside it" in _case(cluster).summary


def test_times_that_were_left_out() -> None:
    cluster = _cluster(args="works", periodic={"cron": "* * * * *"})
    for _ in range(4):
        cluster.wait(60_000)
        cluster.decide()
        cluster.step()
    assert "and 3 scheduled times left out while it goes on" in _case(cluster).summary
