"""Allocations and deployments over HTTP."""

from __future__ import annotations

import pytest

from heroctl.domain.events import AllocStopping, NodeRemoved
from heroctl.domain.intents.change import node_stream
from tests.api.rig import Rig
from tests.api.specs import join, open_session, place, runs, submit


async def running(api: Rig, count: int = 1) -> tuple[str, list[str]]:
    """A node, and so many running replicas of `web` on it."""
    node, token = await join(api)
    await open_session(api, token)
    await submit(api, task={"count": count})
    allocs = [await place(api, node, n=number) for number in range(1, count + 1)]
    for alloc in allocs:
        await runs(api, node, alloc)
    return node, allocs


async def test_an_allocation_is_shown_with_its_node_ports_and_timeline(api: Rig) -> None:
    node, [alloc] = await running(api)
    shown = (await api.get(f"/v1/allocations/{alloc}")).body
    deployment = (await api.get("/v1/jobs/web")).body["deployment"]["id"]
    timeline = shown.pop("timeline")
    assert [line["event"] for line in timeline] == ["alloc.placed", "alloc.running"]
    assert timeline[0].keys() == {"index", "time", "event", "message"}
    [item] = (await api.get("/v1/allocations")).body
    assert shown == item | {"message": "", "container": ""}
    assert item == {
        "id": alloc,
        "job": "web",
        "namespace": "default",
        "task": "app",
        "slot": 0,
        "version": 1,
        "node": "node-1",
        "status": "running",
        "wanted": "run",
        "health": "healthy",
        "attempt": 1,
        "deployment": deployment,
        "launch": None,
        "ports": {"http": {"host": 20001, "container": 8080}},
        "address": "192.0.2.9",
        "exit_code": None,
        "oom": False,
        "reason": "",
        "created_at": "2026-09-21T14:13:20.000Z",
        "started_at": "2026-09-21T14:13:17.000Z",
        "finished_at": None,
        "create_index": item["create_index"],
        "modify_index": item["modify_index"],
    }
    assert item["modify_index"] > item["create_index"] > 0
    del node


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("?job=web", 3),
        ("?job=other", 0),
        ("?node=node-1", 3),
        ("?node=none", 0),
        ("?namespace=default", 3),
        ("?namespace=other", 0),
        ("?status=running", 3),
        ("?status=failed", 0),
        ("?job=web&node=node-1&namespace=default&status=running", 3),
        ("?job=web&status=lost", 0),
    ],
)
async def test_a_list_is_filtered(api: Rig, query: str, count: int) -> None:
    await running(api, 3)
    listed = (await api.get(f"/v1/allocations{query}")).body
    assert len(listed) == count
    assert [alloc["slot"] for alloc in listed] == list(range(count)), "oldest first"


async def test_a_node_may_be_named_by_id_in_a_filter(api: Rig) -> None:
    node, _ = await running(api)
    assert len((await api.get(f"/v1/allocations?node={node}")).body) == 1


async def test_a_unique_prefix_of_four_is_enough(api: Rig) -> None:
    _, [alloc] = await running(api)
    assert (await api.get(f"/v1/allocations/{alloc[:4]}")).body["id"] == alloc
    for short in (alloc[:3], "zzzz", alloc + "x"):
        missing = await api.get(f"/v1/allocations/{short}")
        assert (missing.status, missing.error) == (404, "allocation_not_found")


async def test_a_prefix_of_two_is_refused_with_both(api: Rig) -> None:
    _, [alloc] = await running(api)
    state = api.parts.view.state
    other = alloc[:8] + "7777"
    state.allocs[other] = type(state.allocs[alloc])(
        **{name: getattr(state.allocs[alloc], name) for name in state.allocs[alloc].__struct_fields__} | {"id": other}
    )
    for reply in (
        await api.get(f"/v1/allocations/{alloc[:6]}"),
        await api.post(f"/v1/allocations/{alloc[:6]}/stop"),
    ):
        assert (reply.status, reply.error) == (409, "ambiguous_id")
        assert alloc in reply.body["message"]
    assert (await api.get(f"/v1/allocations/{alloc}")).status == 200


async def test_stopping_one_is_a_wish_that_is_kept(api: Rig) -> None:
    _, [alloc] = await running(api)
    stopped = await api.post(f"/v1/allocations/{alloc[:5]}/stop")
    assert (stopped.status, stopped.body["id"], stopped.body["index"]) == (200, alloc, stopped.index)
    assert api.parts.view.state.allocs[alloc].stop_requested
    again = await api.post(f"/v1/allocations/{alloc}/stop")
    assert (again.status, again.index) == (200, stopped.index)
    await api.decide(AllocStopping(alloc, "default", "web", "requested"))
    shown = (await api.get(f"/v1/allocations/{alloc}")).body
    assert (shown["status"], shown["wanted"], shown["reason"]) == ("stopping", "stop", "requested")
    assert (await api.post("/v1/allocations/none/stop")).error == "allocation_not_found"


async def test_allocations_of_a_deleted_job_stay_listed_until_they_are_gone(api: Rig) -> None:
    node, [alloc] = await running(api)
    await api.do("DELETE", "/v1/jobs/web")
    assert [each["id"] for each in (await api.get("/v1/allocations?job=web")).body] == [alloc]
    await runs(api, node, alloc, phase="complete", health="unknown", exit_code=0)
    assert (await api.get("/v1/allocations?job=web")).body == []
    assert (await api.get(f"/v1/allocations/{alloc}")).status == 404


