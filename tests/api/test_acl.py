"""Users, tokens, roles, policies: made, changed and removed through the front door, and what that does to others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.uses import LastUses
from eventstore.uses import MemoryUses
from tests.api.people import LONG, READS, login, made, policy, secret, status, token, user
from tests.api.rig import Reply, Rig, beside
from tests.api.specs import spec, submit

# ── users ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_user_is_made_shown_changed_and_removed(api: Rig) -> None:
    reply = await made(api, "acl/users", name="zoe", password=LONG, roles=["viewer"])
    assert reply.body == {"name": "zoe", "roles": ["viewer"], "namespaces": ["default"]}
    shown = (await api.get("/v1/acl/users/zoe")).body
    assert shown == {**reply.body, "created_at": "2026-09-21T14:13:20.000Z"}
    assert [each["name"] for each in (await api.get("/v1/acl/users")).body] == ["admin", "zoe"]
    zoe = await login(api, "zoe")
    assert await status(api, "/v1/jobs", zoe) == 200
    changed = await api.do("PUT", "/v1/acl/users/zoe", {"roles": ["admin"]})
    assert (changed.status, changed.body) == (200, {"index": changed.index, "name": "zoe"})
    assert await status(api, "/v1/acl/users", zoe) == 200  # the same login may more at once
    assert (await api.get("/v1/acl/users/zoe")).body["namespaces"] == ["default"]
    assert (await api.do("DELETE", "/v1/acl/users/zoe")).status == 200
    assert await status(api, "/v1/jobs", zoe) == 401
    assert (await api.get("/v1/acl/users/zoe")).error == "user_not_found"
    refused = await api.post("/v1/auth/login", {"username": "zoe", "password": LONG}, token="")
    assert refused.error == "invalid_credentials"


async def test_who_takes_a_free_name_is_not_who_had_it(api: Rig) -> None:
    before = await user(api, "zoe", "viewer")
    await api.do("DELETE", "/v1/acl/users/zoe")
    after = await user(api, "zoe", "viewer")
    assert await status(api, "/v1/jobs", before) == 401
    assert await status(api, "/v1/jobs", after) == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "Zoe"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": "z\nx"}, "name"),
        ({"password": "a" * 11}, "password"),
        ({"password": "a" * 257}, "password"),
        ({"roles": ["emperor"]}, "roles[0]"),
        ({"namespaces": ["a?"]}, "namespaces[0]"),
        ({"namespaces": []}, "namespaces"),
        ({"index": 7}, "index"),
        ({"created_at": "2026-01-01T00:00:00Z"}, "created_at"),
    ],
)
async def test_what_is_wrong_with_a_user_is_said_with_its_path(api: Rig, body: dict[str, Any], path: str) -> None:
    head = await api.log.head()
    reply = await api.post("/v1/acl/users", {"name": "zoe", "password": LONG, "roles": ["viewer"]} | body)
    assert (reply.status, reply.error) == (400, "invalid_body")
    assert [each["path"] for each in reply.body["details"]] == [path]
    assert await api.log.head() == head


async def test_of_two_admins_who_remove_each_other_at_once_one_stays(api: Rig) -> None:
    await user(api, "kim", "admin")
    async with beside(api) as other:
        replies = await asyncio.gather(
            api.do("DELETE", "/v1/acl/users/kim"), other.do("PUT", "/v1/acl/users/admin", {"roles": ["viewer"]})
        )
    codes = sorted(reply.status for reply in replies)
    assert codes in ([200, 409], [200, 401], [200, 403])
    assert [each.name for each in api.parts.view.state.users.values() if "admin" in each.roles] in (["admin"], ["kim"])


async def test_the_last_admin_stays(api: Rig) -> None:
    for reply in (
        await api.do("DELETE", "/v1/acl/users/admin"),
        await api.do("PUT", "/v1/acl/users/admin", {"roles": []}),
    ):
        assert (reply.status, reply.error) == (409, "last_admin")


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_ones_own_password_is_changed_with_the_present_one(api: Rig) -> None:
    zoe, elsewhere = await user(api, "zoe", "viewer"), await login(api, "zoe")

    async def change(current: str, new: str, who: str = zoe) -> Reply:
        return await api.post("/v1/acl/self/password", {"current": current, "new": new}, token=who)

    assert (await change("not it at all", "another long one")).error == "wrong_password"
    assert (await change(LONG, "short")).error == "invalid_body"
    assert (await change(LONG, "another long one", await secret(api, "viewer"))).error == "not_a_password_login"
    changed = await change(LONG, "another long one")
    assert (changed.status, changed.body["name"]) == (200, "zoe")
    assert [await status(api, "/v1/jobs", each) for each in (zoe, elsewhere)] == [200, 401]
    assert await status(api, "/v1/jobs", await login(api, "zoe", "another long one")) == 200


async def test_an_admin_gives_another_password_and_nobody_else_does(api: Rig) -> None:
    zoe = await user(api, "zoe", "viewer")
    assert (await api.do("PUT", "/v1/acl/users/zoe/password", {"password": "another long one"})).status == 200
    assert await status(api, "/v1/jobs", zoe) == 401
    assert await status(api, "/v1/jobs", await login(api, "zoe", "another long one")) == 200
    assert (await api.do("PUT", "/v1/acl/users/no/password", {"password": LONG})).error == "user_not_found"


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_user_token_may_no_more_than_its_user_may_now(api: Rig) -> None:
    await user(api, "zoe", "admin")
    bound = await secret(api, "operator", user="zoe")
    free = await secret(api, "operator", user="zoe", kind="service")
    assert await status(api, "/v1/jobs", bound) == 200
    await api.do("PUT", "/v1/acl/users/zoe", {"roles": ["viewer"], "namespaces": ["shop"]})
    for who, expected in ((bound, 403), (free, 200)):
        assert (await api.post("/v1/cluster/join-tokens", {}, token=who)).status in (expected, 201)
        assert (await api.post("/v1/jobs", spec(), token=who)).status == (403 if expected == 403 else 201)
    await api.do("DELETE", "/v1/acl/users/zoe")
    assert [await status(api, "/v1/jobs", who) for who in (bound, free)] == [401, 401]


async def test_a_token_for_some_jobs_knows_of_no_others(api: Rig) -> None:
    await submit(api, "web-a")
    await submit(api, "db")
    ci = await secret(api, "deployer", jobs=["web-*"])
    assert [each["name"] for each in (await api.get("/v1/jobs", token=ci)).body] == ["web-a"]
    assert (await api.get("/v1/jobs/db", token=ci)).error == "job_not_found"
    assert (await api.post("/v1/jobs", spec("web-b"), token=ci)).status == 201
    assert (await api.post("/v1/jobs", spec("web"), token=ci)).error == "namespace_not_found"
    assert (await api.post("/v1/jobs/db/stop", token=ci)).error == "job_not_found"


async def test_a_token_has_its_makers_namespaces_and_jobs_unless_told(api: Rig) -> None:
    keeper = await policy(api, "keeper", {"resource": "acl", "capabilities": ["*"]}, READS)
    kim = await user(api, "kim", keeper, namespaces=["default", "shop"])
    reply = await token(api, keeper, by=kim)
    assert (reply.body["namespaces"], reply.body["jobs"], reply.body["kind"]) == (["default", "shop"], ["*"], "user")
    narrow = await secret(api, keeper, by=kim, namespaces=["default"], jobs=["web-*"])
    again = await token(api, keeper, by=narrow)
    assert (again.body["namespaces"], again.body["jobs"]) == (["default"], ["web-*"])
    wide = await token(api, keeper, by=narrow, jobs=["*"])
    assert (wide.status, wide.error) == (403, "exceeds_own_rights")


async def test_when_a_token_was_used_is_known_to_all_within_a_minute(api: Rig) -> None:
    ci = await secret(api, "viewer")
    rows = MemoryUses()
    async with beside(api) as other:
        [item] = (await other.get("/v1/acl/tokens")).body
        assert item["last_used_at"] is None
        await api.get("/v1/jobs", token=ci)
        api.clock.now += 20
        await api.get("/v1/jobs", token=ci)  # from the front
        for process in (api, other):
            await process.parts.gate.uses.exchange(rows, process.parts.view)
        api.clock.ticks += 2
        [item] = (await other.get("/v1/acl/tokens")).body
        assert item["last_used_at"] == "2026-09-21T14:13:40.000Z"
        assert (await other.get(f"/v1/acl/tokens/{item['id']}")).body == item
    assert all(record[3] != "token.used" for record in await api.log.page(0))


async def test_uses_are_not_lost_while_the_log_is_away(api: Rig) -> None:
    uses, now = LastUses(lambda: 7.0), MemoryUses()
    await secret(api, "viewer")
    [known] = api.parts.view.state.tokens
    uses.note(known)
    uses.note("nobody's")
    await uses.exchange(now, api.parts.view)
    assert (uses.last(known), uses.last("nobody's")) == (7000, None)


# ── roles and policies ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_own_roles_and_policies_are_made_shown_changed_and_removed(api: Rig) -> None:
    rule = {"resource": "job", "capabilities": ["read", "submit"], "namespace": "shop-*"}
    reply = await made(api, "acl/policies", name="shop", rules=[rule], description="for the shop")
    expected = {"name": "shop", "rules": [rule], "description": "for the shop", "built_in": False}
    assert reply.body == expected == (await api.get("/v1/acl/policies/shop")).body
    role = {"name": "ci", "policies": ["shop", "viewer"], "description": "", "built_in": False}
    assert (await made(api, "acl/roles", name="ci", policies=["shop", "viewer"])).body == role
    assert (await api.get("/v1/acl/roles/ci")).body == role
    names = [each["name"] for each in (await api.get("/v1/acl/roles")).body]
    assert names == ["admin", "deployer", "operator", "viewer", "ci"]
    assert [each["name"] for each in (await api.get("/v1/acl/policies")).body] == [*names[:4], "shop"]
    assert (await api.get("/v1/acl/roles/viewer")).body["built_in"]
    await user(api, "zoe", "ci")
    for path, code in (("policies/shop", "policy_in_use"), ("roles/ci", "role_in_use"), ("roles/viewer", "built_in")):
        assert (await api.do("DELETE", f"/v1/acl/{path}")).error == code
    assert "user zoe" in (await api.do("DELETE", "/v1/acl/roles/ci")).body["message"]
    await api.do("DELETE", "/v1/acl/users/zoe")
    for path in ("roles/ci", "policies/shop"):
        assert (await api.do("DELETE", f"/v1/acl/{path}")).status == 200
        assert (await api.get(f"/v1/acl/{path}")).status == 404


async def test_a_policy_that_means_nothing_is_refused_with_every_path(api: Rig) -> None:
    rules = [
        {"resource": "jobs", "capabilities": ["read"], "namespace": "*"},
        {"resource": "job", "capabilities": ["read", "rule"], "namespace": "*"},
        {"resource": "job", "capabilities": ["read"]},
        {"resource": "container", "capabilities": ["*"], "namespace": "*"},
    ]
    reply = await api.post("/v1/acl/policies", {"name": "p", "rules": rules})
    assert (reply.status, reply.error) == (400, "invalid_body")
    assert [(each["path"], each["code"]) for each in reply.body["details"]] == [
        ("rules[0].resource", "unknown_resource"),
        ("rules[1].capabilities[1]", "unknown_capability"),
        ("rules[2].namespace", "required"),
        ("rules[3].capabilities[0]", "unknown_capability"),
    ]
    many = [{"resource": "job", "capabilities": ["read"], "namespace": "*"}] * 201
    assert (await api.post("/v1/acl/policies", {"name": "p", "rules": many})).body["details"][0]["path"] == "rules"
    reply = await api.post("/v1/acl/policies", {"name": "p", "rules": [READS | {"namespaces": "*"}]})
    assert reply.body["details"][0]["path"] == "rules[0].namespaces"


async def test_a_role_without_policies_and_a_policy_without_rules_give_nothing(api: Rig) -> None:
    await made(api, "acl/policies", name="empty", rules=[])
    for number, policies in enumerate(([], ["empty"])):
        await made(api, "acl/roles", name=f"role-{number}", policies=policies)
        who = await secret(api, f"role-{number}", kind="service")
        assert await status(api, "/v1/jobs", who) == 403
        assert await status(api, "/v1/acl/self", who) == 200


async def test_a_deny_wins_over_the_role_beside_it(api: Rig) -> None:
    await submit(api)
    no_jobs = await policy(api, "no-jobs", {"resource": "job", "namespace": "default", "capabilities": []})
    who = await secret(api, "admin", no_jobs)
    assert (await api.get("/v1/jobs", token=who)).body == []
    assert (await api.get("/v1/jobs/web", token=who)).error == "job_not_found"
    assert (await api.post("/v1/jobs", spec(), token=who)).error == "namespace_not_found"
    assert await status(api, "/v1/nodes", who) == 200


# ── nobody gives what he has not ─────────────────────────────────────────────────────────────────────────────────────


async def test_who_keeps_the_users_makes_nobody_more_than_himself(api: Rig) -> None:
    await policy(api, "deny", {"resource": "node", "capabilities": []})
    keeper = await policy(api, "keeper", {"resource": "acl", "capabilities": ["*"]}, READS)
    kim = await user(api, "kim", keeper)
    await user(api, "zoe", "viewer")
    await user(api, "lee", "operator", "deny")
    asked = [
        ("POST", "users", {"name": "new", "password": LONG, "roles": ["viewer"]}),
        ("PUT", "users/kim", {"roles": ["admin"]}),
        ("PUT", "users/admin/password", {"password": LONG}),
        ("POST", "tokens", {"name": "t", "roles": ["admin"], "kind": "service"}),
        ("POST", "tokens", {"name": "t", "roles": ["admin"], "user": "admin"}),
        ("PUT", "policies/keeper", {"rules": [READS | {"capabilities": ["*"]}]}),
        ("PUT", "policies/deny", {"rules": []}),
        ("PUT", "roles/keeper", {"policies": ["admin"]}),
    ]
    for method, path, body in asked:
        reply = await api.do(method, f"/v1/acl/{path}", body, token=kim)
        assert (reply.status, reply.error) == (403, "exceeds_own_rights"), (method, path, reply.body)
    given = [
        ("POST", "users", {"name": "new", "password": LONG, "roles": [keeper], "namespaces": ["*"]}),  # its rules end
        ("PUT", "users/zoe", {"roles": [keeper]}),
        ("PUT", "users/admin", {"roles": ["admin"]}),  # as it was
        ("POST", "tokens", {"name": "t", "roles": [keeper]}),
        ("PUT", "policies/keeper", {"rules": [{"resource": "acl", "capabilities": ["*"]}]}),
    ]
    for method, path, body in given:
        reply = await api.do(method, f"/v1/acl/{path}", body, token=kim)
        assert reply.status in (200, 201), (method, path, reply.body)


# ── who am I ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_everybody_may_know_who_he_is(api: Rig) -> None:
    mine = (await api.get("/v1/acl/self")).body
    assert (mine["actor"], mine["user"], mine["token"], mine["kind"]) == ("user:admin", "admin", None, None)
    assert (mine["roles"], mine["namespaces"]) == (["admin"], ["*"])
    assert all(right["everywhere"] and right["limits"] == [] for right in mine["rights"])
    assert mine["expires_at"] is not None
    reply = await token(api, "deployer", namespaces=["shop"], jobs=["web-*"], ttl="1h")
    theirs = (await api.get("/v1/acl/self", token=reply.body["secret"])).body
    assert (theirs["token"], theirs["kind"], theirs["expires_at"]) == (
        reply.body["id"],
        "user",
        reply.body["expires_at"],
    )
    rights = {right["right"]: right for right in theirs["rights"]}
    assert rights["job:submit"]["limits"] == [{"allowed": ["*"], "within": ["shop"], "denied": [], "jobs": ["web-*"]}]
    assert rights["node:read"]["everywhere"]
    assert "job:purge" not in rights
    assert "secret:read" not in rights
