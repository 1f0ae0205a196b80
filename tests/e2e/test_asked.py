"""What users ask of an allocation that runs: begun anew in its place, sent a signal, stopped and followed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(120)


def only(there: Cluster, name: str) -> dict[str, Any]:
    [alloc] = [each for each in there.allocations(name) if each["wanted"] == "run"]
    return dict(there.client.get(f"/v1/allocations/{alloc['id']}").body)


def timeline(alloc: dict[str, Any]) -> list[str]:
    return [each["event"] for each in alloc["timeline"]]


def test_it_is_begun_anew_in_its_place_and_that_is_no_failure(there: Cluster) -> None:
    there.submit(job(there.runtime, "web"))
    there.wait_deployed("web", 1)
    before = only(there, "web")
    [old] = there.running("web")
    there.client.post(f"/v1/allocations/{before['id']}/restart", {})
    after = there.client.wait_until(
        f"/v1/allocations/{before['id']}",
        lambda body: body["attempt"] > before["attempt"] and body["health"] == "healthy",
        what="the next attempt",
    )
    assert (after["id"], after["node"], after["version"]) == (before["id"], before["node"], 1)
    assert "alloc.restart_requested" in timeline(after)
    [new] = there.running("web")
    assert new != old
    assert there.client.get("/v1/jobs/web").body["status"] == "running"
    assert there.client.get("/v1/events", type="alloc.failed", topic="job:web").body == []
    there.delete("web")


def test_a_signal_reaches_what_runs_once_and_is_told_of(there: Cluster) -> None:
    script = "trap 'echo reloaded' HUP; while :; do sleep 0.1; done"
    there.submit(job(there.runtime, "hup", script=script))
    there.wait_deployed("hup", 1)
    alloc = only(there, "hup")
    there.client.post(f"/v1/allocations/{alloc['id']}/signal", {"signal": "SIGHUP"})
    after = there.client.wait_until(
        f"/v1/allocations/{alloc['id']}", lambda body: "alloc.signalled" in timeline(body), what="the signal's answer"
    )
    assert (after["attempt"], after["status"]) == (alloc["attempt"], "running")
    said = until(lambda: there.client.get("/v1/logs", job="hup").body, what="what it said")
    assert [each["line"] for each in said] == ["reloaded"]
    there.delete("hup")
