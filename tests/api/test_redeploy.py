"""Rollback, scale, restart, and what is different between versions."""

from __future__ import annotations

from typing import Any, Final

import pytest

from heroctl.domain.events import ImagePinned
from tests.api.people import policy, secret, user
from tests.api.rig import Rig
from tests.api.specs import coordinated, finish, spec, submit

ASKS: Final[dict[str, Any]] = {"rollback": {"version": 1}, "scale": {"count": 3}, "restart": {}}
every_ask = pytest.mark.parametrize("verb", ASKS)


async def detail(api: Rig) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("/v1/jobs/web")).body
    return found


async def diff(api: Rig, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/v1/jobs/web/versions/diff{query}")).body
    return found


# ── what all three have in common ────────────────────────────────────────────────────────────────────────────────────


@every_ask
async def test_each_answers_as_a_submit_does(api: Rig, verb: str) -> None:
    await coordinated(api)
    await submit(api)
    await submit(api, task={"command": ["two"]})
    reply = await api.post(f"/v1/jobs/web/{verb}", ASKS[verb])
    job = await detail(api)
    assert reply.status == 200
    assert reply.body.pop("warnings") is not None
    assert reply.body | {"warnings": []} == {
        "name": "web",
        "namespace": "default",
        "version": job["version"],
        "index": reply.index,
        "deployment_id": job["deployment"]["id"],
        "launch": None,
        "warnings": [],
    }
    deployment = (await api.get(f"/v1/deployments/{job['deployment']['id']}")).body
    assert (deployment["kind"], deployment["create_index"]) == (verb, reply.index)


@every_ask
async def test_each_is_guarded(api: Rig, verb: str) -> None:
    first = await submit(api)
    second = await submit(api, task={"command": ["two"]})
    late = await api.post(f"/v1/jobs/web/{verb}?check_index={first.index}", ASKS[verb])
    assert (late.status, late.error) == (409, "index_conflict")
    assert (await api.post(f"/v1/jobs/web/{verb}?check_index=0", ASKS[verb])).error == "job_exists"
    assert (await api.post(f"/v1/jobs/web/{verb}?check_index=x", ASKS[verb])).error == "invalid_check_index"
    assert (await api.post(f"/v1/jobs/web/{verb}?check_index={second.index}", ASKS[verb])).status == 200


@every_ask
async def test_each_needs_a_job_that_may_be_seen(api: Rig, verb: str) -> None:
    assert (await api.post(f"/v1/jobs/web/{verb}", ASKS[verb])).error == "job_not_found"
    await submit(api)
    await api.post("/v1/namespaces", {"name": "theirs"})
    stranger = await user(api, "stranger", "deployer", namespaces=["theirs"])
    assert (await api.post(f"/v1/jobs/web/{verb}", ASKS[verb], token=stranger)).error == "job_not_found"
    assert (await api.post(f"/v1/jobs/web/{verb}", ASKS[verb], token=await api.role("viewer"))).error == "forbidden"


@every_ask
async def test_each_has_a_right_of_its_own(api: Rig, verb: str) -> None:
    await submit(api)
    await submit(api, task={"command": ["two"]})
    await policy(api, verb, {"resource": "job", "namespace": "default", "capabilities": ["read", verb]})
    only = await secret(api, verb)
    for other, body in ASKS.items():
        assert (await api.post(f"/v1/jobs/web/{other}", body, token=only)).status == (200 if other == verb else 403)


@pytest.mark.parametrize("verb", ["rollback", "scale"])
async def test_what_reaches_out_of_a_container_takes_its_right_again(api: Rig, verb: str) -> None:
    """Who may not submit it may not bring it back, nor more of it."""
    await submit(api, task={"privileged": True})
    if verb == "rollback":
        await submit(api)
    deployer = await api.role("deployer")
    refused = await api.post(f"/v1/jobs/web/{verb}", ASKS[verb], token=deployer)
    assert (refused.status, refused.error) == (403, "forbidden")
    assert "container:privileged" in refused.body["message"]
    assert (await api.post(f"/v1/jobs/web/{verb}", ASKS[verb])).status == 200


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("rollback", {"version": 0}, "version"),
        ("rollback", {"version": "1"}, "version"),
        ("rollback", {"to": 1}, "to"),
        ("scale", {}, "count"),
        ("scale", {"count": -1}, "count"),
        ("scale", {"count": 50_001}, "count"),
        ("scale", {"count": 1, "tasks": "app"}, "tasks"),
        ("restart", {"hard": True}, "hard"),
    ],
)
async def test_bodies_are_judged(api: Rig, verb: str, body: dict[str, Any], field: str) -> None:
    await submit(api)
    refused = await api.post(f"/v1/jobs/web/{verb}", body)
    assert (refused.status, refused.error) == (400, "invalid_body")
    assert [problem["path"] for problem in refused.body["details"]] == [field]


