"""Jobs that name secrets, through the front door: who may, what is warned of, what is shown, and what comes back."""

from __future__ import annotations

from typing import Any, Final

import pytest

from heroctl.domain.events import JobRepinned
from heroctl.domain.pinning import repinned
from tests.api.people import policy, secret
from tests.api.rig import Reply, Rig
from tests.api.specs import finish, spec, submit

USES: Final[dict[str, Any]] = {"env": {"DB": "${secret.db}"}}
JOBS: Final[dict[str, Any]] = {"resource": "job", "namespace": "default"}
WRITES: Final = ["read", "submit", "scale", "rollback", "restart"]


async def write(api: Rig, value: str = "one", name: str = "db") -> Reply:
    reply = await api.post("/v1/secrets", {"name": name, "value": value})
    assert reply.status in (200, 201), reply.body
    return reply


async def repin(api: Rig, name: str = "web") -> None:
    """Do as the coordinator."""
    state = api.parts.view.state
    job = state.job("default", name)
    assert job is not None
    tasks = repinned(state, job)
    assert tasks
    await api.decide(JobRepinned(job.uid, "default", name, job.current.version + 1, tasks, ("db",)))


async def pins(api: Rig) -> dict[str, int | None]:
    found: dict[str, int | None] = (await api.get("/v1/jobs/web")).body["tasks"][0]["secrets"]
    return found


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_shows_which_versions_it_is_made_with_and_never_a_value(api: Rig) -> None:
    await write(api, "s3nh@-forte")
    reply = await submit(api, task=USES)
    assert [problem["code"] for problem in reply.body["warnings"]].count("secret_missing") == 0
    assert await pins(api) == {"db": 1}
    [version] = (await api.get("/v1/jobs/web/versions")).body
    assert version["secrets"] == {"app": {"db": 1}}
    for path in ("/v1/jobs/web", "/v1/jobs", "/v1/jobs/web/versions", "/v1/jobs/web/explain"):
        assert "s3nh@-forte" not in str((await api.get(path)).body)


async def test_who_uses_none_shows_none(api: Rig) -> None:
    await submit(api)
    assert await pins(api) == {}
    assert (await api.get("/v1/jobs/web/versions")).body[0]["secrets"] == {}


async def test_two_versions_differ_in_what_they_are_made_with(api: Rig) -> None:
    await write(api)
    await submit(api, task=USES)
    await write(api, "two")
    await repin(api)
    rows = (await api.get("/v1/jobs/web/versions/diff")).body["diff"]
    assert rows == [{"path": "tasks[app].secrets.db", "kind": "changed", "from": 1, "to": 2}]
    [newest, _] = (await api.get("/v1/jobs/web/versions")).body
    assert (newest["kind"], newest["by"], newest["of"]) == ("secret", "coordinator", None)
    deployment = (await api.get("/v1/deployments")).body[0]
    assert (deployment["kind"], deployment["version"], deployment["previous_version"]) == ("secret", 2, 1)


async def test_a_plan_shows_which_secrets_it_would_take(api: Rig) -> None:
    await write(api)
    await submit(api, task=USES)
    await write(api, "two")
    planned = (await api.post("/v1/jobs/plan", spec(task={**USES, "image": "app:2"}))).body
    rows = {row["path"]: (row["from"], row["to"]) for row in planned["diff"]}
    assert rows == {"tasks[app].image": ("app:1", "app:2"), "tasks[app].secrets.db": (1, 2)}
    equal = (await api.post("/v1/jobs/plan", spec(task=USES))).body
    assert (equal["changed"], equal["diff"]) == (False, [])


# ── what is not there ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/plan"])
async def test_a_secret_that_is_missing_is_warned_of_and_not_refused(api: Rig, path: str) -> None:
    reply = await api.post(path, spec(task=USES))
    assert reply.status in (200, 201)
    (told,) = [problem for problem in reply.body["warnings"] if problem["code"] == "secret_missing"]
    assert told["path"] == "tasks[0].env.DB"
    assert "secret 'db' does not exist in namespace 'default'" in told["message"]


async def test_what_a_version_had_to_do_without_is_null(api: Rig) -> None:
    await submit(api, task=USES)
    assert await pins(api) == {"db": None}


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ({"env": {"DB": "${secret.}"}}, "tasks[0].env.DB"),
        ({"env": {"DB": "${vault.db}"}}, "tasks[0].env.DB"),
        ({"args": ["--password", "${secret.db}"]}, "tasks[0].args[1]"),
        ({"command": ["run", "${secret.db}"]}, "tasks[0].command[1]"),
        ({"files": [{"path": "/x", "content": "${secret.a b}"}]}, "tasks[0].files[0].content"),
        ({"image_auth": "user:password"}, "tasks[0].image_auth"),
    ],
)
async def test_what_cannot_be_filled_in_is_refused_by_its_path(api: Rig, task: dict[str, Any], path: str) -> None:
    for where in ("/v1/jobs", "/v1/jobs/plan"):
        refused = await api.post(where, spec(task=task))
        assert (refused.status, refused.error) == (400, "invalid_spec")
        assert [problem["path"] for problem in refused.body["details"]] == [path]


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_equal_spec_is_no_news_though_a_secret_is(api: Rig) -> None:
    await write(api)
    await submit(api, task=USES)
    await write(api, "two")
    head = await api.log.head()
    again = await submit(api, task=USES)
    assert (again.status, again.body["version"]) == (200, 1)
    assert await api.log.head() == head


