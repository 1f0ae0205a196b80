"""What a node is given of secrets: the values that its own allocations were made with, and nothing else."""

from __future__ import annotations

import base64

from eventstore.master import given
from heroctl.domain.events import AllocStopping
from tests.api.rig import Reply, Rig, rig
from tests.api.sealed import VALUE, pinned, put
from tests.api.specs import join, open_session, place


async def node(api: Rig, name: str = "node-1") -> tuple[str, str, int]:
    identity, token = await join(api, name)
    return identity, token, (await open_session(api, token)).body["session"]


async def fetch(api: Rig, token: str, session: int, *allocs: str) -> Reply:
    return await api.post("/v1/agent/secrets", {"session": session, "allocs": allocs, "later": 1}, token=token)


async def test_a_node_is_given_what_its_allocations_were_made_with(api: Rig) -> None:
    await put(api)
    await put(api, "another")
    await api.post("/v1/secrets", {"name": "raw", "value": base64.b64encode(b"\xff\0").decode(), "encoding": "base64"})
    await pinned(api, ("db_password", 1), ("raw", 1))
    mine, token, session = await node(api)
    theirs, other_token, other_session = await node(api, "node-2")
    alloc, foreign = await place(api, mine), await place(api, theirs, n=2)
    head = await api.log.head()
    reply = await fetch(api, token, session, alloc, foreign, "nothing")
    assert reply.status == 200, reply.body
    assert reply.body["refused"] == {foreign: "foreign", "nothing": "unknown"}
    values = {name: base64.b64decode(each) for name, each in reply.body["values"][alloc].items()}
    assert values == {"db_password": VALUE.encode(), "raw": b"\xff\0"}, "the pins, not what is newest"
    assert await api.log.head() == head, "no event a fetch"
    assert VALUE.encode() not in b"".join(api.lines)
    assert (await fetch(api, other_token, other_session, alloc)).body["refused"] == {alloc: "foreign"}
    await api.decide(AllocStopping(alloc, "default", "web", "job_stopped"))
    assert (await fetch(api, token, session, alloc)).body == {"values": {}, "refused": {alloc: "over"}}


async def test_what_is_missing_is_told_and_nothing_else_of_that_allocation_is_given(api: Rig) -> None:
    await put(api)
    await put(api, name="other")
    await pinned(api, ("db_password", 1), ("other", 1))
    mine, token, session = await node(api)
    alloc = await place(api, mine)
    await api.do("DELETE", "/v1/secrets/other?force=true")
    assert (await fetch(api, token, session, alloc)).body == {"values": {}, "refused": {alloc: "missing"}}
    secret = api.parts.view.state.secrets["default", "db_password"]
    await api.parts.vault.delete([secret.current.row])
    assert (await fetch(api, token, session, alloc)).body["refused"] == {alloc: "missing"}


async def test_only_a_node_with_its_session_is_given_anything(api: Rig) -> None:
    _, token, session = await node(api)
    assert (await api.post("/v1/agent/secrets", {"session": session, "allocs": []})).status == 403
    assert (await api.post("/v1/agent/secrets", {"session": session, "allocs": []}, token="")).status == 401
    assert (await fetch(api, token, session + 1)).error in ("session_unknown", "session_replaced")
    assert (await fetch(api, token, session, *map(str, range(101)))).error == "invalid_body"
    assert (await fetch(api, token, session)).body == {"values": {}, "refused": {}}


async def test_without_the_log_for_half_a_minute_nobody_is_given_a_secret(api: Rig) -> None:
    await put(api)
    await pinned(api, ("db_password", 1))
    mine, token, session = await node(api)
    alloc = await place(api, mine)
    api.clock.ticks += 31
    refused = await fetch(api, token, session, alloc)
    assert (refused.status, refused.error) == (503, "log_unavailable")
    assert (await api.get("/v1/secrets/db_password")).error == "log_unavailable"
    await api.pass_(0)
    assert (await fetch(api, token, session, alloc)).status == 200


async def test_an_api_without_a_key_refuses_nodes_too() -> None:
    async with rig(keys=given("", ())) as api:
        _, token, session = await node(api)
        assert (await fetch(api, token, session)).error == "secrets_not_configured"
