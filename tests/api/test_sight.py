"""What one may not see is not there; and who sees what while rights, jobs and namespaces come and go."""

from __future__ import annotations

import asyncio

from tests.api.people import READS, made, policy, secret, user
from tests.api.rig import Reply, Rig, beside
from tests.api.specs import join, open_session, place, spec, submit

# ── what one may not see is not there ────────────────────────────────────────────────────────────────────────────────


async def shop(api: Rig) -> str:
    """A namespace with a job that runs, and a viewer of another one; return its token."""
    await made(api, "namespaces", name="shop")
    node, agent = await join(api)
    await open_session(api, agent)
    await submit(api, "mine")
    await place(api, node, "mine")
    await submit(api, "secret-project", namespace="shop")
    return await secret(api, "deployer", namespaces=["default"])


def said(reply: Reply) -> object:
    """What an answer says, without what belongs to its request."""
    kept = {key: value for key, value in reply.headers.items() if key not in ("x-request-id", "ratelimit")}
    kept.pop("content-length")
    return reply.status, kept, {key: value for key, value in reply.body.items() if key not in ("request_id", "message")}


async def test_a_hidden_thing_answers_as_one_that_is_not_there(api: Rig) -> None:
    viewer = await shop(api)
    state = api.parts.view.state
    job = state.job("shop", "secret-project")
    assert job is not None
    pairs = [
        ("/v1/jobs/secret-project?namespace=shop", "/v1/jobs/nothing?namespace=shop"),
        ("/v1/jobs/secret-project/versions?namespace=shop", "/v1/jobs/nothing/versions?namespace=shop"),
        ("/v1/jobs/secret-project/versions/diff?namespace=shop", "/v1/jobs/nothing/versions/diff?namespace=shop"),
        (f"/v1/deployments/{job.deployment}", "/v1/deployments/aaaaaaaaaaaaaaaa"),
        (f"/v1/deployments/{job.deployment[:6]}", "/v1/deployments/aaaaaa"),
        ("/v1/namespaces/shop", "/v1/namespaces/nothing"),
    ]
    for there, nowhere in pairs:
        seen, unseen = await api.get(there, token=viewer), await api.get(nowhere, token=viewer)
        assert seen.status == 404
        assert said(seen) == said(unseen), there
    for method, path in (("POST", "/v1/jobs/{}/stop?namespace=shop"), ("DELETE", "/v1/jobs/{}?namespace=shop")):
        replies = [await api.do(method, path.format(name), token=viewer) for name in ("secret-project", "nothing")]
        assert said(replies[0]) == said(replies[1])


async def test_lists_tell_neither_of_hidden_things_nor_when_they_move(api: Rig) -> None:
    viewer = await shop(api)
    for noun in ("jobs", "deployments", "allocations"):
        assert {each["namespace"] for each in (await api.get(f"/v1/{noun}", token=viewer)).body} <= {"default"}
        assert (await api.get(f"/v1/{noun}?namespace=shop", token=viewer)).body == []
    for noun in ("deployments", "allocations"):
        hidden = await api.get(f"/v1/{noun}?job=secret-project", token=viewer)
        nothing = await api.get(f"/v1/{noun}?job=nothing", token=viewer)
        assert (hidden.body, hidden.index) == (nothing.body, nothing.index) == ([], hidden.index)
    assert [each["name"] for each in (await api.get("/v1/namespaces", token=viewer)).body] == ["default"]


async def test_the_past_is_judged_by_todays_rights(api: Rig) -> None:
    viewer = await shop(api)
    index = api.parts.view.index
    await api.do("DELETE", "/v1/jobs/secret-project?namespace=shop")
    then = f"at={index}"
    assert [each["name"] for each in (await api.get(f"/v1/jobs?{then}")).body] == ["mine", "secret-project"]
    assert [each["name"] for each in (await api.get(f"/v1/jobs?{then}", token=viewer)).body] == ["mine"]
    assert (await api.get(f"/v1/jobs/secret-project?namespace=shop&{then}", token=viewer)).error == "job_not_found"
    await user(api, "second", "admin", namespaces=["*"])
    await api.do("PUT", "/v1/acl/users/admin", {"namespaces": ["shop"]})
    assert [each["name"] for each in (await api.get(f"/v1/jobs?{then}")).body] == ["secret-project"]


