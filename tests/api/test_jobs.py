"""Jobs over HTTP: what is shown, and what users may do with them."""

from __future__ import annotations

import asyncio

import pytest

from heroctl.domain.events import AllocStopping, DeploymentFinished, JobBlocked
from tests.api.rig import Rig
from tests.api.specs import join, open_session, place, runs, spec, submit

ITEM = {
    "name",
    "namespace",
    "type",
    "status",
    "version",
    "priority",
    "tasks",
    "deployment",
    "launch",
    "next_launch_at",
    "blocked",
    "created_at",
    "updated_at",
    "create_index",
    "modify_index",
    "spec_index",
}


async def test_a_new_name_is_201_and_anything_else_200(api: Rig) -> None:
    new = await api.post("/v1/jobs", spec())
    assert new.status == 201
    assert new.body.keys() == {"name", "namespace", "version", "index", "deployment_id", "launch", "warnings"}
    assert (new.body["name"], new.body["namespace"], new.body["version"]) == ("web", "default", 1)
    assert new.body["index"] == new.index
    changed = await api.post("/v1/jobs", spec(meta={"a": "b"}))
    assert (changed.status, changed.body["version"], changed.index > new.index) == (200, 2, True)
    head = (await api.log.head()).index
    same = await api.post("/v1/jobs", spec(meta={"a": "b"}))
    assert (same.status, same.body["version"], same.index) == (200, 2, changed.index)
    assert same.body["deployment_id"] == changed.body["deployment_id"]
    assert (await api.log.head()).index == head


async def test_warnings_say_what_is_probably_not_meant(api: Rig) -> None:
    codes = {warning["code"] for warning in (await submit(api)).body["warnings"]}
    assert codes == {"no_health_check", "no_coordinator"}
    assert await api.leases.take("reconciler-1", 15)
    await api.parts.pulse.look()
    codes = {warning["code"] for warning in (await submit(api, "other")).body["warnings"]}
    assert codes == {"no_health_check"}


async def test_who_waits_for_what_may_never_be_is_told_so(api: Rig) -> None:
    async def codes(name: str, other: str, condition: str = "healthy") -> list[tuple[str, str]]:
        task = {"depends_on": [{"job": other, "condition": condition}]}
        planned = (await api.post("/v1/jobs/plan", spec(name, task))).body["warnings"]
        given = (await submit(api, name, task)).body["warnings"]
        told = [
            {(one["path"], one["code"]) for one in some if "depends_on" in one["path"]} for some in (planned, given)
        ]
        circles = [
            {(one["path"], one["code"]) for one in some if one["code"] == "circular"} for some in (planned, given)
        ]
        assert (told[0], circles[0]) == (told[1], circles[1])
        return sorted(told[0] | circles[0])

    assert await codes("web", "db") == [("tasks[0].depends_on[0].job", "not_there")]
    assert await codes("db", "web") == [("tasks", "circular")]
    assert await codes("log", "web", "complete") == [("tasks[0].depends_on[0].condition", "never_true")]
    assert await codes("top", "log") == []


async def test_a_service_that_nobody_offers_is_doubted(api: Rig) -> None:
    await submit(api, "db")
    names = ["db.app.http", "web.app.http", "nobody.app.http", "db.sql.http", "db.app.sql"]
    env = {f"S{number}": f"${{service.{name}}}" for number, name in enumerate(names)}
    told = (await submit(api, task={"env": env})).body["warnings"]
    doubts = {one["path"].rpartition(".")[2]: one["message"] for one in told if one["code"] == "not_there"}
    assert doubts == {
        "S2": "${service.nobody.app.http}: there is no job 'nobody' in namespace default yet",
        "S3": "${service.db.sql.http}: job 'db' has no task 'sql'",
        "S4": "${service.db.app.sql}: task 'app' of job 'db' has no port 'sql'",
    }


