"""Emptying nodes over HTTP, the brake, unknown containers, and asking for a rebalance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from heroctl.domain.assignment import Report
from heroctl.domain.events import AllocReported, AllocStopping, BrakeOff, BrakeOn, NodeDown, NodeDrainFinished, NodeUp
from tests.api.rig import Rig
from tests.api.specs import coordinated, join, open_session, place, runs, submit
from tests.api.test_agent import Agent


async def _node(api: Rig, name: str = "node-1") -> str:
    node, token = await join(api, name)
    await open_session(api, token)
    await api.decide(NodeUp(node, name))
    return node


async def _with_a_replica(api: Rig, *others: str) -> tuple[str, str]:
    """Bring up nodes, the first of which runs a replica; return its id and the replica's."""
    node = await _node(api)
    for other in others:
        await _node(api, other)
    await submit(api)
    alloc = await place(api, node)
    await runs(api, node, alloc)
    return node, alloc


async def _ended(api: Rig, node: str, alloc: str) -> None:
    await api.append(AllocReported(node, Report(alloc, 1, "complete")))


def _time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


# ── the line that users paste ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_line_of_the_reference(api: Rig) -> None:
    """It sends its body without a Content-Type; every field of the answer is told by value."""
    node, _ = await _with_a_replica(api, "node-2")
    raw = b'{"deadline_seconds": 300}'
    reply = await api.post("/v1/nodes/node-1/drain", raw)
    now = api.parts.view.state.nodes[node]
    assert now.drain is not None
    assert (reply.status, reply.index) == (200, api.parts.view.state.index)
    body = reply.body
    drain = body.pop("drain")
    assert _time(drain.pop("deadline")) - _time(drain.pop("started_at")) == 300
    assert drain == {"remaining": 1, "moved": 0, "stopped": 0, "ignore_system": False}
    assert body == {
        "id": node,
        "name": "node-1",
        "index": reply.index,
        "dry_run": False,
        "replicas": 1,
        "moves": 1,
        "stays": 0,
        "jobs": [
            {
                "job": "web",
                "namespace": "default",
                "task": "app",
                "replicas": 1,
                "nodes": [{"node": "node-2", "replicas": 1}],
                "stays": 0,
                "why": "",
                "reasons": [],
            }
        ],
        "warnings": body["warnings"],
    }
    shown = (await api.get("/v1/nodes/node-1")).body
    assert (shown["status"], shown["eligibility"], shown["drain"]["remaining"]) == ("draining", "ineligible", 1)


async def test_a_content_type_of_a_form_is_no_hindrance(api: Rig) -> None:
    """That is what curl sends beside `-d`."""
    await _node(api)
    sent = {"content-type": "application/x-www-form-urlencoded"}
    reply = await api.post("/v1/nodes/node-1/drain", b'{"deadline_seconds": 300}', headers=sent)
    assert (reply.status, reply.body["drain"]["remaining"]) == (200, 0)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [({}, 3600), (None, 3600), ({"deadline_seconds": 0}, 0), ({"deadline_seconds": None}, None)],
)
async def test_deadlines(api: Rig, body: dict[str, Any] | None, seconds: int | None) -> None:
    await _node(api)
    drain = (await api.post("/v1/nodes/node-1/drain", body)).body["drain"]
    if seconds is None:
        assert drain["deadline"] is None
    else:
        assert _time(drain["deadline"]) - _time(drain["started_at"]) == seconds


@pytest.mark.parametrize(
    "body",
    [
        {"deadline_seconds": -1},
        {"deadline_seconds": 1.5},
        {"deadline_seconds": "5m"},
        {"deadline_seconds": 10**9},
        {"deadline": 5},
        {"dry_run": "yes"},
        [],
    ],
)
async def test_what_is_no_drain_is_refused_and_changes_nothing(api: Rig, body: object) -> None:
    node = await _node(api)
    before = api.parts.view.state.index
    reply = await api.post("/v1/nodes/node-1/drain", body)
    assert (reply.status, reply.error) == (400, "invalid_body")
    assert api.parts.view.state.index == before
    assert api.parts.view.state.nodes[node].drain is None


# ── what it would do ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dry_run_tells_what_fits_nowhere_and_changes_nothing(api: Rig) -> None:
    node, _ = await _with_a_replica(api)
    before = api.parts.view.state.index
    reply = await api.post("/v1/nodes/node-1/drain", {"dry_run": True})
    assert (reply.status, reply.body["dry_run"], reply.body["drain"]) == (200, True, None)
    assert (reply.body["replicas"], reply.body["moves"], reply.body["stays"]) == (1, 0, 1)
    [job] = reply.body["jobs"]
    assert (job["job"], job["task"], job["stays"], job["why"], job["nodes"]) == ("web", "app", 1, "no_room", [])
    assert [warning["code"] for warning in reply.body["warnings"]] == ["no_room"]
    assert api.parts.view.state.index == before
    assert api.parts.view.state.nodes[node].eligible


