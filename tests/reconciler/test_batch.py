"""Batch jobs: replicas that run to their end, each slot once, and launches that end with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from heroctl.domain.errors import Conflict
from heroctl.domain.events import (
    AllocPlaced,
    DeploymentFinished,
    JobDeployed,
    JobFailed,
    NodeDrainStarted,
)
from heroctl.domain.intents.jobs import rollback_job, scale_job, stop_alloc, submit_job
from tests.domain.worlds import spec
from tests.reconciler.batches import up


def test_a_launch_is_complete_when_each_replica_has_ended_with_0() -> None:
    cluster = up()
    cluster.batch(count=3, args="works")
    cluster.settle()
    assert cluster.status() == "running"
    for alloc in cluster.live("import"):
        cluster.end(alloc)
    cluster.settle()
    [launch] = cluster.launches()
    assert (launch.status, launch.complete, launch.failed) == ("complete", 3, 0)
    assert cluster.status() == "complete"
    assert [alloc.exit_code for alloc in cluster.allocs("import")] == [0, 0, 0]
    assert cluster.job().current.stable


def test_a_batch_job_has_no_deployment_and_is_never_said_to_be_deployed() -> None:
    cluster = up()
    job = cluster.batch()
    cluster.settle()
    assert job.deployment == ""
    assert cluster.state.job_deployments.get(job.uid, ()) == ()
    assert not cluster.told(DeploymentFinished) + cluster.told(JobDeployed) + cluster.told(JobFailed)


def test_what_fails_is_tried_once_more_on_another_node_and_then_the_launch_has_failed() -> None:
    cluster = up()
    cluster.behaviour["works"] = "fails"
    cluster.batch(args="works", count=2)
    cluster.decide()
    [one, other] = cluster.live("import")
    cluster.end(one, 1)
    cluster.decide()
    assert [alloc.id for alloc in cluster.live("import")] == [other.id], "not before its time"
    cluster.wait(6_000)
    cluster.decide()
    again = next(alloc for alloc in cluster.live("import") if alloc.replaces == one.id)
    assert (again.node != one.node, again.reschedules) == (True, 1)
    cluster.end(again, 3)
    cluster.settle()
    [launch] = cluster.launches()
    assert launch.status == "failed"
    assert launch.reason.startswith(f"main[{again.slot}] failed with exit code 3")
    assert cluster.live("import") == [], "what is left of it is stopped"
    assert cluster.status() == "failed"
    placed = len(cluster.told(AllocPlaced))
    cluster.settle()
    assert len(cluster.told(AllocPlaced)) == placed


def test_one_that_fails_after_hours_is_not_tried_for_ever() -> None:
    cluster = up()
    cluster.batch(args="works")
    for _ in range(2):
        cluster.settle()
        cluster.wait(5 * 3_600_000)
        [alloc] = cluster.live("import")
        cluster.end(alloc, 1)
    cluster.settle()
    assert cluster.status() == "failed"


def test_what_has_ended_well_does_not_run_again_whatever_becomes_of_the_others() -> None:
    cluster = up()
    cluster.batch(args="works", count=2)
    cluster.settle()
    [one, other] = cluster.live("import")
    cluster.end(one)
    cluster.do(stop_alloc(cluster.state.allocs[other.id]))
    cluster.settle()
    cluster.hush(cluster.state.nodes[cluster.live("import")[0].node].name)
    cluster.wait(30_000)
    cluster.settle()
    slots = Counter(event.slot for event in cluster.told(AllocPlaced))
    assert slots == {one.slot: 1, other.slot: 3}


def test_one_that_ended_with_0_because_it_was_stopped_has_not_ended_well() -> None:
    cluster = up()
    cluster.batch(args="works")
    cluster.settle()
    [alloc] = cluster.live("import")
    cluster.do(stop_alloc(alloc))
    cluster.settle()
    assert cluster.status() == "running"
    assert cluster.launches()[0].complete == 0


def test_a_change_of_what_it_is_made_from_launches_it_again_once_the_one_before_is_gone() -> None:
    cluster = up()
    cluster.batch(args="works")
    cluster.settle()
    cluster.batch(args="other")
    cluster.decide()
    assert [launch.status for launch in cluster.launches()] == ["stopped", "running"]
    assert cluster.live("import") == [], "the one before has yet to end"
    cluster.settle()
    [alloc] = cluster.live("import")
    assert (alloc.launch, alloc.version) == (2, 2)


@pytest.mark.parametrize("change", [{"meta": {"a": "b"}}, {"restart": {"attempts": 1}}, {"count": 3}])
def test_other_changes_are_made_in_place(change: dict[str, Any]) -> None:
    cluster = up()
    cluster.batch(args="works")
    cluster.settle()
    cluster.batch(args="works", **change)
    cluster.settle()
    [launch] = cluster.launches()
    assert (launch.status, launch.version) == ("running", 2)
    assert len(cluster.live("import")) == change.get("count", 1)


def test_a_change_in_place_does_not_run_again_what_is_complete() -> None:
    cluster = up()
    cluster.batch()
    cluster.settle()
    cluster.batch(meta={"a": "b"}, count=3)
    cluster.settle()
    assert len(cluster.launches()) == 1
    assert cluster.status() == "complete"


def test_an_equal_spec_changes_nothing_and_a_restart_launches_again() -> None:
    cluster = up()
    cluster.batch()
    cluster.settle()
    index = cluster.state.index
    cluster.batch()
    assert cluster.state.index == index
    cluster.restart()
    cluster.settle()
    assert [(launch.kind, launch.status) for launch in cluster.launches()] == [
        ("submit", "complete"),
        ("restart", "complete"),
    ]


def test_fewer_replicas_are_stopped_while_it_runs() -> None:
    cluster = up()
    cluster.batch(args="works", count=3)
    cluster.settle()
    cluster.do(scale_job(cluster.job(), "main", 1, "tester"))
    cluster.settle()
    [left] = cluster.live("import")
    cluster.end(left)
    cluster.settle()
    assert cluster.status() == "complete"


def test_a_stop_ends_the_launch_and_a_submit_launches_again() -> None:
    cluster = up()
    cluster.batch(args="works")
    cluster.settle()
    cluster.stop("import")
    cluster.settle()
    assert (cluster.status(), cluster.launches()[0].status) == ("stopped", "stopped")
    cluster.batch(args="works")
    cluster.settle()
    assert (cluster.status(), len(cluster.launches())) == ("running", 2)


def test_a_rollback_launches_what_was_before() -> None:
    cluster = up()
    cluster.batch(args="ends")
    cluster.settle()
    cluster.batch(args="fails")
    cluster.settle()
    cluster.do(rollback_job(cluster.state, cluster.job(), None, "tester"))
    cluster.settle()
    assert [launch.status for launch in cluster.launches()] == ["complete", "failed", "complete"]


def test_a_job_stays_what_it_is() -> None:
    cluster = up()
    cluster.batch()
    with pytest.raises(Conflict) as refused:
        submit_job(cluster.state, spec(job="import"), "tester")
    assert refused.value.code == "job_type_fixed"


def test_what_fits_nowhere_waits_with_its_reason_and_starts_when_there_is_room() -> None:
    cluster = up("n1")
    cluster.batch(count=2, resources={"cpu": 3})
    cluster.decide()
    assert cluster.status() == "blocked"
    assert cluster.job().blocked == ("1 node: 1 exhausted cpu",)
    cluster.settle()
    assert cluster.status() == "complete", "the first one's end made room"


def test_several_tasks_are_complete_together() -> None:
    cluster = up()
    tasks = [{"name": name, "driver": "process", "command": ["x"], "args": ["works"]} for name in ("a", "b")]
    cluster.do(submit_job(cluster.state, spec(job="import", type="batch", tasks=tasks), "tester"))
    cluster.settle()
    one, other = cluster.live("import")
    cluster.end(one)
    cluster.settle()
    assert cluster.status() == "running"
    cluster.end(other)
    cluster.settle()
    assert cluster.status() == "complete"


def test_a_task_that_waits_for_another_begins_when_that_has_ended_well() -> None:
    cluster = up()
    task = {"driver": "process", "command": ["x"], "args": ["works"]}
    later = {"name": "later", "depends_on": [{"task": "first", "condition": "complete"}], **task}
    tasks = [{"name": "first", **task}, later]
    cluster.do(submit_job(cluster.state, spec(job="import", type="batch", tasks=tasks), "tester"))
    cluster.settle()
    [first] = cluster.live("import")
    assert first.task == "first"
    assert cluster.job().blocked == ("later: waits for import.first to be complete",)
    cluster.end(first)
    cluster.settle()
    [last] = cluster.live("import")
    assert last.task == "later"
    cluster.restart()
    cluster.settle()
    assert [alloc.task for alloc in cluster.live("import")] == ["first"], "each launch waits for its own"


def test_a_replica_works_on_a_drained_node_until_the_deadline_and_then_elsewhere() -> None:
    cluster = up("n1", "n2")
    cluster.batch(args="works")
    cluster.settle()
    [alloc] = cluster.live("import")
    cluster.add(NodeDrainStarted(alloc.node, cluster.state.nodes[alloc.node].name, 120, ignore_system=False))
    cluster.decide()
    cluster.step()
    assert [one.id for one in cluster.live("import")] == [alloc.id]
    cluster.wait(121_000)
    cluster.settle()
    [again] = cluster.live("import")
    assert again.node != alloc.node
    assert (cluster.launches()[0].status, cluster.launches()[0].failed) == ("running", 0)


def test_no_replicas_are_a_launch_that_is_complete() -> None:
    cluster = up()
    cluster.batch(count=0)
    cluster.settle()
    assert cluster.status() == "complete"


def test_a_dispatch_is_a_launch_beside_others_with_what_it_brings() -> None:
    cluster = up()
    cluster.batch(args="works", dispatch={"payload": "required", "meta_required": ["key"]})
    cluster.settle()
    assert (cluster.status(), cluster.launches()) == ("pending", ())
    cluster.dispatch(payload=b"one", key="a")
    cluster.dispatch(payload=b"two", key="b")
    cluster.settle()
    assert [(each.payload, each.meta) for each in cluster.launches()] == [
        (b"one", (("key", "a"),)),
        (b"two", (("key", "b"),)),
    ]
    for alloc in cluster.live("import"):
        cluster.end(alloc)
    cluster.settle()
    assert [(each.status, each.payload, each.size) for each in cluster.launches()] == [("complete", b"", 3)] * 2


def test_a_new_version_of_a_dispatched_job_lets_what_runs_go_on_as_it_was() -> None:
    cluster = up()
    cluster.batch(args="works", dispatch={})
    cluster.dispatch()
    cluster.settle()
    for number in range(25):
        cluster.batch(args=f"other-{number}", dispatch={})
    cluster.settle()
    [alloc] = cluster.live("import")
    assert alloc.version == cluster.launches()[0].version == 1
    cluster.do(stop_alloc(alloc))
    cluster.settle()
    [again] = cluster.live("import")
    assert again.version == 1


def test_deleting_a_job_ends_what_runs_and_forgets_it() -> None:
    cluster = up()
    uid = cluster.batch(args="works", count=2).uid
    cluster.settle()
    cluster.end(cluster.live("import")[0])
    cluster.delete("import")
    cluster.settle()
    assert uid not in cluster.state.jobs
    assert uid not in cluster.state.launches
    assert uid not in cluster.state.ended