async def test_a_rollback_brings_back_what_it_was_made_with(api: Rig) -> None:
    await write(api)
    await submit(api, task=USES)
    await finish(api)
    await write(api, "two")
    await repin(api)
    back = await api.post("/v1/jobs/web/rollback")
    assert (back.status, back.body["version"]) == (200, 3)
    assert await pins(api) == {"db": 1}


async def test_a_rollback_to_what_is_gone_says_so_and_changes_nothing(api: Rig) -> None:
    await write(api)
    await submit(api, task=USES)
    await submit(api, task={"image": "app:2"})
    assert (await api.do("DELETE", "/v1/secrets/db?force=true")).status == 200
    head = await api.log.head()
    refused = await api.post("/v1/jobs/web/rollback", {"version": 1})
    assert (refused.status, refused.error) == (409, "secret_version_gone")
    assert await api.log.head() == head


async def test_a_restart_takes_what_its_secrets_are(api: Rig) -> None:
    await write(api)
    await submit(api, task={**USES, "on_secret_change": "none"})
    await write(api, "two")
    again = await api.post("/v1/jobs/web/restart")
    assert (again.status, again.body["version"]) == (200, 2)
    assert await pins(api) == {"db": 2}
    assert (await api.post("/v1/jobs/web/restart")).body["version"] == 2


async def test_a_scale_keeps_what_it_was_made_with(api: Rig) -> None:
    await write(api)
    await submit(api, task=USES)
    await write(api, "two")
    assert (await api.post("/v1/jobs/web/scale", {"count": 3})).body["version"] == 2
    assert await pins(api) == {"db": 1}


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def asked(api: Rig, who: str) -> dict[str, Reply]:
    """Ask for everything that makes, or shows, a version which names a secret. The first was made by somebody else."""
    changed = spec(task={**USES, "image": f"app:{api.parts.view.index}"})
    return {
        "create": await api.post("/v1/jobs", spec(f"new{len(who)}", USES), token=who),
        "update": await api.post("/v1/jobs", changed, token=who),
        "plan": await api.post("/v1/jobs/plan", changed, token=who),
        "dry run": await api.post("/v1/jobs?dry_run=true", changed, token=who),
        "scale": await api.post("/v1/jobs/web/scale", {"count": 7}, token=who),
        "rollback": await api.post("/v1/jobs/web/rollback", {"version": 1}, token=who),
    }


@pytest.fixture
async def used(api: Rig) -> Rig:
    """A job whose two versions name a secret."""
    await write(api)
    await submit(api, task=USES)
    await submit(api, task={**USES, "count": 2})
    return api


@pytest.mark.parametrize(("role", "may"), [("admin", True), ("operator", True), ("deployer", True), ("viewer", False)])
async def test_who_may_use_secrets_may_name_them(used: Rig, role: str, may: bool) -> None:  # noqa: FBT001 - of the matrix
    replies = await asked(used, await used.role(role))
    assert {name: reply.status for name, reply in replies.items() if (reply.status < 300) != may} == {}


async def test_to_submit_is_not_enough_on_any_way_to_a_version(used: Rig) -> None:
    await policy(used, "submitter", {**JOBS, "capabilities": WRITES})
    replies = await asked(used, await secret(used, "submitter"))
    for name, reply in replies.items():
        assert (reply.status, reply.error) == (403, "forbidden"), name
        assert "tasks[0].env.DB needs secret:use" in reply.body["message"], name
    without = await used.post("/v1/jobs", spec("plain"), token=await secret(used, "submitter"))
    assert without.status == 201, "nor is it needed where none is named"


async def test_to_use_those_of_another_namespace_is_no_right_here(used: Rig) -> None:
    assert (await used.post("/v1/namespaces", {"name": "other"})).status == 201
    elsewhere = {"resource": "secret", "namespace": "other", "capabilities": ["use"]}
    await policy(used, "elsewhere", {**JOBS, "capabilities": WRITES}, elsewhere)
    who = await secret(used, "elsewhere", namespaces=["default", "other"])
    assert {reply.status for reply in (await asked(used, who)).values()} == {403}


@pytest.mark.parametrize("field", ["image_auth", "files"])
async def test_wherever_one_is_named_it_takes_the_right(api: Rig, field: str) -> None:
    await policy(api, "submitter", {**JOBS, "capabilities": WRITES})
    task = (
        {"image_auth": "${secret.db}"}
        if field == "image_auth"
        else {"files": [{"path": "/x", "content": "${secret.db}"}]}
    )
    refused = await api.post("/v1/jobs", spec(task=task), token=await secret(api, "submitter"))
    assert (refused.status, refused.error) == (403, "forbidden")


async def test_a_rule_that_denies_secrets_denies_their_use(used: Rig) -> None:
    denied = {"resource": "secret", "namespace": "default", "capabilities": []}
    await policy(used, "denied", denied)
    assert (await used.post("/v1/acl/roles", {"name": "both", "policies": ["deployer", "denied"]})).status == 201
    assert {reply.status for reply in (await asked(used, await secret(used, "both"))).values()} == {403}