# ── rights that change while somebody waits ──────────────────────────────────────────────────────────────────────────


async def test_a_long_poll_goes_on_with_the_rights_of_its_end(api: Rig) -> None:
    await made(api, "namespaces", name="shop")
    await submit(api, "mine")
    await submit(api, "theirs", namespace="shop")
    reader = await policy(api, "reader", READS | {"namespace": "*"})
    who = await secret(api, reader, namespaces=["*"], kind="service")
    index = (await api.get("/v1/jobs", token=who)).index
    waiting = api.ask("GET", f"/v1/jobs?index={index}&wait=5m", token=who)
    async with beside(api) as other:
        await api.waiting(1)
        await other.do("PUT", "/v1/acl/policies/reader", {"rules": [READS]})
        reply = await waiting.reply()
    assert (reply.status, [each["name"] for each in reply.body]) == (200, ["mine"])
    waiting = api.ask("GET", f"/v1/jobs?index={reply.index}&wait=5m", token=who)
    await api.waiting(1)
    await api.do("PUT", "/v1/acl/policies/reader", {"rules": [{"resource": "cluster", "capabilities": ["read"]}]})
    assert (await waiting.reply()).error == "forbidden"


async def test_a_change_that_changes_nothing_for_him_wakes_nobody(api: Rig) -> None:
    index = (await submit(api)).index
    waiting = api.ask("GET", f"/v1/jobs?index={index}&wait=5m", token=await secret(api, "viewer"))
    await api.waiting(1)
    await policy(api, "other", READS)
    await user(api, "zoe", "viewer")
    await api.waiting(1)
    await waiting.leave()


# ── namespaces ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_namespace_is_made_described_and_removed_when_it_is_empty(api: Rig) -> None:
    assert (await api.post("/v1/jobs", spec(namespace="shop"))).error == "namespace_not_found"
    assert (await made(api, "namespaces", name="shop")).body == {"name": "shop", "description": ""}
    assert (await api.post("/v1/namespaces", {"name": "shop"})).error == "namespace_exists"
    await api.do("PUT", "/v1/namespaces/shop", {"description": "the shop"})
    assert (await api.get("/v1/namespaces/shop")).body["description"] == "the shop"
    await submit(api, namespace="shop")
    reply = await api.do("DELETE", "/v1/namespaces/shop")
    assert (reply.status, reply.error) == (409, "namespace_not_empty")
    assert "web" in reply.body["message"]
    await api.do("DELETE", "/v1/jobs/web?namespace=shop")
    assert (await api.do("DELETE", "/v1/namespaces/shop")).status == 200
    assert (await api.get("/v1/namespaces/shop")).error == "namespace_not_found"
    assert (await api.do("DELETE", "/v1/namespaces/default")).error == "default_namespace"
    assert (await api.post("/v1/jobs", spec(namespace="shop"))).error == "namespace_not_found"


async def test_a_job_that_comes_while_its_namespace_goes_has_one(api: Rig) -> None:
    async with beside(api) as other:
        for number in range(10):
            name = f"shop-{number}"
            await made(api, "namespaces", name=name)
            gone, came = await asyncio.gather(
                api.do("DELETE", f"/v1/namespaces/{name}"), other.post("/v1/jobs", spec(namespace=name))
            )
            assert (gone.status, came.status) in ((200, 404), (409, 201)), (gone.body, came.body)
            assert (name in api.parts.view.state.namespaces) == (came.status == 201)
