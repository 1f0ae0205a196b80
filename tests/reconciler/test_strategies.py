"""Strategies by themselves and together: what a slot is told, tasks that go different ways, who gets the traffic."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain import spec as specs
from heroctl.domain.events import Event, JobFailed, JobReverted
from heroctl.domain.intents import deployments, jobs
from heroctl.domain.records import Deployment, Job
from heroctl.domain.traffic import traffic
from reconciler.planner.strategy import stage
from tests.domain.worlds import spec
from tests.reconciler.cluster import Cluster
from tests.reconciler.watched import Watched

MINUTE = 60_000


def deployment(**fields: Any) -> Deployment:  # noqa: ANN401 - the record's fields
    known = {"id": "d", "uid": 1, "namespace": "default", "job": "web", "version": 2, "previous_version": 1}
    known |= {"created_at": 0, "progress_at": 0, "create_index": 1, "modify_index": 1, "promoted": False}
    return Deployment(**{**known, **fields})


CANARY = specs.Update(strategy="canary", canary=specs.Canary(count=2))
BLUE_GREEN = specs.Update(strategy="blue-green")
RAINBOW = specs.Update(strategy="rainbow")


@pytest.mark.parametrize(
    ("update", "fields", "stages"),
    [
        (specs.Update(), {}, "replace replace replace"),
        (CANARY, {}, "beside beside keep"),
        (CANARY, {"status": "awaiting_promotion", "step": 1}, "beside beside keep"),
        (CANARY, {"status": "paused"}, "keep keep keep"),
        (CANARY, {"status": "failed"}, "keep keep keep"),
        (CANARY, {"promoted": True}, "replace replace replace"),
        (CANARY, {"promoted": True, "status": "failed"}, "replace replace replace"),
        (CANARY, {"status": "successful"}, "replace replace replace"),
        (BLUE_GREEN, {}, "beside beside beside"),
        (BLUE_GREEN, {"status": "failed"}, "keep keep keep"),
        (BLUE_GREEN, {"promoted": True}, "replace replace replace"),
        (BLUE_GREEN, {"promoted": True, "promoted_at": 0}, "beside beside beside"),
        (BLUE_GREEN, {"promoted": True, "promoted_at": 0, "status": "successful"}, "beside beside beside"),
        (BLUE_GREEN, {"promoted": True, "promoted_at": 0, "status": "failed"}, "replace replace replace"),
        (BLUE_GREEN, {"promoted": True, "promoted_at": -9 * MINUTE}, "replace replace replace"),
        (RAINBOW, {}, "replace replace replace"),
        (RAINBOW, {"status": "failed"}, "keep keep keep"),
        (specs.Update(), {"status": "paused", "promoted": True}, "keep keep keep"),
    ],
)
def test_a_slot_is_told_what_becomes_of_it(update: specs.Update, fields: dict[str, Any], stages: str) -> None:
    record = deployment(**fields)
    assert [stage(update, record, slot, MINUTE, old=True) for slot in range(3)] == stages.split()
    alone = "keep" if record.status == "paused" else None
    if alone is None and not record.promoted:
        assert {stage(update, record, slot, MINUTE, old=False) for slot in range(3)} == {"replace"}


# ── tasks that go different ways ─────────────────────────────────────────────────────────────────────────────────────


def mixed(release: str, **updates: dict[str, Any]) -> specs.Job:
    """Make a job of four tasks of two replicas, each with a strategy of its own."""
    ways: dict[str, dict[str, Any]] = {
        "roll": {"max_parallel": 2},
        "try": {"strategy": "canary", "canary": {"count": 1, "steps": [20]}},
        "swap": {"strategy": "blue-green", "blue_green": {"keep_old": "1m"}},
        "keep": {"strategy": "rainbow", "rainbow": {"keep": 1}},
    }
    tasks = [
        {
            "name": name,
            "driver": "process",
            "command": ["serve"],
            "args": [release],
            "count": 2,
            "update": {**way, **updates.get(name, {})},
        }
        for name, way in ways.items()
    ]
    made: specs.Job = spec(tasks=tasks)
    return made


def submitted(cluster: Cluster, release: str, **updates: dict[str, Any]) -> Job:
    cluster.do(jobs.submit_job(cluster.state, mixed(release, **updates), "tester"))
    return the_job(cluster)


def the_job(cluster: Cluster) -> Job:
    job = cluster.state.job("default", "web")
    assert job is not None
    return job


def started() -> Watched:
    cluster = Watched()
    for name in ("n1", "n2", "n3"):
        cluster.join(name)
    submitted(cluster, "v1")
    cluster.calm()
    return cluster


def runs(cluster: Cluster) -> dict[str, list[int]]:
    """Say which versions each task runs."""
    found: dict[str, list[int]] = {}
    for alloc in sorted(cluster.live("web"), key=lambda alloc: alloc.version):
        found.setdefault(alloc.task, []).append(alloc.version)
    return found


def current(cluster: Cluster) -> Deployment:
    return cluster.state.deployments[the_job(cluster).deployment]


def shares(cluster: Cluster, task: str) -> dict[int, int]:
    return {share.version: share.weight for share in traffic(cluster.state, the_job(cluster), task)}


def test_one_promotion_is_for_all_tasks() -> None:
    cluster = started()
    submitted(cluster, "v2")
    cluster.calm()
    assert current(cluster).status == "awaiting_promotion"
    assert runs(cluster) == {"roll": [2, 2], "try": [1, 1, 2], "swap": [1, 1, 2, 2], "keep": [1, 1, 2, 2]}
    assert shares(cluster, "try") == {2: 20, 1: 80}
    assert shares(cluster, "swap") == {2: 0, 1: 100}
    cluster.do(deployments.promote(current(cluster)))
    cluster.decide()
    assert current(cluster).status == "running"
    assert shares(cluster, "swap") == {2: 100, 1: 0}
    cluster.calm()
    assert current(cluster).status == "successful"
    assert runs(cluster) == {"roll": [2, 2], "try": [2, 2], "swap": [2, 2], "keep": [1, 1, 2, 2]}


def test_a_task_that_fails_takes_the_others_back() -> None:
    cluster = started()
    submitted(cluster, "v2")
    cluster.calm()
    cluster.fail(next(alloc for alloc in cluster.live("web") if alloc.task == "try" and alloc.version == 2))
    cluster.calm()
    failed = [deployment for deployment in cluster.state.deployments.values() if deployment.version == 2]
    assert [(each.status, each.told) for each in failed] == [("reverted", True)]
    assert runs(cluster) == {"roll": [3, 3], "try": [1, 1], "swap": [1, 1], "keep": [1, 1]}
    assert [share.weight for share in traffic(cluster.state, the_job(cluster), "swap")] == [100]


def told(cluster: Cluster, *kinds: type[Event]) -> list[Event]:
    return [record.event for record in cluster.records if isinstance(record.event, kinds)]


def test_a_task_that_says_no_keeps_its_job_from_going_back() -> None:
    cluster = started()
    submitted(cluster, "v2", roll={"auto_revert": False})
    cluster.calm()
    cluster.do(deployments.fail(current(cluster), "no good"))
    cluster.calm()
    assert told(cluster, JobReverted) == []
    assert len(told(cluster, JobFailed)) == 1
    assert runs(cluster) == {"roll": [2, 2], "try": [1, 1], "swap": [1, 1], "keep": [1, 1]}


def test_versions_that_still_run_are_kept_on_record() -> None:
    """However many changes in place come after: a replica of an older one that is lost comes back."""
    cluster = Watched()
    for name in ("n1", "n2", "n3"):
        cluster.join(name)
    rainbow = {"strategy": "rainbow", "rainbow": {"keep": 1}}
    cluster.run(args="v1", count=1)
    cluster.calm()
    for deadline in range(30):
        cluster.run(args="v2", count=1, update={**rainbow, "progress_deadline": f"{20 + deadline}m"})
        cluster.calm()
    cluster.fail(next(alloc for alloc in cluster.live("web") if alloc.version == 1))
    cluster.calm()
    assert [alloc.version for alloc in cluster.live("web")] == [2, 1]
    assert shares(cluster, "main") == {31: 100, 1: 0}


def test_it_stays_on_record_that_what_still_runs_was_deployed() -> None:
    """However often it is scaled after: a kept version's replicas may have come with a version that was never done."""
    cluster = Watched()
    for name in ("n1", "n2", "n3"):
        cluster.join(name)
    rainbow = {"strategy": "rainbow", "rainbow": {"keep": 1}}
    cluster.run(args="v1", count=2, update=rainbow)
    cluster.decide()
    cluster.do(jobs.scale_job(the_job(cluster), "main", 1, "me"))
    cluster.calm()
    cluster.run(args="v2", count=1, update=rainbow)
    cluster.calm()
    for number in range(30):
        cluster.do(jobs.scale_job(the_job(cluster), "main", 2 - number % 2, "me"))
        cluster.calm()
    assert [alloc.version for alloc in cluster.live("web")] == [1, 3]
