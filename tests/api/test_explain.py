"""Why a job is, or is not, running: over HTTP, with long polls, for those who may see the job."""

from __future__ import annotations

import pytest

from heroctl.domain.assignment import Report
from heroctl.domain.events import AllocReported, JobPlanFailed, NodeUp
from reconciler.planner import explain
from tests.api.rig import Rig
from tests.api.specs import join, open_session, place, runs, submit

FIELDS = {
    "name",
    "namespace",
    "status",
    "version",
    "summary",
    "deployment",
    "blocked",
    "coordinated",
    "nodes",
    "slots",
    "left_out",
}
SLOT = {"task", "slot", "standing", "words", "alloc", "old", "last", "retry_at", "lacking"}


async def node(api: Rig, name: str = "node-1") -> str:
    """Let a server join, and come up."""
    identity, token = await join(api, name)
    await open_session(api, token)
    await api.decide(NodeUp(identity, name))
    return identity


async def test_a_job_without_room_says_what_each_node_lacks(api: Rig) -> None:
    await node(api)
    await submit(api, task={"resources": {"memory": "100GB"}})
    told = (await api.get("/v1/jobs/web/explain")).body
    assert told.keys() == FIELDS
    [slot] = told["slots"]
    assert slot.keys() == SLOT
    assert (slot["standing"], slot["lacking"]) == ("no_room", {"exhausted memory": 1})
    assert slot["words"] == "app[0]: waiting for room: 1 node considered: 1 exhausted memory (needs 100GB)"
    assert slot["words"] in told["summary"]
    assert (told["nodes"], told["left_out"]) == (1, 0)


async def test_what_health_said_last_is_told(api: Rig) -> None:
    identity = await node(api)
    await submit(api, task={"health": {"http": "/healthz"}})
    alloc = await place(api, identity)
    failing = Report(alloc, 1, "running", "unhealthy", running_for=9.0, message="GET /healthz: 503")
    await api.append(AllocReported(identity, failing))
    [slot] = (await api.get("/v1/jobs/web/explain")).body["slots"]
    assert slot["words"] == "app[0]: running on node-1, and failing its http check: GET /healthz: 503"
    assert (slot["alloc"]["id"], slot["alloc"]["node"], slot["alloc"]["health"]) == (alloc, "node-1", "unhealthy")
    assert (slot["old"], slot["last"]) == (None, None)


async def test_who_waits_is_woken_when_the_job_moves(api: Rig) -> None:
    identity = await node(api)
    await submit(api)
    seen = await api.get("/v1/jobs/web/explain")
    asking = api.ask("GET", f"/v1/jobs/web/explain?index={seen.index}&wait=60s")
    await api.waiting(1)
    await runs(api, identity, await place(api, identity))
    woken = await asking.reply()
    assert woken.index > seen.index
    assert (await api.get("/v1/jobs/web/explain")).body["slots"][0]["standing"] == "healthy"


async def test_spans_of_time_are_those_of_now(api: Rig) -> None:
    identity = await node(api)
    await submit(api)
    await place(api, identity)
    first = (await api.get("/v1/jobs/web/explain")).body["slots"][0]["words"]
    assert first == "app[0]: placed on node-1 0s ago: its agent has not begun"
    api.clock.now += 30
    api.clock.ticks += 30
    later = (await api.get("/v1/jobs/web/explain")).body["slots"][0]["words"]
    assert later == "app[0]: placed on node-1 30s ago: its agent has not begun"


async def test_that_nobody_coordinates_is_told(api: Rig) -> None:
    await submit(api)
    told = (await api.get("/v1/jobs/web/explain")).body
    assert not told["coordinated"]
    assert told["summary"].endswith("no reconciler coordinates: nothing is decided now")
    assert await api.leases.take("reconciler-1", 15)
    await api.parts.pulse.look()
    api.clock.ticks += 2
    told = (await api.get("/v1/jobs/web/explain")).body
    assert told["coordinated"]
    assert "coordinates" not in told["summary"]


async def test_stopped_and_quarantined_jobs_are_told_of(api: Rig) -> None:
    await submit(api)
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    for _ in range(3):
        await api.decide(JobPlanFailed(job.uid, "default", "web", "ZeroDivisionError: by nothing", "1"))
    told = (await api.get("/v1/jobs/web/explain")).body
    assert "is left alone: quarantined: planning it failed 3 times: ZeroDivisionError" in told["summary"]
    await api.post("/v1/jobs/web/stop")
    told = (await api.get("/v1/jobs/web/explain")).body
    assert "is stopped by a user" in told["summary"]
    assert (told["status"], told["slots"]) == ("stopped", [])


async def test_slots_that_are_not_well_come_first_and_no_more_than_so_many(
    api: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = await node(api)
    await submit(api, task={"count": 4})
    await runs(api, identity, await place(api, identity))
    monkeypatch.setattr(explain, "MOST_SLOTS", 3)
    told = (await api.get("/v1/jobs/web/explain")).body
    assert [slot["slot"] for slot in told["slots"]] == [1, 2, 3]
    assert told["left_out"] == 1


async def test_who_may_not_see_a_job_gets_no_explanation(api: Rig) -> None:
    await api.post("/v1/namespaces", {"name": "other"})
    await submit(api, namespace="other")
    assert (await api.get("/v1/jobs/web/explain")).error == "job_not_found"
    assert (await api.get("/v1/jobs/web/explain?namespace=other")).status == 200
    assert (await api.get("/v1/jobs/web/explain?namespace=other", token="")).status == 401