async def test_a_list_shows_all_jobs_by_namespace_and_name(api: Rig) -> None:
    assert (await api.get("/v1/jobs")).body == []
    for name in ("zoo", "api", "web"):
        await submit(api, name)
    listed = await api.get("/v1/jobs")
    assert [job["name"] for job in listed.body] == ["api", "web", "zoo"]
    assert all(job.keys() == ITEM for job in listed.body)
    assert (await api.get("/v1/jobs?namespace=default&status=pending")).body == listed.body
    assert (await api.get("/v1/jobs?namespace=other")).body == []
    assert (await api.get("/v1/jobs?status=running")).body == []


async def test_a_jobs_page_is_its_item_with_spec_meta_and_stable_version(api: Rig) -> None:
    made = await submit(api, meta={"git_sha": "abc"})
    job = (await api.get("/v1/jobs/web")).body
    [item] = (await api.get("/v1/jobs")).body
    assert job == item | {"spec": job["spec"], "meta": {"git_sha": "abc"}, "stable_version": None}
    assert job["spec"]["job"] == "web"
    assert job["spec"]["tasks"][0]["kill_timeout"] == "5s"
    assert job["tasks"] == [
        {
            "name": "app",
            "driver": "docker",
            "image": "app:1",
            "digest": None,
            "secrets": {},
            "desired": 1,
            "running": 0,
            "healthy": 0,
        }
    ]
    assert job["deployment"] == {"id": made.body["deployment_id"], "status": "running"}
    assert (job["create_index"], job["spec_index"]) == (made.index, made.index)
    assert job["created_at"] == "2026-09-21T14:13:20.000Z"