async def test_who_may_not_see_a_job_is_told_how_many_only(api: Rig) -> None:
    await _with_a_replica(api)
    rules = [{"resource": "node", "name": "*", "capabilities": ["read", "drain"]}]
    await api.post("/v1/acl/policies", {"name": "hands", "rules": rules})
    await api.post("/v1/acl/roles", {"name": "hands", "policies": ["hands"]})
    reply = await api.post("/v1/nodes/node-1/drain", {"dry_run": True}, token=await api.role("hands"))
    assert (reply.status, reply.body["replicas"], reply.body["jobs"]) == (200, 1, [])


# ── on its way ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_progress_moves_long_polls_to_the_end(api: Rig) -> None:
    node, alloc = await _with_a_replica(api)
    began = await api.post("/v1/nodes/node-1/drain", {"deadline_seconds": 60})
    asking = api.ask("GET", f"/v1/nodes/node-1?index={began.index}&wait=5m")
    await api.waiting(1)
    await api.decide(AllocStopping(alloc, "default", "web", "drain_deadline"))
    await _ended(api, node, alloc)
    moved = await asking.reply()
    assert (moved.body["drain"]["remaining"], moved.body["drain"]["stopped"]) == (0, 1)
    asking = api.ask("GET", f"/v1/nodes/node-1?index={moved.index}&wait=5m")
    await api.waiting(1)
    await api.decide(NodeDrainFinished(node, "node-1", 0, 1))
    done = (await asking.reply()).body
    assert (done["status"], done["eligibility"], done["drain"]) == ("ready", "ineligible", None)
    assert (done["drained"]["moved"], done["drained"]["stopped"]) == (0, 1)
    assert done["drained"]["finished_at"] >= done["drained"]["started_at"]


async def test_asked_again_it_has_a_new_deadline_and_the_same_beginning(api: Rig) -> None:
    await _with_a_replica(api)
    first = (await api.post("/v1/nodes/node-1/drain", {"deadline_seconds": 60})).body["drain"]
    api.clock.now += 10
    again = (await api.post("/v1/nodes/node-1/drain", {"deadline_seconds": 60})).body["drain"]
    assert again["started_at"] == first["started_at"]
    assert _time(again["deadline"]) == _time(first["deadline"]) + 10


async def test_a_cancel_is_safe_to_repeat_and_gives_the_node_back(api: Rig) -> None:
    await _with_a_replica(api)
    await api.post("/v1/nodes/node-1/drain")
    off = await api.do("DELETE", "/v1/nodes/node-1/drain")
    assert (off.status, off.body["name"]) == (200, "node-1")
    shown = (await api.get("/v1/nodes/node-1")).body
    assert (shown["status"], shown["eligibility"], shown["drain"], shown["drained"]) == (
        "ready",
        "eligible",
        None,
        None,
    )
    again = await api.do("DELETE", "/v1/nodes/node-1/drain")
    assert (again.status, again.index) == (200, off.index)


async def test_a_cancel_may_leave_the_node_ineligible(api: Rig) -> None:
    await _node(api)
    await api.post("/v1/nodes/node-1/drain")
    assert (await api.do("DELETE", "/v1/nodes/node-1/drain?eligible=no")).error == "invalid_eligible"
    await api.do("DELETE", "/v1/nodes/node-1/drain?eligible=false")
    shown = (await api.get("/v1/nodes/node-1")).body
    assert (shown["eligibility"], shown["drain"]) == ("ineligible", None)


async def test_a_node_that_is_emptied_cannot_be_made_eligible(api: Rig) -> None:
    await _with_a_replica(api)
    await api.post("/v1/nodes/node-1/drain")
    refused = await api.post("/v1/nodes/node-1/eligibility", {"eligible": True})
    assert (refused.status, refused.error) == (409, "node_draining")
    assert (await api.post("/v1/nodes/node-1/eligibility", {"eligible": False})).status == 200


async def test_a_node_that_is_down_is_drained_and_that_is_said(api: Rig) -> None:
    node, _ = await _with_a_replica(api)
    await api.decide(NodeDown(node, "node-1", 13.0))
    reply = await api.post("/v1/nodes/node-1/drain")
    assert reply.status == 200
    assert "node_down" in [warning["code"] for warning in reply.body["warnings"]]
    shown = (await api.get("/v1/nodes/node-1")).body
    assert (shown["status"], shown["drain"]["remaining"]) == ("down", 1)


async def test_a_node_that_is_not_there_or_was_removed_is_not_found(api: Rig) -> None:
    node = await _node(api)
    await api.do("DELETE", f"/v1/nodes/{node}")
    for method in ("POST", "DELETE"):
        assert (await api.do(method, f"/v1/nodes/{node}/drain")).error == "node_not_found"


