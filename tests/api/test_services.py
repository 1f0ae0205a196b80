"""Services: who is an instance and who is not, what moves their topic, and what an agent is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain.events import AllocStopping, NodeDown, NodeUp
from tests.api.rig import Reply, Rig
from tests.api.specs import join, open_session, place, runs, submit

EMPTY = [{"job": "web", "namespace": "default", "task": "app", "port": "http", "instances": []}]


async def up(api: Rig, name: str = "node-1") -> tuple[str, str]:
    """A node that is up, and its token."""
    node, token = await join(api, name)
    await open_session(api, token)
    await api.decide(NodeUp(node, name))
    return node, token


async def shown(api: Rig, path: str = "/v1/services/web") -> list[dict[str, Any]]:
    body: list[dict[str, Any]] = (await api.get(path)).body
    return body


async def test_a_service_has_its_healthy_replicas(api: Rig) -> None:
    node, _ = await up(api)
    await submit(api, task={"count": 2})
    assert await shown(api) == await shown(api, "/v1/services") == EMPTY
    first, second = await place(api, node), await place(api, node, n=2)
    await runs(api, node, first)
    await runs(api, node, second, health="unhealthy")
    instance = {
        "alloc": first,
        "node": "node-1",
        "address": "192.0.2.9",
        "port": 20001,
        "healthy": True,
        "version": 1,
    }
    assert await shown(api) == await shown(api, "/v1/services?job=web") == [{**EMPTY[0], "instances": [instance]}]
    assert await shown(api, "/v1/services?namespace=other") == []


async def test_a_job_without_ports_has_none_and_a_job_that_is_not_there_is_404(api: Rig) -> None:
    await submit(api, task={"ports": {}})
    assert await shown(api) == []
    missing = await api.get("/v1/services/nobody")
    assert (missing.status, missing.body["error"]) == (404, "job_not_found")


async def test_whoever_leaves_is_out_before_it_is_asked_to_end(api: Rig) -> None:
    node, _ = await up(api)
    await submit(api)
    alloc = await place(api, node)
    await runs(api, node, alloc)
    await api.decide(AllocStopping(alloc, "default", "web", "updated"))
    assert await shown(api) == EMPTY


async def test_a_node_that_is_down_offers_nothing_until_it_is_up_again(api: Rig) -> None:
    node, _ = await up(api)
    await submit(api)
    await runs(api, node, await place(api, node))
    asking = api.ask("GET", f"/v1/services?index={(await api.get('/v1/services')).index}&wait=5m")
    await api.decide(NodeDown(node, "node-1", 13.0, ()))
    assert (await asking.reply()).body == EMPTY
    await api.decide(NodeUp(node, "node-1"))
    assert len((await shown(api))[0]["instances"]) == 1


async def test_only_another_set_of_addresses_moves_the_topic(api: Rig) -> None:
    node, _ = await up(api)
    await submit(api, task={"count": 2})
    alloc = await place(api, node)
    await runs(api, node, alloc)
    before = await api.get("/v1/services/web")
    tag = before.headers["etag"]
    await runs(api, node, alloc, message="still here", restarts=1)
    await place(api, node, n=2)
    assert (await api.get("/v1/services/web")).index == (await api.get("/v1/services")).index == before.index
    same = await api.do("GET", "/v1/services/web", headers={"if-none-match": tag})
    assert same.status == 304
    await runs(api, node, alloc, ports={"http": 20_002})
    moved = await api.get("/v1/services/web")
    assert moved.index > before.index
    assert moved.body[0]["instances"][0]["port"] == 20_002


# ── what an agent is told ────────────────────────────────────────────────────────────────────────────────────────────

USES = {"env": {"DB": "${service.db.app.http}"}, "ports": {}}


async def ask(api: Rig, token: str, **body: object) -> Reply:
    return await api.post("/v1/agent/services", {"known": "", **body}, token=token)


async def test_an_agent_is_told_of_what_its_allocations_refer_to_and_of_nothing_else(api: Rig) -> None:
    node, token = await up(api)
    _, other = await up(api, "node-2")
    for name in ("db", "cache"):
        await submit(api, name)
        await runs(api, node, await place(api, node, name))
    await submit(api, task=USES)
    assert (await ask(api, token)).body["services"] == []
    await place(api, node)
    told = (await ask(api, token)).body["services"]
    endpoint = {"node": node, "address": "192.0.2.9", "port": 20001}
    assert told == [{"namespace": "default", "name": "db.app.http", "endpoints": [endpoint]}]
    assert (await ask(api, other)).body["services"] == []


@pytest.mark.parametrize("name", ["nobody.app.http", "db.nobody.http", "db.app.nothing"])
async def test_what_is_not_there_is_found_nowhere(api: Rig, name: str) -> None:
    node, token = await up(api)
    await submit(api, "db")
    await runs(api, node, await place(api, node, "db"))
    await submit(api, task={"env": {"DB": f"${{service.{name}}}"}, "ports": {}})
    await place(api, node)
    assert (await ask(api, token)).body["services"] == [{"namespace": "default", "name": name, "endpoints": []}]


async def test_an_agent_waits_for_what_it_does_not_know_yet(api: Rig) -> None:
    node, token = await up(api)
    for name in ("db", "cache"):
        await submit(api, name)
    await submit(api, task=USES)
    await place(api, node)
    known = (await ask(api, token)).body["digest"]
    asking = api.ask("POST", "/v1/agent/services", {"known": known, "wait": 300}, token=token)
    await runs(api, node, await place(api, node, "cache"))
    assert not asking.task.done()
    await runs(api, node, await place(api, node, "db"))
    reply = await asking.reply()
    assert len(reply.body["services"][0]["endpoints"]) == 1
    again = await ask(api, token, known=reply.body["digest"], wait=0)
    assert again.body == reply.body
