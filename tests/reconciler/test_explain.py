"""What is told of a job is what the planner does with it, for every state that a slot can be in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from heroctl.domain.assignment import Report
from heroctl.domain.events import DeploymentPaused
from heroctl.domain.intents.jobs import stop_alloc
from heroctl.domain.records import Alloc, Job
from reconciler.planner import explain as explaining
from reconciler.planner.explain import Case, SlotCase, explain
from reconciler.planner.place import Fleet
from tests.reconciler.cluster import Cluster


def cluster(nodes: int = 3, cpu: float = 4) -> Cluster:
    made = Cluster()
    for number in range(nodes):
        made.join(f"n{number}", cpu)
    made.decide()
    return made


def case_of(there: Cluster, name: str = "web") -> Case:
    """Explain a job; the state is the same after, and the fleet as good as a new one."""
    before = msgspec.msgpack.encode(there.state)
    case = explain(there.state, job_of(there, name), there.clock, Fleet())
    assert msgspec.msgpack.encode(there.state) == before
    return case


def job_of(there: Cluster, name: str = "web") -> Job:
    job = there.state.job("default", name)
    assert job is not None
    return job


def standings(case: Case) -> list[str]:
    return [slot.standing for slot in case.slots]


def only(case: Case) -> SlotCase:
    [slot] = case.slots
    return slot


def alone(there: Cluster) -> Alloc:
    [alloc] = there.live("web")
    return alloc


def report(there: Cluster, alloc: Alloc, **said: Any) -> None:  # noqa: ANN401 - fields of a report
    there.report(there.state.nodes[alloc.node], Report(alloc.id, **{"attempt": 1, **said}))


# ── what fits nowhere, or is just being placed ───────────────────────────────────────────────────────────────────────


def test_a_job_that_nobody_has_planned_yet_is_about_to_be_placed() -> None:
    there = cluster()
    there.run("web", "v1")
    slot = only(case_of(there))
    assert slot.standing == "next"
    assert slot.words.startswith("main[0]: about to be placed on n")


def test_what_fits_nowhere_says_what_each_node_lacks() -> None:
    there = cluster(cpu=1)
    there.set_eligible("n0", eligible=False)
    there.run("web", "v1", count=3, resources={"cpu": 0.9})
    there.decide()
    case = case_of(there)
    assert standings(case) == ["starting", "starting", "no_room"]
    assert case.slots[2].words == (
        "main[2]: waiting for room: 3 nodes considered: 2 exhausted cpu (needs 0.9 cores), 1 not eligible"
    )
    assert case.slots[2].lacking == {"exhausted cpu": 2, "not eligible": 1}
    assert job_of(there).blocked == ("3 nodes: 2 exhausted cpu, 1 not eligible",)
    assert "waiting for room" in case.summary or "its agent has not begun" in case.summary


def test_those_that_fit_nowhere_are_told_each_and_with_them_who_waits_for_something_else() -> None:
    there = cluster(1, cpu=4)
    there.run("web", "v1", count=8, resources={"cpu": 0.5})
    there.settle()
    stopped = there.live("web")[5]
    there.hush("n0")
    there.do(stop_alloc(stopped))
    there.run("web", "v1", count=12, resources={"cpu": 0.5})
    there.decide()
    said = {slot.slot: (slot.standing, slot.words.partition(": ")[2]) for slot in case_of(there).slots}
    assert said[5][0] == "leaving"
    assert len({said[number] for number in range(8, 12)}) == 1
    assert said[8][0] == "no_room"


def test_of_many_slots_those_are_told_of_that_are_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    there = cluster(cpu=1)
    there.run("web", "v1", count=5, resources={"cpu": 0.9})
    there.decide()
    there.step()
    monkeypatch.setattr(explaining, "MOST_SLOTS", 3)
    asked: list[object] = []
    lacking = Fleet.lacking

    def counted(fleet: Fleet, *words: Any) -> dict[str, int]:  # noqa: ANN401 - as lacking
        asked.append(words)
        return lacking(fleet, *words)

    monkeypatch.setattr(Fleet, "lacking", counted)
    case = case_of(there)
    assert [(slot.slot, slot.standing) for slot in case.slots] == [(3, "no_room"), (4, "no_room"), (0, "healthy")]
    assert case.left_out == 2
    assert case.summary.startswith("web: 3 of 5 replicas of version 1 are healthy; ")
    assert len(asked) == 1, "what nodes lack is looked for once"


def test_without_nodes_there_is_nowhere_to_go() -> None:
    there = Cluster()
    there.run("web", "v1")
    assert only(case_of(there)).words == "main[0]: waiting for room: 0 nodes considered"


# ── a replica's life ─────────────────────────────────────────────────────────────────────────────────────────────────


def begun(**fields: Any) -> Cluster:  # noqa: ANN401 - a spec's fields
    there = cluster(1)
    there.run("web", "v1", **fields)
    there.decide()
    return there


def test_it_is_placed_starts_runs_fails_its_check_and_is_healthy() -> None:
    there = begun(health={"command": ["check"]})
    alloc = alone(there)
    assert only(case_of(there)).words == "main[0]: placed on n0 0s ago: its agent has not begun"
    report(there, alloc, phase="starting")
    assert only(case_of(there)).words == "main[0]: starting on n0: its image is pulled and its container made"
    report(there, alloc, phase="starting", reason="waiting_for_secrets", message="no api answers")
    assert only(case_of(there)).words == "main[0]: starting on n0: it waits for what its secrets hold: no api answers"
    report(there, alloc, phase="running", running_for=0.0, message="no answer yet")
    slot = only(case_of(there))
    assert (slot.standing, slot.words) == (
        "starting",
        "main[0]: running on n0, and no command check has passed yet: no answer yet",
    )
    report(there, alloc, phase="running", health="unhealthy", message="exit 1: connection refused")
    slot = only(case_of(there))
    assert (slot.standing, slot.words) == (
        "unhealthy",
        "main[0]: running on n0, and failing its command check: exit 1: connection refused",
    )
    report(there, alloc, phase="running", health="healthy", running_for=3.0, healthy_for=0.0)
    there.wait(20_000)
    slot = only(case_of(there))
    assert (slot.standing, slot.words) == ("healthy", "main[0]: healthy on n0 for 20s")
    there.settle()
    assert case_of(there).summary == "web: 1 of 1 replica of version 1 is healthy"


def test_a_crash_loop_says_how_it_ended_and_when_it_starts_again() -> None:
    there = begun(restart={"delay": "15s"})
    alloc = alone(there)
    said = {"failed_attempt": 2, "reason": "exited", "exit_code": 137, "oom": True, "message": "killed"}
    report(there, alloc, attempt=2, phase="ended", restarts=1, **said)
    there.wait(5_000)
    slot = only(case_of(there))
    assert slot.standing == "restarting"
    assert slot.words == (
        "main[0]: attempt 2 failed with exit code 137, for want of memory (killed) on n0; it starts again in 10s"
    )
    assert slot.retry_at == there.clock + 10_000


def test_of_what_a_replica_wrote_before_it_failed_the_last_line_is_told() -> None:
    there = begun(restart={"delay": "15s"})
    said = {
        "failed_attempt": 1,
        "reason": "exited",
        "exit_code": 3,
        "message": "exited with code 3\nTraceback:\nKeyError: 'port'\n",
    }
    report(there, alone(there), attempt=1, phase="ended", restarts=1, **said)
    there.wait(5_000)
    told = "main[0]: attempt 1 failed with exit code 3 (KeyError: 'port') on n0; it starts again in 10s"
    assert only(case_of(there)).words == told


def test_what_failed_for_good_is_placed_again_when_reschedule_says() -> None:
    there = begun(reschedule={"delay": "30s"})
    there.step()
    there.settle()
    there.fail(alone(there))
    there.decide()
    slot = only(case_of(there))
    assert (slot.standing, slot.alloc) == ("rescheduled", None)
    assert slot.retry_at is not None
    assert 30_000 <= slot.retry_at - there.clock <= 34_000
    assert slot.words.startswith("main[0]: version 1 failed (exited) on n0; placed again in 3")
    there.clock = slot.retry_at
    assert only(case_of(there)).standing == "next"


def test_what_is_not_rescheduled_says_so() -> None:
    there = begun(reschedule={"delay": "1s", "unlimited": False})
    there.step()
    there.settle()
    for _ in range(2):
        there.fail(alone(there))
        there.wait(60_000)
        there.decide()
        there.step()
    assert only(case_of(there)).standing == "spent"


# ── nodes that are gone ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_node_that_is_down_says_when_what_it_holds_is_given_up() -> None:
    there = cluster(2)
    there.run("web", "v1")
    there.settle()
    node = there.state.nodes[alone(there).node].name
    there.hush(node)
    there.wait(13_000)
    there.decide()
    there.wait(2_000)
    slot = only(case_of(there))
    assert slot.standing == "node_down"
    assert slot.words == f"main[0]: its node {node} is down for 2s; it is given up in 3s"


def test_the_brake_holds_what_was_lost() -> None:
    there = cluster(4)
    there.run("web", "v1", count=4)
    there.settle()
    for number in range(3):
        there.hush(f"n{number}")
    there.wait(13_000)
    there.decide()
    assert there.state.brake
    there.wait(20_000)
    words = [slot.words for slot in case_of(there).slots if slot.standing == "node_down"]
    assert len(words) == 3
    assert all("held by the brake" in each for each in words)


# ── rollouts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def updating(**update: Any) -> Cluster:  # noqa: ANN401 - an update's fields
    there = cluster()
    there.run("web", "v1", count=3)
    there.settle()
    there.run("web", "v2", count=3, update=update)
    there.decide()
    return there


def test_a_rollout_goes_slot_by_slot() -> None:
    there = updating(min_healthy_time="10s")
    case = case_of(there)
    assert standings(case) == ["starting", "waiting", "waiting"]
    assert "; version 1 (healthy on n" in case.slots[0].words
    assert case.slots[0].words.endswith("stays until it has been healthy for 10s")
    assert case.slots[1].words.startswith("main[1]: waiting for its turn: version 1 (healthy on n")
    assert case.deployment == "version 2: under way (rolling), it waits for main[0]"
    there.step()
    there.decide()
    assert case_of(there).deployment == (
        "version 2: under way (rolling), it waits for main[0] to have been healthy for long enough"
    )
    there.settle()
    case = case_of(there)
    assert (standings(case), case.deployment) == (["healthy"] * 3, "version 2: successful")
    assert case.summary == "web: 3 of 3 replicas of version 2 are healthy"


def test_who_makes_way_is_waited_for() -> None:
    there = updating(order="stop-first")
    assert standings(case_of(there)) == ["leaving", "waiting", "waiting"]
    assert case_of(there).slots[0].words.startswith("main[0]: waiting for version 1 (stopping on n")


def test_a_paused_deployment_says_so() -> None:
    there = updating()
    job = job_of(there)
    there.add(DeploymentPaused(job.deployment, job.uid, "default", "web"))
    there.decide()
    case = case_of(there)
    assert case.deployment == "version 2: paused: it places, stops and fails nothing until it is resumed"
    assert standings(case)[1:] == ["paused", "paused"]


def test_canaries_wait_for_somebody_to_promote_them() -> None:
    there = updating(strategy="canary", min_healthy_time="1s", canary={"count": 1, "steps": [20, 100]})
    assert standings(case_of(there)) == ["starting", "on_trial", "on_trial"]
    there.settle()
    case = case_of(there)
    assert standings(case) == ["healthy", "on_trial", "on_trial"]
    assert case.slots[1].words.endswith("stays until version 2 is promoted")
    assert "it waits for somebody to promote it; it has 20 % of the traffic" in case.deployment
    assert case.deployment in case.summary


def test_a_failed_deployment_tells_of_the_way_back() -> None:
    there = cluster()
    there.run("web", "v1", count=1)
    there.settle()
    there.behaviour["v2"] = "fails"
    there.run("web", "v2", count=1)
    there.settle()
    case = case_of(there)
    assert case.slots[0].standing == "healthy"
    state, job = there.state, job_of(there)
    [failed] = [each for each in state.deployments.values() if each.version == 2]
    assert state.deployments[job.deployment].revert_of == failed.id


def test_a_first_version_that_fails_stays_as_it_is() -> None:
    there = cluster()
    there.behaviour["v1"] = "fails"
    there.run("web", "v1", count=1)
    there.decide()
    there.step()
    there.decide()
    case = case_of(there)
    assert case.deployment.startswith(
        "version 1: failed: replica_failed: main[0] exited; there is no version to go back"
    )
    assert case.slots[0].standing == "rescheduled"


# ── jobs that are not planned ────────────────────────────────────────────────────────────────────────────────────────


def test_a_stopped_job_says_what_is_left() -> None:
    there = cluster()
    there.run("web", "v1", count=2)
    there.settle()
    there.stop("web")
    there.decide()
    assert case_of(there).summary == "web is stopped by a user; 2 replicas still to end"
    there.step()
    assert case_of(there).summary == "web is stopped by a user"


def test_a_quarantined_job_says_why() -> None:
    there = cluster()
    job = there.run("web", "v1")
    there.state.jobs[job.uid] = msgspec.structs.replace(
        job, plan_failures=3, plan_release="1", blocked=("quarantined: planning it failed 3 times: Boom",)
    )
    assert case_of(there).summary.startswith("web is left alone: quarantined: planning it failed 3 times: Boom.")


def test_a_fault_of_the_planner_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    there = cluster()
    there.run("web", "v1")
    monkeypatch.setattr(explaining, "decide", broken)
    assert case_of(there).summary == "web cannot be planned: ZeroDivisionError: by nothing"


def test_a_fleet_that_is_kept_gives_the_same_answers() -> None:
    there = cluster(cpu=1)
    fleet = Fleet()
    for args, count in (("v1", 2), ("v1", 5), ("v2", 3)):
        there.run("web", args, count=count, resources={"cpu": 0.9})
        for _ in range(3):
            job = job_of(there)
            assert explain(there.state, job, there.clock, fleet) == explain(there.state, job, there.clock, Fleet())
            there.decide()
            there.step()
            there.wait(10_000)
