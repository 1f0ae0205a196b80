"""What is told of replicas that are to leave their nodes."""

from __future__ import annotations

from typing import Any

from heroctl.domain.state import job_status
from tests.reconciler.cluster import Cluster
from tests.reconciler.test_explain import alone, case_of, cluster, job_of, only, standings


def drained(**fields: Any) -> Cluster:  # noqa: ANN401 - a spec's fields
    """Make a cluster of one node with two healthy replicas, and drain it."""
    there = cluster(1)
    there.run("web", "v1", **{"count": 2, **fields})
    there.settle()
    there.drain("n0", 600)
    return there


def test_who_is_to_leave_says_what_the_other_nodes_lack() -> None:
    there = drained()
    there.join("n1", 0.1)
    there.decide()
    case = case_of(there)
    assert standings(case) == ["no_room", "no_room"]
    assert case.slots[0].words == (
        "main[0]: version 1 (healthy on n0) is to leave its node, and goes on meanwhile: waiting for room elsewhere: "
        "2 nodes considered: 1 exhausted cpu (needs 0.5 cores), 1 not eligible"
    )
    assert case.slots[0].lacking == {"exhausted cpu": 1, "not eligible": 1}


def test_who_moves_says_who_follows_and_who_waits_for_his_turn() -> None:
    there = drained()
    there.join("n1")
    before = case_of(there)
    assert standings(before) == ["no_room", "no_room"], "it is not up yet"
    there.decide()
    case = case_of(there)
    assert standings(case) == ["moving", "to_move"]
    assert case.slots[0].words == (
        "main[0]: version 1 (healthy on n0) is to leave its node, and goes on until another is healthy there for 10s; "
        "version 1 follows it: placed on n1 0s ago: its agent has not begun"
    )
    assert case.slots[1].words == "main[1]: version 1 (healthy on n0) is to leave its node, and waits for its turn"


def test_who_is_about_to_move_says_where() -> None:
    there = cluster(2)
    there.run("web", "v1")
    there.settle()
    there.misplace(alone(there))
    slot = only(case_of(there))
    assert slot.standing == "moving"
    assert "goes on until another is healthy on n" in slot.words
    assert slot.words.endswith("where it is about to be placed")


def test_who_moves_stop_first_waits_while_others_are_ill() -> None:
    there = drained(count=3, migrate={"order": "stop-first"})
    there.join("n1")
    there.sicken(there.live("web")[0])
    there.decide()
    case = case_of(there)
    assert {slot.slot: slot.standing for slot in case.slots} == {0: "leaving", 1: "to_move", 2: "to_move"}


def test_who_has_a_volume_of_its_own_says_that_it_stays_until_the_deadline() -> None:
    there = drained(count=1, volumes=[{"source": "data", "target": "data"}])
    there.join("n1")
    there.decide()
    slot = only(case_of(there))
    assert (slot.standing, slot.retry_at) == ("to_move", there.clock + 600_000)
    assert slot.words == (
        "main[0]: version 1 (healthy on n0) is to leave its node, and stays with its volume until the drain's "
        "deadline in 10m"
    )


def test_what_waits_to_move_is_told_as_long_as_it_waits_only() -> None:
    there = drained()
    there.decide()
    job = job_of(there)
    assert job.blocked == ("to move: 1 node: 1 not eligible",)
    assert job_status(there.state, job) == "running", "it serves"
    there.fail(there.live("web")[0])
    there.decide()
    assert job_status(there.state, job_of(there)) == "blocked"


def test_what_waited_to_move_is_told_no_more_once_it_need_not() -> None:
    there = drained()
    there.decide()
    there.cancel_drain("n0")
    there.decide()
    assert job_of(there).blocked == ()
    assert standings(case_of(there)) == ["healthy", "healthy"]