# ── rollback ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_rollback_is_a_new_version_with_the_old_spec(api: Rig) -> None:
    await submit(api)
    await finish(api)
    await submit(api, task={"command": ["two"]})
    back = await api.post("/v1/jobs/web/rollback")
    assert back.body["version"] == 3
    newest, _, oldest = (await api.get("/v1/jobs/web/versions")).body
    assert (newest["kind"], newest["of"], newest["by"], newest["stable"]) == ("rollback", 1, "user:admin", False)
    assert newest["spec"] == oldest["spec"]
    assert (oldest["kind"], oldest["of"]) == ("submit", None)
    deployment = (await api.get(f"/v1/deployments/{back.body['deployment_id']}")).body
    assert (deployment["kind"], deployment["strategy"], deployment["promoted"]) == ("rollback", "rolling", True)


async def test_a_rollback_without_a_number_undoes_what_changed_and_no_scale(api: Rig) -> None:
    await submit(api)
    await finish(api)
    await submit(api, task={"command": ["two"]})
    await finish(api)
    await api.post("/v1/jobs/web/scale", {"count": 4})
    await finish(api)
    await api.post("/v1/jobs/web/rollback", {})
    task = (await detail(api))["spec"]["tasks"][0]
    assert (task["command"], task["count"]) == (["sleep", "9"], 4)


async def test_a_scale_leaves_a_paused_update_paused(api: Rig) -> None:
    await coordinated(api)
    await submit(api)
    await finish(api)
    await submit(api, task={"command": ["two"]})
    await api.post(f"/v1/deployments/{(await detail(api))['deployment']['id']}/pause", {})
    await api.post("/v1/jobs/web/scale", {"count": 4})
    now = (await api.get(f"/v1/deployments/{(await detail(api))['deployment']['id']}")).body
    assert (now["kind"], now["status"]) == ("scale", "paused")


async def test_a_rollback_goes_to_the_version_that_is_named(api: Rig) -> None:
    for number in "123":
        await submit(api, task={"command": [number]})
    assert (await api.post("/v1/jobs/web/rollback", {"version": 2})).body["version"] == 4
    assert (await detail(api))["spec"]["tasks"][0]["command"] == ["2"]
    missing = await api.post("/v1/jobs/web/rollback", {"version": 9})
    assert (missing.status, missing.error) == (404, "version_not_found")


async def test_a_rollback_to_what_is_there_changes_nothing(api: Rig) -> None:
    made = await submit(api)
    head = await api.log.head()
    same = await api.post("/v1/jobs/web/rollback", {"version": 1})
    assert (same.status, same.body) == (200, made.body)
    assert await api.log.head() == head


async def test_without_anything_stable_a_version_has_to_be_named(api: Rig) -> None:
    await submit(api)
    await submit(api, task={"command": ["two"]})
    refused = await api.post("/v1/jobs/web/rollback", {})
    assert (refused.status, refused.error) == (409, "no_stable_version")
    assert (await api.post("/v1/jobs/web/rollback", {"version": 1})).status == 200


async def test_a_rollback_starts_what_was_stopped(api: Rig) -> None:
    await submit(api)
    await api.post("/v1/jobs/web/stop")
    assert (await api.post("/v1/jobs/web/rollback", {"version": 1})).body["version"] == 2
    assert (await detail(api))["status"] == "pending"


# ── scale ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_scale_is_a_new_version_with_another_count(api: Rig) -> None:
    await submit(api)
    assert (await api.post("/v1/jobs/web/scale", {"count": 5})).body["version"] == 2
    assert (await detail(api))["tasks"][0]["desired"] == 5
    assert [(row["path"], row["from"], row["to"]) for row in (await diff(api))["diff"]] == [("tasks[app].count", 1, 5)]
    head = await api.log.head()
    assert (await api.post("/v1/jobs/web/scale", {"count": 5, "task": "app"})).body["version"] == 2
    assert await api.log.head() == head
    assert (await api.post("/v1/jobs/web/scale", {"count": 0})).body["version"] == 3


