"""The life of a job, on every runtime: what users do, what the API shows and what the machine really runs agree."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.client import RefusedError
from tests.e2e.cluster import Cluster
from tests.e2e.specs import PATIENT, QUICK, job
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


def test_a_submitted_job_runs_and_is_healthy(there: Cluster) -> None:
    answer = there.client.post("/v1/jobs", job(there.runtime, "first", count=2))
    assert answer.status == 201
    assert answer.body["version"] == 1
    allocs = there.wait_healthy("first", 2)
    running = there.running("first")
    assert {found.alloc for found in running} == {alloc["id"] for alloc in allocs}
    assert {(found.attempt, found.version) for found in running} == {(1, 1)}
    shown = there.wait_deployed("first", 1)
    assert shown["status"] == "running"
    [task] = shown["tasks"]
    assert (task["desired"], task["running"], task["healthy"]) == (2, 2, 2)
    assert {alloc["slot"] for alloc in allocs} == {0, 1}


def test_scaling_touches_only_what_it_must(there: Cluster) -> None:
    there.submit(job(there.runtime, "scaled"))
    there.wait_healthy("scaled", 1)
    first = there.wait_running("scaled", 1)
    there.submit(job(there.runtime, "scaled", count=3))
    there.wait_healthy("scaled", 3)
    three = there.wait_running("scaled", 3)
    assert set(first) < set(three)
    there.submit(job(there.runtime, "scaled", count=1))
    there.wait_healthy("scaled", 1)
    assert set(there.wait_running("scaled", 1)) < set(three)
    there.wait_quiet()


def test_a_rolling_update_never_has_fewer_healthy_than_wanted(there: Cluster) -> None:
    there.submit(job(there.runtime, "rolled", count=3))
    there.wait_healthy("rolled", 3)
    index = there.wait_quiet(still=1)
    with there.observe("rolled") as observer:
        there.submit(job(there.runtime, "rolled", count=3, release="two"))
        there.wait_deployed("rolled", 2, timeout=60)
        there.wait_healthy("rolled", 3, version=2)
    assert observer.lowest >= 3
    assert observer.highest <= 4, "one at a time"
    assert there.fewest_healthy("rolled", index) >= 3
    assert {found.version for found in there.wait_running("rolled", 3)} == {2}


def test_an_equal_spec_changes_nothing(there: Cluster) -> None:
    there.submit(job(there.runtime, "equal"))
    there.wait_deployed("equal", 1)
    running = there.running("equal")
    head = there.wait_quiet()
    answer = there.client.post("/v1/jobs", job(there.runtime, "equal"))
    assert (answer.status, answer.body["version"]) == (200, 1)
    assert there.wait_quiet() == head
    assert there.running("equal") == running


def test_a_change_of_policy_restarts_nothing(there: Cluster) -> None:
    there.submit(job(there.runtime, "policy", count=2))
    there.wait_deployed("policy", 1)
    running = there.running("policy")
    there.submit(job(there.runtime, "policy", count=2, restart={"attempts": 5, "delay": "1s"}))
    there.wait_deployed("policy", 2)
    there.wait_quiet()
    assert there.running("policy") == running


def test_a_crash_is_restarted_by_policy_then_rescheduled(there: Cluster) -> None:
    spec = job(
        there.runtime,
        "crashing",
        restart={"attempts": 1, "interval": "1m", "delay": "100ms"},
        reschedule={"delay": "500ms", "max_delay": "1s"},
    )
    there.submit(spec)
    there.wait_deployed("crashing", 1)
    [first] = there.wait_running("crashing", 1)
    there.runtime.crash(first)
    wait_for_attempt(there, "crashing", first.alloc, 2)
    there.wait_healthy("crashing", 1)
    [second] = there.wait_running("crashing", 1)
    assert (second.alloc, second.attempt) == (first.alloc, 2)
    assert second.id != first.id

    there.runtime.crash(second)
    failed = there.client.wait_until(
        f"/v1/allocations/{first.alloc}", lambda alloc: alloc["status"] == "failed", what="the failure"
    )
    assert failed["exit_code"] == 137
    [replacement] = there.wait_healthy("crashing", 1)
    assert (replacement["slot"], replacement["attempt"]) == (failed["slot"], 1)
    assert replacement["id"] != first.alloc
    [third] = there.wait_running("crashing", 1)
    assert third.alloc == replacement["id"]


def test_a_stopped_allocation_is_replaced_in_its_slot(there: Cluster) -> None:
    there.submit(job(there.runtime, "stopped", count=2))
    there.wait_deployed("stopped", 1)
    before = {alloc["id"]: alloc for alloc in there.wait_healthy("stopped", 2)}
    gone, kept = sorted(before)
    answer = there.client.post(f"/v1/allocations/{gone}/stop", {})
    assert answer.status == 200
    ended = there.client.wait_until(f"/v1/allocations/{gone}", lambda alloc: alloc["status"] == "complete")
    after = {alloc["id"]: alloc for alloc in there.wait_healthy("stopped", 2)}
    assert kept in after
    assert gone not in after
    assert {alloc["slot"] for alloc in after.values()} == {0, 1}
    assert ended["wanted"] == "stop"
    assert {found.alloc for found in there.wait_running("stopped", 2)} == set(after)


def test_a_deleted_job_is_gone_at_once_and_its_containers_soon(there: Cluster) -> None:
    there.submit(job(there.runtime, "deleted", count=2))
    there.wait_healthy("deleted", 2)
    assert there.client.delete("/v1/jobs/deleted").status == 200
    with pytest.raises(RefusedError) as refused:
        there.client.get("/v1/jobs/deleted")
    assert (refused.value.status, refused.value.code) == (404, "job_not_found")
    there.wait_running("deleted", 0)
    there.client.wait_until("/v1/allocations", lambda allocs: live(allocs) == 0, job="deleted")
    there.submit(job(there.runtime, "deleted"))
    assert there.wait_deployed("deleted", 1)["version"] == 1


def test_a_stopped_job_stays_and_runs_nothing(there: Cluster) -> None:
    there.submit(job(there.runtime, "resting", count=2))
    there.wait_healthy("resting", 2)
    there.client.post("/v1/jobs/resting/stop", {})
    there.wait_running("resting", 0)
    shown = there.client.wait_until("/v1/jobs/resting", lambda body: body["status"] == "stopped")
    assert shown["tasks"][0]["desired"] == 0
    there.wait_quiet()


def test_a_bad_release_leaves_the_old_one_as_it_was(there: Cluster) -> None:
    there.submit(job(there.runtime, "careful", count=3))
    there.wait_deployed("careful", 1)
    running = there.running("careful")
    index = there.wait_quiet(still=1)
    broken = job(
        there.runtime,
        "careful",
        count=3,
        release="two",
        script="exit 3",
        restart={"attempts": 0},
        reschedule={"delay": "1h"},
        update={**QUICK, "auto_revert": False},
    )
    there.submit(broken)
    failed = there.client.wait_until(
        "/v1/jobs/careful", lambda body: body["deployment"]["status"] == "failed", what="the failed deployment"
    )
    assert failed["version"] == 2
    assert there.fewest_healthy("careful", index) >= 3
    assert there.wait_running("careful", 3) == running


def test_a_health_check_decides_what_is_healthy(there: Cluster) -> None:
    flag = {"process": f"{there.folder}/up-$HEROCTL_ALLOC", "docker": "/tmp/up"}[there.runtime.name]
    check = {"command": ["/bin/sh", "-c", f"test -e {flag}"], "interval": "200ms", "timeout": "5s", "retries": 3}
    check["start_period"] = "0s"
    there.submit(job(there.runtime, "checked", script=f"touch {flag}; {PATIENT}", health=check))
    there.wait_deployed("checked", 1)
    ill = job(there.runtime, "ill", health=check, restart={"attempts": 0}, update={**QUICK, "healthy_deadline": "5s"})
    there.submit(ill)
    failed = there.client.wait_until("/v1/jobs/ill", lambda body: body["deployment"]["status"] == "failed")
    assert failed["tasks"][0]["healthy"] == 0
    [found] = there.wait_running("checked", 1)
    assert found.attempt == 1


def test_a_port_leads_to_the_workload(there: Cluster) -> None:
    script = {
        "process": "exec python3 -m http.server --bind 0.0.0.0 $HEROCTL_PORT_HTTP",
        "docker": "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp",
    }[there.runtime.name]
    check = {"http": "/", "interval": "300ms", "timeout": "2s", "retries": 20}
    there.submit(job(there.runtime, "served", script=script, ports={"http": 8080}, health=check))
    there.wait_deployed("served", 1)
    [alloc] = there.wait_healthy("served", 1)
    assert 20_000 <= alloc["ports"]["http"]["host"] <= 32_000


def wait_for_attempt(there: Cluster, name: str, alloc: str, attempt: int) -> None:
    until(
        lambda: [(alloc, attempt)] == [(found.alloc, found.attempt) for found in there.running(name)],
        timeout=20,
        what=f"attempt {attempt} of {alloc}",
    )


def live(allocs: list[dict[str, Any]]) -> int:
    return sum(alloc["status"] not in ("complete", "failed", "lost") for alloc in allocs)