async def test_counts_follow_the_allocations(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    made = await submit(api, task={"count": 2})
    first, second = await place(api, node), await place(api, node, n=2)
    await runs(api, node, first)
    await runs(api, node, second, health="unknown")
    job = (await api.get("/v1/jobs/web")).body
    assert job["status"] == "running"
    assert [(task["desired"], task["running"], task["healthy"]) for task in job["tasks"]] == [(2, 2, 1)]
    assert (await api.get("/v1/jobs")).body[0]["tasks"] == job["tasks"]
    uid = made.index
    await api.decide(
        DeploymentFinished(made.body["deployment_id"], uid, "default", "web", "successful"),
        JobBlocked(uid, "default", "web", ("app: cpu exhausted on 1 of 1 nodes",)),
    )
    job = (await api.get("/v1/jobs/web")).body
    assert (job["stable_version"], job["deployment"]["status"]) == (1, "successful")
    assert (job["status"], job["blocked"]) == ("running", ["app: cpu exhausted on 1 of 1 nodes"]), "it serves"
    await api.decide(AllocStopping(second, "default", "web", "preempted"))
    assert (await api.get("/v1/jobs/web")).body["status"] == "blocked"


async def test_versions_are_kept_newest_first(api: Rig) -> None:
    for git in ("a", "b", "c"):
        await submit(api, meta={"git_sha": git})
    listed = (await api.get("/v1/jobs/web/versions")).body
    assert [(version["version"], version["meta"]["git_sha"]) for version in listed] == [(3, "c"), (2, "b"), (1, "a")]
    assert {version["by"] for version in listed} == {"user:admin"}
    names = {"version", "kind", "of", "images", "secrets", "spec", "meta", "by", "created_at", "stable", "index"}
    assert listed[0].keys() == names
    assert (await api.get("/v1/jobs/none/versions")).error == "job_not_found"


async def test_a_stopped_job_stays_and_wants_nothing(api: Rig) -> None:
    await submit(api)
    stopped = await api.post("/v1/jobs/web/stop")
    assert (stopped.status, stopped.body["name"], stopped.body["index"]) == (200, "web", stopped.index)
    job = await api.get("/v1/jobs/web")
    assert (job.body["status"], job.body["tasks"][0]["desired"], job.index) == ("stopped", 0, stopped.index)
    again = await api.post("/v1/jobs/web/stop", {})
    assert (again.status, again.index) == (200, stopped.index)
    started = await submit(api)
    assert (started.status, started.body["version"]) == (200, 2)


async def test_a_deleted_job_is_404_from_its_index_on_and_its_name_free(api: Rig) -> None:
    await submit(api)
    gone = await api.do("DELETE", "/v1/jobs/web")
    assert (gone.status, gone.body["name"], gone.body["index"]) == (200, "web", gone.index)
    missing = await api.get("/v1/jobs/web")
    assert (missing.status, missing.error, missing.index) == (404, "job_not_found", gone.index)
    assert (await api.do("DELETE", "/v1/jobs/web")).error == "job_not_found"
    assert (await api.post("/v1/jobs/web/stop")).error == "job_not_found"
    again = await api.post("/v1/jobs", spec())
    assert (again.status, again.body["version"]) == (201, 1)


async def test_guards_compare_the_present_versions_index(api: Rig) -> None:
    first = await api.post("/v1/jobs?check_index=0", spec())
    assert first.status == 201
    exists = await api.post("/v1/jobs?check_index=0", spec(meta={"a": "b"}))
    assert (exists.status, exists.error) == (409, "job_exists")
    old = await api.post("/v1/jobs?check_index=1", spec(meta={"a": "b"}))
    assert (old.status, old.error) == (409, "index_conflict")
    good = await api.post(f"/v1/jobs?check_index={first.index}", spec(meta={"a": "b"}))
    assert (good.status, good.body["version"]) == (200, 2)
    assert (await api.do("DELETE", f"/v1/jobs/web?check_index={first.index}")).error == "index_conflict"
    assert (await api.post(f"/v1/jobs/web/stop?check_index={first.index}")).error == "index_conflict"
    assert (await api.do("DELETE", f"/v1/jobs/web?check_index={good.index}")).status == 200
    missing = await api.post(f"/v1/jobs?check_index={first.index}", spec())
    assert (missing.status, missing.error) == (409, "index_conflict")
    for bad in ("x", "-1", "", "1.0"):
        assert (await api.post(f"/v1/jobs?check_index={bad}", spec())).error == "invalid_check_index"


async def test_of_two_who_guard_at_once_one_wins(api: Rig) -> None:
    replies = await asyncio.gather(
        *(api.post("/v1/jobs?check_index=0", spec(meta={"by": str(number)})) for number in range(8))
    )
    assert sorted(reply.status for reply in replies) == [201] + [409] * 7


async def test_a_namespace_must_exist_and_may_stand_in_the_query(api: Rig) -> None:
    reply = await api.post("/v1/jobs", spec(namespace="nowhere"))
    assert (reply.status, reply.error) == (404, "namespace_not_found")
    assert (await api.post("/v1/jobs?namespace=default", spec())).status == 201
    differ = await api.post("/v1/jobs?namespace=other", spec(namespace="default"))
    assert (differ.status, differ.error) == (400, "invalid_spec")
    assert (await api.get("/v1/jobs/web?namespace=other")).error == "job_not_found"
    assert (await api.get("/v1/jobs/web?namespace=default")).status == 200


async def test_validate_judges_and_does_nothing(api: Rig) -> None:
    head = (await api.log.head()).index
    good = await api.post("/v1/jobs/validate", spec())
    assert good.body["valid"] is True
    assert good.body["problems"] == []
    assert [warning["code"] for warning in good.body["warnings"]] == ["no_health_check"]
    bad = await api.post("/v1/jobs/validate", spec(task={"count": -1}))
    assert (bad.status, bad.body["valid"]) == (200, False)
    assert [problem["path"] for problem in bad.body["problems"]] == ["tasks[0].count"]
    assert (await api.log.head()).index == head


@pytest.mark.parametrize("count", [1_000])
async def test_a_write_encodes_one_job_of_a_long_list_anew(api: Rig, count: int) -> None:
    await asyncio.gather(*(submit(api, f"job-{number}") for number in range(count)))
    assert len((await api.get("/v1/jobs")).body) == count
    items = api.parts.world.items
    before = dict(items._items)
    await submit(api, "job-7", meta={"a": "b"})
    listed = (await api.get("/v1/jobs")).body
    assert len(listed) == count
    assert sum(items._items[key] is not value for key, value in before.items()) == 1