async def test_of_several_tasks_one_is_named(api: Rig) -> None:
    tasks = [{"name": name, "image": "app:1"} for name in ("app", "db")]
    await api.post("/v1/jobs", {"job": "web", "tasks": tasks})
    unnamed = await api.post("/v1/jobs/web/scale", {"count": 2})
    assert (unnamed.status, unnamed.error, unnamed.body["details"][0]["path"]) == (400, "invalid_body", "task")
    unknown = await api.post("/v1/jobs/web/scale", {"count": 2, "task": "cache"})
    assert (unknown.status, unknown.error) == (404, "task_not_found")
    assert (await api.post("/v1/jobs/web/scale", {"count": 2, "task": "db"})).status == 200
    assert [task["desired"] for task in (await detail(api))["tasks"]] == [1, 2]


@pytest.mark.parametrize("verb", ["scale", "restart"])
async def test_what_is_stopped_is_started_by_neither(api: Rig, verb: str) -> None:
    await submit(api)
    await api.post("/v1/jobs/web/stop")
    refused = await api.post(f"/v1/jobs/web/{verb}", ASKS[verb])
    assert (refused.status, refused.error) == (409, "job_stopped")


# ── restart ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_restart_makes_no_version_and_each_one_a_deployment(api: Rig) -> None:
    first = await submit(api)
    replies = [await api.post("/v1/jobs/web/restart") for _ in range(2)]
    assert [reply.body["version"] for reply in replies] == [1, 1]
    assert len({reply.body["deployment_id"] for reply in (first, *replies)}) == 3
    assert (await detail(api))["spec_index"] == first.index


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_version_shows_what_its_images_stand_for(api: Rig) -> None:
    await submit(api)
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    assert (await detail(api))["tasks"][0]["digest"] is None
    await api.decide(ImagePinned(job.uid, "default", "web", 1, "app", f"sha256:{'a' * 64}"))
    assert (await api.get("/v1/jobs/web/versions")).body[0]["images"] == {"app": f"sha256:{'a' * 64}"}
    assert (await detail(api))["tasks"][0]["digest"] == f"sha256:{'a' * 64}"


async def test_the_diff_of_two_versions(api: Rig) -> None:
    await submit(api, task={"env": {"A": "1"}})
    await submit(api, task={"env": {"A": "2"}})
    await submit(api, task={"env": {"A": "2", "B": "3"}})
    changed = {"path": "tasks[app].env.A", "kind": "changed", "from": "1", "to": "2"}
    added = {"path": "tasks[app].env.B", "kind": "added", "from": None, "to": "3"}
    assert await diff(api) == {"from": 2, "to": 3, "diff": [added]}
    assert await diff(api, "?to=2") == {"from": 1, "to": 2, "diff": [changed]}
    assert await diff(api, "?from=1") == {"from": 1, "to": 3, "diff": [changed, added]}
    back = await diff(api, "?from=3&to=1")
    assert [(row["path"], row["kind"]) for row in back["diff"]] == [
        (changed["path"], "changed"),
        (added["path"], "removed"),
    ]
    assert (await diff(api, "?from=3&to=3"))["diff"] == []


async def test_the_first_version_is_compared_with_nothing(api: Rig) -> None:
    await submit(api)
    first = await diff(api)
    assert (first["from"], first["to"]) == (None, 1)
    assert {row["kind"] for row in first["diff"]} == {"added"}
    assert next(row["to"] for row in first["diff"] if row["path"] == "job") == "web"


async def test_a_diff_needs_versions_that_are_kept(api: Rig) -> None:
    await submit(api)
    for query, code in (("from=7", "version_not_found"), ("to=7", "version_not_found")):
        refused = await api.get(f"/v1/jobs/web/versions/diff?{query}")
        assert (refused.status, refused.error) == (404, code)
    for query, code in (("from=x", "invalid_from"), ("to=-1", "invalid_to")):
        refused = await api.get(f"/v1/jobs/web/versions/diff?{query}")
        assert (refused.status, refused.error) == (400, code)
    assert (await api.get("/v1/jobs/none/versions/diff")).error == "job_not_found"


async def test_a_diff_is_waited_for(api: Rig) -> None:
    made = await submit(api)
    waits = api.ask("GET", f"/v1/jobs/web/versions/diff?index={made.index}&wait=1m")
    await api.waiting(1)
    await api.post("/v1/jobs", spec(meta={"a": "b"}))
    assert [row["path"] for row in (await waits.reply()).body["diff"]] == ["meta.a"]


async def test_a_system_job_has_no_count_to_change(api: Rig) -> None:
    await submit(api, type="system")
    refused = await api.post("/v1/jobs/web/scale", {"count": 2})
    assert (refused.status, refused.body["error"]) == (409, "not_scalable")