async def test_without_a_coordinator_it_is_kept_and_that_is_said(api: Rig) -> None:
    await _node(api)
    reply = await api.post("/v1/nodes/node-1/drain")
    assert "no_coordinator" in [warning["code"] for warning in reply.body["warnings"]]


async def test_the_cluster_counts_who_is_draining(api: Rig) -> None:
    await _with_a_replica(api, "node-2")
    await api.post("/v1/nodes/node-1/drain")
    assert (await api.get("/v1/cluster/status")).body["nodes"] == {"ready": 1, "down": 0, "draining": 1}
    assert [node["name"] for node in (await api.get("/v1/nodes?status=draining")).body] == ["node-1"]


# ── the brake ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _status(api: Rig) -> dict[str, Any]:
    body: dict[str, Any] = (await api.get("/v1/cluster/status")).body
    return body


async def test_the_brake_is_for_who_coordinates(api: Rig) -> None:
    refused = await api.post("/v1/cluster/brake", {"on": True})
    assert (refused.status, refused.error) == (503, "no_coordinator")
    assert "retry-after" in refused.headers
    assert (await api.post("/v1/cluster/brake", {})).error == "invalid_body"


async def test_an_operator_holds_the_brake_and_lets_it_go(api: Rig) -> None:
    await coordinated(api)
    on = await api.post("/v1/cluster/brake", {"on": True})
    assert (on.status, on.body) == (200, {"on": True, "index": on.index})
    await api.decide(BrakeOn(0, 1, "operator"))
    shown = await _status(api)
    assert (shown["brake"], shown["brake_by"]) == (True, "operator")
    assert "operator" in next(check["message"] for check in shown["checks"] if check["name"] == "brake")
    assert (await api.post("/v1/cluster/brake", {"on": True})).status == 200
    off = await api.post("/v1/cluster/brake", {"on": False})
    assert api.parts.view.state.brake_wanted is False
    await api.decide(BrakeOff("operator"))
    shown = await _status(api)
    assert (shown["brake"], shown["brake_by"], off.body["on"]) == (False, "", False)


async def test_a_brake_of_the_coordinator_itself_is_said_to_be_its_own(api: Rig) -> None:
    await api.decide(BrakeOn(3, 4))
    assert (await _status(api))["brake_by"] == "coordinator"


# ── unknown containers ───────────────────────────────────────────────────────────────────────────────────────────────


async def _strange(api: Rig) -> Agent:
    node, token = await join(api)
    opened = await open_session(api, token, inventory={"reports": [], "unknown": ["c0ffee", "decade"]})
    return Agent(api, node, token, opened)


async def _told(agent: Agent) -> list[str]:
    told: list[str] = (await agent.sync()).body["release"]
    return told


async def test_unknown_containers_are_kept_until_they_are_released(api: Rig) -> None:
    agent = await _strange(api)
    shown = (await api.get("/v1/nodes/node-1")).body
    assert (shown["unknown_containers"], shown["released_containers"]) == (["c0ffee", "decade"], [])
    assert await _told(agent) == []
    reply = await api.post("/v1/nodes/node-1/unknown/release", {"containers": ["decade"]})
    assert (reply.status, reply.body["name"]) == (200, "node-1")
    assert await _told(agent) == ["decade"]
    assert (await api.get("/v1/nodes/node-1")).body["released_containers"] == ["decade"]
    await api.post("/v1/nodes/node-1/unknown/release")
    assert await _told(agent) == ["c0ffee", "decade"]


async def test_what_is_not_unknown_is_not_released(api: Rig) -> None:
    await _strange(api)
    refused = await api.post("/v1/nodes/node-1/unknown/release", {"containers": ["decade", "known"]})
    assert (refused.status, refused.error) == (404, "container_not_found")
    assert (await api.get("/v1/nodes/node-1")).body["released_containers"] == []


async def test_who_holds_none_any_more_is_told_of_none(api: Rig) -> None:
    agent = await _strange(api)
    await api.post("/v1/nodes/node-1/unknown/release")
    agent.session = (await open_session(api, agent.token)).body["session"]
    assert await _told(agent) == []


# ── rebalance ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_rebalance_is_for_who_coordinates(api: Rig) -> None:
    await submit(api)
    refused = await api.post("/v1/jobs/web/rebalance")
    assert (refused.status, refused.error) == (503, "no_coordinator")
    await coordinated(api)
    done = await api.post("/v1/jobs/web/rebalance")
    assert (done.status, done.body["name"]) == (200, "web")
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    assert job.rebalance == done.index
    again = await api.post("/v1/jobs/web/rebalance")
    assert (again.status, again.index) == (200, done.index)
    assert (await api.post("/v1/jobs/none/rebalance")).error == "job_not_found"
    await api.post("/v1/jobs/web/stop")
    assert (await api.post("/v1/jobs/web/rebalance")).error == "job_stopped"