async def test_an_allocation_of_a_removed_node_is_lost(api: Rig) -> None:
    node, [alloc] = await running(api)
    assert (await api.get("/v1/allocations")).body[0]["node"] == "node-1"
    await api.append(NodeRemoved(node, "node-1"), moves=(node_stream(node),))
    shown = (await api.get("/v1/allocations")).body[0]
    assert (shown["id"], shown["status"], shown["node"]) == (alloc, "lost", node)
    assert shown["finished_at"] is not None


async def test_a_deployment_counts_what_it_brought(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    first = (await submit(api, task={"count": 2})).body["deployment_id"]
    shown = (await api.get(f"/v1/deployments/{first}")).body
    assert shown == {
        "id": first,
        "job": "web",
        "namespace": "default",
        "version": 1,
        "previous_version": None,
        "status": "running",
        "reason": "",
        "strategy": "rolling",
        "kind": "submit",
        "step": 0,
        "steps": 2,
        "weights": [],
        "awaiting": False,
        "promoted": True,
        "promoted_at": None,
        "revert_of": None,
        "tasks": {"app": {"desired": 2, "placed": 0, "healthy": 0, "unhealthy": 0, "canaries": 0, "promoted": True}},
        "traffic": {"app": []},
        "deadline": "2026-09-21T14:23:20.000Z",
        "created_at": "2026-09-21T14:13:20.000Z",
        "create_index": shown["create_index"],
        "modify_index": shown["modify_index"],
    }
    await runs(api, node, await place(api, node))
    await runs(api, node, await place(api, node, n=2), health="unhealthy")
    counts = (await api.get(f"/v1/deployments/{first}")).body
    assert counts["tasks"]["app"] | {"desired": 0} == {
        "desired": 0,
        "placed": 2,
        "healthy": 1,
        "unhealthy": 1,
        "canaries": 0,
        "promoted": True,
    }
    assert counts["step"] == 1
    second = (await submit(api, task={"count": 3})).body["deployment_id"]
    grown = (await api.get(f"/v1/deployments/{second}")).body
    assert (grown["previous_version"], grown["tasks"]["app"]["placed"], grown["step"]) == (1, 2, 1)
    assert (await api.get(f"/v1/deployments/{first}")).body["status"] == "superseded"
    assert (await api.get(f"/v1/deployments/{first}")).body["deadline"] is None


async def test_deployments_are_listed_newest_first_and_filtered(api: Rig) -> None:
    ids = [(await submit(api, name)).body["deployment_id"] for name in ("a", "b", "c")]
    listed = (await api.get("/v1/deployments")).body
    assert [deployment["id"] for deployment in listed] == ids[::-1]
    assert [each["id"] for each in (await api.get("/v1/deployments?job=b")).body] == [ids[1]]
    assert (await api.get("/v1/deployments?namespace=other")).body == []
    assert (await api.get("/v1/deployments?status=failed")).body == []
    assert (await api.get(f"/v1/deployments/{ids[0][:6]}")).body["id"] == ids[0]
    assert (await api.get("/v1/deployments/none")).error == "deployment_not_found"


async def test_a_restart_is_a_wish_for_the_agent_and_asked_for_twice_it_is_one(api: Rig) -> None:
    _, [alloc] = await running(api)
    asked = await api.post(f"/v1/allocations/{alloc[:5]}/restart")
    assert (asked.status, asked.body["id"], asked.body["index"]) == (200, alloc, asked.index)
    assert api.parts.view.state.allocs[alloc].restart == 1
    again = await api.post(f"/v1/allocations/{alloc}/restart")
    assert (again.status, again.index) == (200, asked.index)
    shown = (await api.get(f"/v1/allocations/{alloc}")).body
    assert (shown["status"], shown["timeline"][-1]["event"]) == ("running", "alloc.restart_requested")


async def test_a_signal_is_a_wish_and_each_is_one_of_its_own(api: Rig) -> None:
    _, [alloc] = await running(api)
    for _ in range(2):
        assert (await api.post(f"/v1/allocations/{alloc}/signal", {"signal": "SIGHUP"})).status == 200
    assert [wish.number for wish in api.parts.view.state.allocs[alloc].signals] == [1, 2]
    refused = await api.post(f"/v1/allocations/{alloc}/signal", {"signal": "SIGSTOP"})
    assert (refused.status, refused.body["details"][0]["path"]) == (400, "signal")
    assert "SIGUSR1, SIGUSR2" in refused.body["message"], "it is said what may be sent"
    assert (await api.post("/v1/allocations/zzzz/signal", {"signal": "SIGHUP"})).error == "allocation_not_found"


@pytest.mark.parametrize(("verb", "body"), [("restart", None), ("signal", {"signal": "SIGHUP"})])
async def test_what_stops_is_neither_begun_anew_nor_sent_signals(api: Rig, verb: str, body: object) -> None:
    _, [alloc] = await running(api)
    await api.post(f"/v1/allocations/{alloc}/stop")
    refused = await api.post(f"/v1/allocations/{alloc}/{verb}", body)
    assert (refused.status, refused.error) == (409, "allocation_stopping")
