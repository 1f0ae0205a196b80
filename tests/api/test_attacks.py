"""What somebody tries who has a token and wants more, or wants not to be seen: each is in vain."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import pytest

from tests.api.people import LONG, made, policy, secret, token, user
from tests.api.rig import Rig
from tests.api.specs import spec, submit

# ── more than one's own ──────────────────────────────────────────────────────────────────────────────────────────────


async def _deputy(api: Rig) -> str:
    """Make somebody who may say who may what, and little else."""
    await policy(api, "deputies", {"resource": "acl", "capabilities": ["read", "write"]})
    return await user(api, "deputy", "deputies", "viewer")


async def test_a_policy_does_not_grow_while_its_role_is_being_given(api: Rig) -> None:
    await policy(api, "grows", {"resource": "job", "namespace": "default", "capabilities": ["read"]})
    deputy = await _deputy(api)
    more = {"rules": [{"resource": "cluster", "capabilities": ["*"]}]}
    given = {"roles": ["deputies", "viewer", "grows"]}
    replies = await asyncio.gather(
        api.do("PUT", "/v1/acl/policies/grows", more, token=deputy),
        api.do("PUT", "/v1/acl/users/deputy", given, token=deputy),
    )
    assert sorted(reply.status for reply in replies) == [200, 403]
    assert (await api.get("/v1/log", token=deputy)).status == 403


async def test_nobody_gags_the_last_admin(api: Rig) -> None:
    deputy = await _deputy(api)
    gag = {"resource": "acl", "capabilities": []}
    await policy(api, "gag", gag)
    await policy(api, "tale", {"resource": "cluster", "capabilities": ["read"]})
    assert (await api.do("PUT", "/v1/acl/users/admin", {"roles": ["admin", "tale"]})).status == 200
    for path, body in (
        ("users/admin", {"roles": ["admin", "gag"]}),
        ("users/admin", {"namespaces": ["nowhere"]}),
        ("roles/tale", {"policies": ["tale", "gag"]}),
        ("policies/tale", {"rules": [gag]}),
    ):
        for who in (deputy, api.token):
            refused = await api.do("PUT", f"/v1/acl/{path}", body, token=who)
            assert (refused.status, refused.error) == (409, "last_admin"), path
    await user(api, "other", "admin")  # in all namespaces
    assert (await api.do("PUT", "/v1/acl/users/admin", {"namespaces": ["nowhere"]}, token=deputy)).status == 200
    assert (await api.do("DELETE", "/v1/acl/users/other")).status == 409  # who is left is admin in name only


RAW: Final = {"driver": "process", "image": None, "command": ["id"]}


@pytest.mark.parametrize("role", ["deployer", "operator"])
async def test_the_usual_roles_run_processes_where_nodes_do(api: Rig, role: str) -> None:
    who = await secret(api, role, kind="service")
    assert (await api.post("/v1/jobs", spec("raw", RAW), token=who)).status == 201


async def test_who_may_submit_runs_no_command_on_the_host(api: Rig) -> None:
    submits = {"resource": "job", "namespace": "*", "capabilities": ["*"]}
    who = await user(api, "kim", await policy(api, "contained", submits), namespaces=["*"])
    head = (await api.log.head()).index
    for path in ("/v1/jobs", "/v1/jobs?check_index=0"):
        refused = await api.post(path, spec("raw", RAW), token=who)
        assert (refused.status, refused.error) == (403, "forbidden")
        assert refused.body["message"].startswith("tasks[0].driver needs container:process")
    assert (await api.log.head()).index == head
    await submit(api, "raw", RAW)
    more = await api.post("/v1/jobs", spec("raw", {**RAW, "count": 2}), token=who)
    assert (more.status, more.error) == (403, "forbidden")
    assert (await api.post("/v1/jobs/raw/stop", token=who)).status == 200, "to stop it takes no more than ever"


async def test_running_commands_on_hosts_is_given_by_name_and_where_it_is_given(api: Rig) -> None:
    await made(api, "namespaces", name="ops")
    raw = {"resource": "container", "namespace": "ops", "capabilities": ["process"]}
    submits = {"resource": "job", "namespace": "*", "capabilities": ["*"]}
    who = await user(api, "zoe", await policy(api, "raw", raw, submits), namespaces=["*"])
    assert (await api.post("/v1/jobs", spec("raw", RAW, namespace="ops"), token=who)).status == 201
    assert (await api.post("/v1/jobs", spec("raw", RAW), token=who)).error == "forbidden"
    star = {"name": "all", "rules": [{"resource": "container", "namespace": "*", "capabilities": ["*"]}]}
    assert (await api.post("/v1/acl/policies", star)).error == "invalid_body"


# ── longer than one's own ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["user", "service"])
@pytest.mark.parametrize("through", ["token", "login"])
async def test_a_token_with_an_end_makes_nothing_that_lives_longer(api: Rig, kind: str, through: str) -> None:
    mine = await token(api, "admin", ttl="1h", kind=kind)
    who = mine.body["secret"]
    if through == "login":
        who = (await api.post("/v1/auth/login", {"acl_token": who}, token="")).body["token"]
    await user(api, "zoe", "viewer")
    head = (await api.log.head()).index
    for ttl in ("61m", "90d"):
        assert (await token(api, "viewer", by=who, ttl=ttl)).error == "exceeds_own_rights"
    other = {"password": LONG + LONG}
    assert (await api.do("PUT", "/v1/acl/users/zoe/password", other, token=who)).error == "exceeds_own_rights"
    kim = {"name": "kim", "password": LONG, "roles": ["viewer"]}
    assert (await api.post("/v1/acl/users", kim, token=who)).error == "exceeds_own_rights"
    assert (await api.log.head()).index == head
    for shorter in ({}, {"ttl": "1h"}):
        given = await token(api, "viewer", by=who, **shorter)
        assert (given.status, given.body["expires_at"]) == (201, mine.body["expires_at"])
    api.clock.now += 60
    assert (await token(api, "viewer", by=who, ttl="1h")).error == "exceeds_own_rights"
    child = await token(api, "admin", by=who, ttl="10m")
    grandchild = await token(api, "viewer", by=child.body["secret"])
    assert grandchild.body["expires_at"] == child.body["expires_at"] < mine.body["expires_at"]
    assert (await api.do("PUT", "/v1/acl/users/zoe", {"roles": ["deployer"]}, token=who)).status == 200
    assert (await api.do("DELETE", "/v1/acl/users/zoe", token=who)).status == 200


async def test_who_has_no_end_gives_what_has_none(api: Rig) -> None:
    for who in (api.token, await secret(api, "admin", kind="service")):
        given = await token(api, "viewer", by=who)
        assert (given.status, given.body["expires_at"]) == (201, None)
    body = {"name": "kim", "password": LONG, "roles": ["viewer"]}
    assert (await api.post("/v1/acl/users", body, token=who)).status == 201


# ── one path ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/v1//jobs/web", "/v1/jobs//web", "//v1/jobs/web", "/v1/jobs/web//", "///v1//jobs///web"]
)
async def test_who_judges_and_who_does_read_the_same_path(api: Rig, path: str) -> None:
    for name in ("jobs", "web"):
        await submit(api, name)
    assert (await api.get(path)).body["name"] == "web"
    stopped = await api.post(f"{path}/stop")
    assert stopped.body["name"] == "web"
    assert (await api.do("DELETE", path)).body["name"] == "web"
    assert [each["name"] for each in (await api.get("/v1/jobs")).body] == ["jobs"]


# ── unseen ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_query_that_cannot_be_read_hides_nobody(api: Rig) -> None:
    viewer = await api.role("viewer")
    refused = await api.get("/v1/audit?actor=\xff", token=viewer)
    assert refused.status == 403
    assert (await api.get("/v1/jobs?namespace=\xff", token="ht_none")).status == 401
    api.app._log.flush()
    lines = [json.loads(line) for lines in api.lines for line in lines.splitlines()]
    assert {(line["path"], line["status"]) for line in lines} >= {("/v1/audit", 403), ("/v1/jobs", 401)}
    await api.parts.trail.write()
    told = (await api.get("/v1/audit?outcome=refused")).body
    assert {each["data"]["route"] for each in told} >= {"/v1/audit", "/v1/jobs"}


@pytest.mark.parametrize("name", ["type", "actor", "job", "cursor"])
async def test_what_the_database_takes_for_no_text_does_not_get_there(api: Rig, name: str) -> None:
    assert (await api.get(f"/v1/audit?{name}=%00")).error == "invalid_query"


@pytest.mark.parametrize("query", ["index=%31%00", "index=1&wait=%00", "at=%00", "namespace=a%00"])
async def test_no_argument_holds_a_nul(api: Rig, query: str) -> None:
    reply = await api.get(f"/v1/jobs?{query}")
    assert (reply.status, reply.error) == (400, "invalid_query")


# ── too much ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_patterns_and_roles_are_few(api: Rig) -> None:
    many = [f"n{number}" for number in range(1_000)]
    for noun, body in (
        ("tokens", {"name": "t", "roles": [], "namespaces": many}),
        ("tokens", {"name": "t", "roles": [], "jobs": many}),
        ("tokens", {"name": "t", "roles": ["viewer"] * 1_000}),
        ("users", {"name": "zoe", "password": LONG, "roles": ["viewer"] * 1_000}),
        ("roles", {"name": "r", "policies": ["viewer"] * 1_000}),
        ("policies", {"name": "p", "rules": [{"resource": "job", "namespace": "*", "capabilities": ["read"] * 1_000}]}),
    ):
        reply = await api.post(f"/v1/acl/{noun}", body)
        assert reply.status == 400, (noun, [*body])
        assert reply.body["details"][0]["code"] == "invalid_value"


# ── a stolen login ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stolen_login_is_no_way_to_guess_the_password(api: Rig) -> None:
    stolen = await user(api, "zoe", "viewer")
    tried = [
        await api.post("/v1/acl/self/password", {"current": f"guess number {n}", "new": LONG}, token=stolen)
        for n in range(12)
    ]
    assert tried[0].error == "wrong_password"
    assert tried[-1].error == "too_many_logins"
