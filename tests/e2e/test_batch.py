"""Batch jobs on every runtime: what containers end with is what their launches come to, whoever is killed meanwhile."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.e2e.client import RefusedError
from tests.e2e.cluster import Cluster
from tests.e2e.specs import SMALL

pytestmark = pytest.mark.timeout(240)
ONCE: Final = {"restart": {"attempts": 0}, "reschedule": {"delay": "1s", "unlimited": False}}


def batch(
    there: Cluster, name: str, script: str, *, more: dict[str, Any] | None = None, **task: object
) -> dict[str, Any]:
    """Make a batch job of one task."""
    made = {"name": "work", "resources": SMALL, "kill_timeout": "2s", **ONCE, **there.runtime.task(script), **task}
    return {"job": name, "type": "batch", "tasks": [made], **(more or {})}


def ended(there: Cluster, name: str, number: int, *, timeout: float = 60) -> dict[str, Any]:
    """Wait until a launch is over."""

    def over(launches: list[dict[str, Any]] | None) -> dict[str, Any] | None:
        found = (each for each in launches or () if each["number"] == number and each["status"] != "running")
        return next(found, None)

    path = f"/v1/jobs/{name}/launches"
    body = there.client.wait_until(path, over, timeout=timeout, what=f"launch {number} of {name} to end")
    found = over(body)
    assert found is not None
    return found


def codes(there: Cluster, name: str) -> list[int | None]:
    """Say what the allocations of a job ended with."""
    return [each["exit_code"] for each in there.client.get("/v1/allocations", job=name).body]


def test_a_launch_is_complete_when_all_have_ended_with_0_and_none_runs_again(there: Cluster) -> None:
    made = there.client.post("/v1/jobs", batch(there, "fine", "exit 0", count=3)).body
    assert (made["launch"], made["deployment_id"]) == (1, "")
    launch = ended(there, "fine", 1)
    assert (launch["status"], launch["allocations"]["complete"], launch["allocations"]["failed"]) == ("complete", 3, 0)
    assert there.client.get("/v1/jobs/fine").body["status"] == "complete"
    there.wait_quiet()
    assert codes(there, "fine") == [0, 0, 0]
    assert there.running("fine") == []


def test_exit_codes_are_kept_and_fail_the_launch_after_another_try(there: Cluster) -> None:
    there.client.post("/v1/jobs", batch(there, "bad", "echo no such row; exit 7"))
    launch = ended(there, "bad", 1)
    assert (launch["status"], launch["allocations"]["failed"]) == ("failed", 2)
    assert "work[0] failed with exit code 7" in launch["reason"]
    assert codes(there, "bad") == [7, 7]
    again = there.client.post("/v1/jobs/bad/restart", {}).body
    assert ended(there, "bad", again["launch"])["status"] == "failed"


def test_restarts_on_the_node_come_first(there: Cluster) -> None:
    spec = batch(
        there,
        "third",
        '[ "$HEROCTL_ATTEMPT" = 3 ] || exit 1',
        restart={"attempts": 3, "interval": "1h", "delay": "200ms", "mode": "fail"},
    )
    there.client.post("/v1/jobs", spec)
    assert ended(there, "third", 1)["status"] == "complete"
    [alloc] = there.client.get("/v1/allocations", job="third").body
    assert (alloc["attempt"], alloc["exit_code"], alloc["status"]) == (3, 0, "complete")


def test_a_payload_and_its_meta_reach_the_replica(there: Cluster) -> None:
    script = (
        '[ "$HEROCTL_PAYLOAD" = "row 7: grüße" ] || exit 11; [ "$HEROCTL_META_KEY" = v ] || exit 12; '
        '[ "$HEROCTL_LAUNCH" = "$1" ] || [ "$COPY" = "row 7: grüße" ] || exit 13'
    )
    more = {"dispatch": {"payload": "required", "meta_required": ["key"]}}
    there.client.post("/v1/jobs", batch(there, "rows", script, env={"COPY": "${launch.payload}"}, more=more))
    body = {"payload": "row 7: grüße", "meta": {"key": "v"}}
    first = there.client.post("/v1/jobs/rows/dispatch", body).body
    second = there.client.post("/v1/jobs/rows/dispatch", body | {"payload": "row 8"}).body
    assert ended(there, "rows", first["launch"])["status"] == "complete"
    failed = ended(there, "rows", second["launch"])
    assert (failed["status"], failed["payload_bytes"]) == ("failed", 5)
    assert "exit code 11" in failed["reason"]
    with pytest.raises(RefusedError) as refused:
        there.client.post("/v1/jobs/rows/dispatch", {"meta": {"key": "v"}})
    assert refused.value.code == "invalid_body"


def test_a_large_payload_arrives_whole(there: Cluster) -> None:
    script = '[ "${#HEROCTL_PAYLOAD}" = 65536 ] || exit 11'
    there.client.post("/v1/jobs", batch(there, "large", script, more={"dispatch": {}}))
    made = there.client.post("/v1/jobs/large/dispatch", {"payload": "x" * 65_536}).body
    assert ended(there, "large", made["launch"])["status"] == "complete"


def test_stopping_a_job_ends_its_launch(there: Cluster) -> None:
    there.client.post("/v1/jobs", batch(there, "long", "sleep 3600", count=2))
    there.wait_running("long", 2)
    there.client.post("/v1/jobs/long/stop", {})
    assert ended(there, "long", 1)["status"] == "stopped"
    there.wait_running("long", 0)
    assert there.client.get("/v1/jobs/long").body["status"] == "stopped"


def test_the_clock_may_be_forced(there: Cluster) -> None:
    more = {"periodic": {"cron": "0 0 1 1 *"}}
    there.client.post("/v1/jobs", batch(there, "yearly", "exit 0", more=more))
    assert there.client.get("/v1/jobs/yearly").body["next_launch_at"].endswith("-01-01T00:00:00.000Z")
    made = there.client.post("/v1/jobs/yearly/periodic/force", {}).body
    launch = ended(there, "yearly", made["launch"])
    assert (launch["status"], launch["kind"], launch["scheduled_at"]) == ("complete", "force", None)


def test_killed_parts_leave_each_replica_run_once(there: Cluster) -> None:
    """The api, the coordinator and the agent are killed while replicas work: what ended meanwhile has ended well."""
    there.client.post("/v1/jobs", batch(there, "tough", "sleep 4", count=2))
    there.wait_running("tough", 2)
    for part in ("agent-1", "reconciler-1", "api-1"):
        there.restart(part)
    launch = ended(there, "tough", 1, timeout=120)
    assert (launch["status"], launch["allocations"]["complete"], launch["allocations"]["failed"]) == ("complete", 2, 0)
    allocs = there.client.get("/v1/allocations", job="tough").body
    assert [(each["attempt"], each["exit_code"]) for each in allocs] == [(1, 0)] * 2
