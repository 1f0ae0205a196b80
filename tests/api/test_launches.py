"""Batch jobs over HTTP: what a submit launches, dispatches, forced launches, and the list of launches."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final, Literal

import pytest

from heroctl.domain.events import JobLaunched, JobLaunchFinished
from tests.api.rig import Rig
from tests.api.specs import NIGHTLY, batch, coordinated, join, open_session, submit

DISPATCHED: Final[dict[str, Any]] = {
    "dispatch": {"payload": "required", "meta_required": ["key"], "meta_optional": ["x"]}
}


async def _launches(api: Rig, name: str = "import") -> list[dict[str, Any]]:
    reply = await api.get(f"/v1/jobs/{name}/launches")
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.body
    return found


async def _finished(
    api: Rig, launch: int, status: Literal["complete", "failed"] = "complete", reason: str = ""
) -> None:
    job = api.parts.view.state.job("default", "import")
    assert job is not None
    await api.decide(JobLaunchFinished(job.uid, "default", "import", launch, status, reason))


async def test_a_submit_of_a_batch_job_begins_a_launch_and_no_deployment(api: Rig) -> None:
    reply = await api.post("/v1/jobs", batch())
    assert (reply.status, reply.body["launch"], reply.body["deployment_id"]) == (201, 1, "")
    job = (await api.get("/v1/jobs/import")).body
    assert (job["type"], job["status"], job["deployment"]) == ("batch", "pending", None)
    assert (job["launch"], job["next_launch_at"]) == ({"number": 1, "status": "running"}, None)
    assert (await api.get("/v1/deployments?job=import")).body == []
    [launch] = await _launches(api)
    assert launch["kind"] == "submit"
    assert launch["allocations"] == {"pending": 0, "running": 0, "stopping": 0, "complete": 0, "failed": 0}


async def test_a_change_in_place_begins_none_and_an_equal_spec_is_no_event(api: Rig) -> None:
    await api.post("/v1/jobs", batch())
    changed = await api.post("/v1/jobs", batch(meta={"a": "b"}))
    assert (changed.body["version"], changed.body["launch"]) == (2, None)
    again = await api.post("/v1/jobs", batch(meta={"a": "b"}))
    assert (again.body["index"], again.body["launch"], again.body["deployment_id"]) == (changed.index, None, "")


async def test_the_status_is_that_of_the_newest_launch(api: Rig) -> None:
    await api.post("/v1/jobs", batch())
    await _finished(api, 1, "failed", "main[0] failed with exit code 3")
    assert (await api.get("/v1/jobs/import")).body["status"] == "failed"
    restarted = await api.post("/v1/jobs/import/restart")
    assert (restarted.body["launch"], restarted.body["deployment_id"]) == (2, "")
    await _finished(api, 2)
    assert (await api.get("/v1/jobs/import")).body["status"] == "complete"
    newest, oldest = await _launches(api)
    assert (newest["kind"], newest["status"]) == ("restart", "complete")
    assert (oldest["status"], oldest["reason"]) == ("failed", "main[0] failed with exit code 3")
    assert (await api.get("/v1/jobs/import/versions")).body[0]["stable"]


async def test_a_job_stays_of_its_type(api: Rig) -> None:
    await submit(api, "import")
    assert (await api.post("/v1/jobs", batch())).error == "job_type_fixed"


# ── dispatch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_dispatch_is_a_launch(api: Rig) -> None:
    made = await api.post("/v1/jobs", batch(**DISPATCHED))
    assert made.body["launch"] is None, "it runs when it is dispatched, and only then"
    assert (await api.get("/v1/jobs/import")).body["status"] == "pending"
    first = await api.post("/v1/jobs/import/dispatch", {"payload": "grüße", "meta": {"key": "1"}})
    assert (first.status, first.body["launch"], first.body["version"]) == (200, 1, 1)
    raw = base64.b64encode(b"\x00\xff").decode()
    second = await api.post(
        "/v1/jobs/import/dispatch", {"payload": raw, "encoding": "base64", "meta": {"key": "2", "x": "y"}}
    )
    assert second.body["launch"] == 2
    launches = await _launches(api)
    assert [(each["payload_bytes"], each["meta"]) for each in launches] == [
        (2, {"key": "2", "x": "y"}),
        (7, {"key": "1"}),
    ]
    assert [launch.payload for launch in api.parts.view.state.launches[made.index]] == ["grüße".encode(), b"\x00\xff"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"meta": {"key": "1"}}, "payload"),
        ({"payload": "x"}, "meta.key"),
        ({"payload": "x", "meta": {"key": "1", "other": "2"}}, "meta.other"),
        ({"payload": "x" * 65_537, "meta": {"key": "1"}}, "payload"),
        ({"payload": "not base64", "encoding": "base64", "meta": {"key": "1"}}, "payload"),
        ({"payload": "x", "meta": {"key": "a\0b"}}, "meta.key"),
        ({"payload": "x", "meta": {"key": "1", "k e y": "2"}}, "meta"),
        ({"payload": "x", "meta": {"key": "1", "x": "y" * 20_000}}, "meta"),
        ({"payload": "x", "meta": {"key": 1}}, "meta[...]"),
        ({"payload": 7, "meta": {"key": "1"}}, "payload"),
        ({"load": "x"}, "load"),
    ],
)
async def test_what_a_dispatch_lacks_or_has_too_much_of_is_named(api: Rig, body: dict[str, Any], path: str) -> None:
    await api.post("/v1/jobs", batch(**DISPATCHED))
    reply = await api.post("/v1/jobs/import/dispatch", body)
    assert (reply.status, reply.error) == (400, "invalid_body"), reply.body
    assert path in {problem["path"] for problem in reply.body["details"]}
    assert await _launches(api) == []


async def test_a_job_that_says_nothing_of_it_may_be_dispatched_too(api: Rig) -> None:
    await api.post("/v1/jobs", batch())
    assert (await api.post("/v1/jobs/import/dispatch", {"payload": "x", "meta": {"a": "b"}})).body["launch"] == 2
    assert (await api.post("/v1/jobs/import/dispatch")).body["launch"] == 3
    assert [each["status"] for each in await _launches(api)] == ["running"] * 3


async def test_a_dispatch_under_a_key_is_one_launch(api: Rig) -> None:
    await api.post("/v1/jobs", batch())
    key = {"Idempotency-Key": "order-7"}
    first = await api.post("/v1/jobs/import/dispatch", {"payload": "x"}, headers=key)
    again = await api.post("/v1/jobs/import/dispatch", {"payload": "x"}, headers=key)
    assert again.body == first.body
    assert len(await _launches(api)) == 2


@pytest.mark.parametrize(("verb", "code"), [("dispatch", "not_batch"), ("periodic/force", "not_batch")])
async def test_a_service_is_not_launched(api: Rig, verb: str, code: str) -> None:
    await coordinated(api)
    await submit(api)
    assert (await api.post(f"/v1/jobs/web/{verb}")).error == code
    assert (await api.get("/v1/jobs/web/launches")).body == []
    assert (await api.post(f"/v1/jobs/nothing/{verb}")).error == "job_not_found"


async def test_what_is_stopped_is_not_launched(api: Rig) -> None:
    await api.post("/v1/jobs", batch())
    await api.post("/v1/jobs/import/stop")
    assert (await api.post("/v1/jobs/import/dispatch")).error == "job_stopped"
    assert [each["status"] for each in await _launches(api)] == ["stopped"]


# ── the clock ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_periodic_job_waits_for_its_time_and_may_be_forced(api: Rig) -> None:
    made = await api.post("/v1/jobs", batch(periodic=NIGHTLY))
    assert made.body["launch"] is None
    assert (await api.get("/v1/jobs/import")).body["next_launch_at"].endswith(("00:30:00.000Z", "01:30:00.000Z"))
    assert (await api.post("/v1/jobs/import/periodic/force")).error == "no_coordinator"
    await coordinated(api)
    assert (await api.post("/v1/jobs/import/periodic/force")).body["launch"] == 1
    assert (await _launches(api))[0]["kind"] == "force"
    assert (await api.post("/v1/jobs/import/dispatch")).error == "not_dispatchable"
    assert (await api.post("/v1/jobs/import/restart")).error == "not_restartable"


async def test_a_plain_batch_job_is_not_forced(api: Rig) -> None:
    await coordinated(api)
    await api.post("/v1/jobs", batch())
    assert (await api.post("/v1/jobs/import/periodic/force")).error == "not_periodic"


async def test_a_launch_wakes_who_waits_for_the_list(api: Rig) -> None:
    made = await api.post("/v1/jobs", batch(periodic=NIGHTLY))
    waiting = asyncio.ensure_future(api.get(f"/v1/jobs/import/launches?index={made.index}&wait=5m"))
    await api.waiting(1)
    job = api.parts.view.state.job("default", "import")
    assert job is not None
    await api.decide(JobLaunched(job.uid, "default", "import", 1, 1, job.scheduled + 1))
    reply = await waiting
    assert [each["number"] for each in reply.body] == [1]


async def test_launches_as_they_were(api: Rig) -> None:
    made = await api.post("/v1/jobs", batch())
    then = await _launches(api)
    await _finished(api, 1)
    past = await api.get(f"/v1/jobs/import/launches?at={made.index}")
    assert (past.status, past.body) == (200, then)


async def test_launches_come_in_pages(api: Rig) -> None:
    await api.post("/v1/jobs", batch(dispatch={}))
    for _ in range(5):
        await api.post("/v1/jobs/import/dispatch")
    first = await api.get("/v1/jobs/import/launches?limit=3")
    assert [each["number"] for each in first.body] == [5, 4, 3]
    cursor = first.headers["x-heroctl-next-cursor"]
    rest = await api.get(f"/v1/jobs/import/launches?limit=3&cursor={cursor}")
    assert [each["number"] for each in rest.body] == [2, 1]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"periodic": {"cron": "61 * * * *"}}, "periodic.cron"),
        ({"periodic": {"cron": "@daily", "time_zone": "Mars/Olympus"}}, "periodic.time_zone"),
        ({"periodic": {"cron": "@daily", "zone": "UTC"}}, "periodic.zone"),
        ({"periodic": {}}, "periodic.cron"),
        ({"periodic": {"cron": "@daily"}, "dispatch": {}}, "dispatch"),
        ({"dispatch": {"payload": "maybe"}}, "dispatch.payload"),
        ({"dispatch": {"meta_required": ["a-b", "a_b"]}}, "dispatch.meta_required"),
    ],
)
async def test_what_is_wrong_with_what_launches_a_job_is_named(api: Rig, more: dict[str, Any], path: str) -> None:
    reply = await api.post("/v1/jobs", batch(**more))
    assert (reply.status, reply.error) == (400, "invalid_spec")
    assert [problem["path"] for problem in reply.body["details"]] == [path]


# ── what would be ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_plan_says_what_a_launch_would_place(api: Rig) -> None:
    _, token = await join(api)
    await open_session(api, token)
    at_once = (await api.post("/v1/jobs/plan", batch())).body
    assert (at_once["place"], at_once["waits_for"], at_once["once_launched"]) == (0, "", None)
    assert at_once["blocked"] == ["1 node: 1 not up yet"]
    later = (await api.post("/v1/jobs/plan", batch(periodic=NIGHTLY))).body
    assert (later["place"], later["waits_for"]) == (0, "launch")
    assert later["once_launched"]["place"] == 0
    assert later["blocked"] == ["1 node: 1 not up yet"]
