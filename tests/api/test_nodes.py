"""Nodes and the cluster over HTTP."""

from __future__ import annotations

from eventstore.members import Present
from heroctl.domain.events import BrakeOn, NodeDown, NodeUp
from heroctl.domain.records import Member
from tests.api.rig import Rig
from tests.api.specs import join, open_session, place, submit


async def test_a_node_is_found_by_id_name_and_prefix(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    by_name = (await api.get("/v1/nodes/node-1")).body
    assert (await api.get("/v1/nodes")).body == [by_name]
    for way in (node, node[:4]):
        assert (await api.get(f"/v1/nodes/{way}")).body == by_name
    for none in ("node-2", "zzzz", node[:3]):
        assert (await api.get(f"/v1/nodes/{none}")).error == "node_not_found"
    assert by_name == {
        "id": node,
        "name": "node-1",
        "status": "unknown",
        "eligibility": "eligible",
        "drain": None,
        "drained": None,
        "cpu": {"total": 4.0, "reserved": 0.0, "used": 0},
        "ram": {"total": 8_000_000_000, "reserved": 0, "used": 0},
        "disk": {"total": 50_000_000_000, "reserved": 0, "used": 0},
        "labels": {"disk": "ssd"},
        "attributes": {},
        "drivers": {"docker": {"healthy": True, "version": "1"}},
        "address": "192.0.2.9",
        "version": "",
        "allocations": 0,
        "unknown_containers": [],
        "released_containers": [],
        "last_seen_s": None,
        "create_index": by_name["create_index"],
        "modify_index": by_name["modify_index"],
    }


async def test_reserved_follows_placements(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    await submit(api)
    before = (await api.get("/v1/nodes/node-1")).index
    await place(api, node)
    shown = await api.get("/v1/nodes/node-1")
    assert (shown.body["cpu"]["reserved"], shown.body["ram"]["reserved"]) == (0.5, 256_000_000)
    assert (shown.body["allocations"], shown.index > before) == (1, True)


async def test_a_list_is_by_name_and_filtered_by_status(api: Rig) -> None:
    nodes = {}
    for name in ("zoo", "api"):
        nodes[name], token = await join(api, name)
        await open_session(api, token)
    await api.decide(NodeUp(nodes["zoo"], "zoo"))
    assert [node["name"] for node in (await api.get("/v1/nodes")).body] == ["api", "zoo"]
    assert [node["name"] for node in (await api.get("/v1/nodes?status=ready")).body] == ["zoo"]


async def test_eligibility_is_set_and_said(api: Rig) -> None:
    await join(api)
    off = await api.post("/v1/nodes/node-1/eligibility", {"eligible": False})
    assert (off.status, off.body["name"]) == (200, "node-1")
    shown = await api.get("/v1/nodes/node-1")
    assert (shown.body["eligibility"], shown.index) == ("ineligible", off.index)
    again = await api.post("/v1/nodes/node-1/eligibility", {"eligible": False})
    assert (again.status, again.index) == (200, off.index)
    on = await api.post("/v1/nodes/node-1/eligibility", {"eligible": True})
    assert (await api.get("/v1/nodes/node-1")).body["eligibility"] == "eligible"
    assert on.index > off.index
    assert (await api.post("/v1/nodes/none/eligibility", {"eligible": True})).error == "node_not_found"


async def test_a_removed_node_is_gone_and_its_name_free(api: Rig) -> None:
    node, _ = await join(api)
    gone = await api.do("DELETE", "/v1/nodes/node-1")
    assert (gone.status, gone.body["id"], gone.body["name"]) == (200, node, "node-1")
    missing = await api.get("/v1/nodes/node-1")
    assert (missing.status, missing.index >= gone.index) == (404, True)
    assert (await api.do("DELETE", "/v1/nodes/node-1")).error == "node_not_found"
    other, _ = await join(api)
    assert other != node


async def test_the_cluster_says_how_it_is(api: Rig) -> None:
    alone = (await api.get("/v1/cluster/status")).body
    assert alone.keys() == {
        "health",
        "coordinator",
        "epoch",
        "members",
        "index",
        "version",
        "level",
        "incarnation",
        "brake",
        "brake_by",
        "nodes",
        "checks",
    }
    assert (alone["health"], alone["coordinator"], alone["members"], alone["epoch"]) == ("degraded", None, 1, 0)
    assert {check["name"] for check in alone["checks"] if not check["ok"]} == {"coordinator", "redis"}
    assert all(check["message"] for check in alone["checks"] if not check["ok"])
    assert await api.leases.take("reconciler-1", 15)
    api.parts.pulse.redis = True
    await api.parts.pulse.renew()
    await api.parts.pulse.look()
    api.clock.ticks += 1
    state = api.parts.view.state
    good = (await api.get("/v1/cluster/status")).body
    assert (good["health"], good["coordinator"], good["epoch"], good["members"]) == ("ok", "reconciler-1", 1, 1)
    assert (good["index"], good["version"], good["incarnation"]) == (state.index, "1.2.3", state.incarnation)
    api.clock.ticks += 15
    assert (await api.get("/v1/cluster/status")).body["coordinator"] is None, "the lease has run out"


async def test_nodes_that_are_down_and_the_brake_degrade_it(api: Rig) -> None:
    assert await api.leases.take("reconciler-1", 15)
    api.parts.pulse.redis = True
    await api.parts.pulse.look()
    node, token = await join(api)
    await open_session(api, token)
    await api.decide(NodeUp(node, "node-1"))
    up = (await api.get("/v1/cluster/status")).body
    assert (up["health"], up["nodes"]) == ("ok", {"ready": 1, "down": 0, "draining": 0})
    await api.decide(NodeDown(node, "node-1", 13.0), BrakeOn(1, 1))
    down = (await api.get("/v1/cluster/status")).body
    assert (down["health"], down["nodes"], down["brake"]) == ("degraded", {"ready": 0, "down": 1, "draining": 0}, True)
    assert {check["name"]: check["message"] for check in down["checks"] if not check["ok"]}.keys() == {"nodes", "brake"}
    api.log.away = True
    api.clock.ticks += 8
    away = await api.get("/v1/cluster/status")
    assert (away.body["health"], away.headers["x-heroctl-stale"]) == ("down", "8")


async def test_peers_are_those_that_live(api: Rig) -> None:
    await api.parts.pulse.renew()
    await api.members.renew(Present(Member("reconciler-1", "reconciler", "192.0.2.2", "1.2.3"), index=1))
    assert await api.leases.take("reconciler-1", 15)
    api.clock.ticks += 2
    await api.parts.pulse.look()
    peers = (await api.get("/v1/cluster/peers")).body
    assert [(peer["id"], peer["role"], peer["coordinator"]) for peer in peers] == [
        ("api-test", "api", False),
        ("reconciler-1", "reconciler", True),
    ]
    assert peers[1] == {
        "id": "reconciler-1",
        "role": "reconciler",
        "address": "192.0.2.2",
        "version": "1.2.3",
        "level": 1,
        "outdated": False,
        "coordinator": True,
        "index": 1,
        "lag": api.parts.view.index - 1,
        "last_seen_s": 2,
        "clock_skew_ms": 0,
    }
    await api.parts.pulse.leave()
    await api.parts.pulse.look()
    api.clock.ticks += 1
    assert [peer["id"] for peer in (await api.get("/v1/cluster/peers")).body] == ["reconciler-1"]
