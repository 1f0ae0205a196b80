"""Plans over HTTP: what a submit would do, told by the planner itself, and nothing written."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from heroctl.domain.events import NodeUp
from tests.api.people import policy, secret
from tests.api.rig import Reply, Rig
from tests.api.specs import join, open_session, place, runs, spec, submit

FIELDS = {
    "name",
    "namespace",
    "version",
    "index",
    "deployment_id",
    "changed",
    "diff",
    "place",
    "stop",
    "replace",
    "in_place",
    "tasks",
    "blocked",
    "warnings",
    "waits_for",
    "once_promoted",
    "once_launched",
    "launch",
    "preempted",
    "truncated",
    "check_index",
}


async def node(api: Rig, name: str = "node-1", **more: Any) -> str:  # noqa: ANN401 - fields of the session
    """Let a server join, and come up."""
    identity, token = await join(api, name)
    await open_session(api, token, **more)
    await api.decide(NodeUp(identity, name))
    return identity


async def plan(api: Rig, name: str = "web", task: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    """Ask for a plan; nothing of the state may have moved, not even what no topic tells."""
    before = (await api.log.head()).index, msgspec.msgpack.encode(api.parts.view.state)
    reply = await api.post("/v1/jobs/plan", spec(name, task, **more))
    assert reply.status == 200, reply.body
    assert reply.body.keys() == FIELDS
    assert ((await api.log.head()).index, msgspec.msgpack.encode(api.parts.view.state)) == before
    return dict(reply.body)


async def test_a_new_job_is_all_added(api: Rig) -> None:
    await node(api)
    told = await plan(api, task={"count": 2})
    assert (told["version"], told["changed"], told["check_index"]) == (1, True, 0)
    assert (told["place"], told["stop"], told["replace"], told["in_place"]) == (2, 0, 0, 0)
    assert {row["kind"] for row in told["diff"]} == {"added"}
    assert told["tasks"] == {
        "app": {
            "place": 2,
            "stop": 0,
            "replace": 0,
            "in_place": 0,
            "strategy": "rolling",
            "nodes": [{"node": "node-1", "replicas": 2}],
        }
    }
    assert (await api.get("/v1/jobs/web")).status == 404


async def test_an_equal_spec_is_nothing_to_do(api: Rig) -> None:
    await node(api)
    made = await submit(api)
    told = await plan(api)
    assert (told["changed"], told["diff"], told["tasks"], told["version"]) == (False, [], {}, 1)
    assert told["check_index"] == made.index


async def test_a_change_is_told_field_by_field(api: Rig) -> None:
    identity = await node(api)
    await submit(api)
    await runs(api, identity, await place(api, identity))
    told = await plan(api, task={"image": "app:2"})
    assert told["diff"] == [{"path": "tasks[app].image", "kind": "changed", "from": "app:1", "to": "app:2"}]
    assert (told["place"], told["replace"], told["version"]) == (0, 1, 2)
    told = await plan(api, task={"restart": {"attempts": 7}})
    assert (told["place"], told["replace"], told["in_place"]) == (0, 0, 1)


async def test_what_fits_nowhere_says_why(api: Rig) -> None:
    await node(api)
    told = await plan(api, task={"resources": {"memory": "100GB"}})
    assert (told["place"], told["blocked"]) == (0, ["1 node: 1 exhausted memory"])


async def test_what_waits_for_somebody_to_promote_it_says_so(api: Rig) -> None:
    identity = await node(api)
    await submit(api)
    await runs(api, identity, await place(api, identity))
    told = await plan(api, task={"image": "app:2", "update": {"strategy": "blue-green"}})
    assert (told["waits_for"], told["place"], told["replace"]) == ("promotion", 1, 0)
    assert told["once_promoted"] == {"place": 0, "stop": 0, "replace": 1, "in_place": 0}
    assert told["tasks"]["app"]["strategy"] == "blue-green"
    told = await plan(api, task={"image": "app:2"})
    assert (told["waits_for"], told["once_promoted"]) == ("", None)


async def test_dry_run_is_the_same(api: Rig) -> None:
    await node(api)
    head = (await api.log.head()).index
    planned = await api.post("/v1/jobs/plan", spec())
    dry = await api.post("/v1/jobs?dry_run=true", spec())
    assert (dry.status, dry.body) == (200, planned.body)
    assert (await api.log.head()).index == head
    assert (await api.post("/v1/jobs?dry_run=perhaps", spec())).error == "invalid_dry_run"
    assert (await api.post("/v1/jobs?dry_run=false", spec())).status == 201


async def test_a_key_keeps_nothing_of_a_dry_run(api: Rig) -> None:
    headers = {"Idempotency-Key": "one"}
    assert (await api.post("/v1/jobs?dry_run=true", spec(), headers=headers)).status == 200
    made = await api.post("/v1/jobs", spec(), headers=headers)
    assert (made.status, "idempotency-replayed" in made.headers) == (201, False)


async def test_a_submit_rests_on_its_plan(api: Rig) -> None:
    told = await plan(api)
    assert (await api.post(f"/v1/jobs?check_index={told['check_index']}", spec())).status == 201
    assert (await api.post(f"/v1/jobs?check_index={told['check_index']}", spec())).error == "job_exists"
    told = await plan(api, meta={"a": "b"})
    await submit(api, meta={"c": "d"})
    late = await api.post(f"/v1/jobs?check_index={told['check_index']}", spec(meta={"a": "b"}))
    assert late.error == "index_conflict"
    assert (await api.post("/v1/jobs/plan?check_index=1", spec())).error == "index_conflict"


async def test_a_plan_refuses_what_a_submit_refuses(api: Rig) -> None:
    assert (await api.post("/v1/jobs/plan", spec(task={"count": -1}))).error == "invalid_spec"
    assert (await api.post("/v1/jobs/plan", spec(namespace="nowhere"))).error == "namespace_not_found"
    viewer = await api.role("viewer")
    assert (await api.post("/v1/jobs/plan", spec(), token=viewer)).error == "forbidden"
    assert (await api.post("/v1/jobs?dry_run=true", spec(), token=viewer)).error == "forbidden"
    deployer = await api.role("deployer")
    reaching = spec(task={"privileged": True})
    for path in ("/v1/jobs", "/v1/jobs/plan"):
        assert (await api.post(path, reaching, token=deployer)).error == "forbidden", path


async def test_a_plan_shows_nothing_of_a_job_that_may_not_be_read(api: Rig) -> None:
    """Who may only submit would read the environment of what runs off the differences."""
    await submit(api, task={"env": {"PASSWORD": "hunter2"}})
    await policy(api, "blind", {"resource": "job", "namespace": "default", "capabilities": ["submit"]})
    blind = await secret(api, "blind")
    for path in ("/v1/jobs/plan", "/v1/jobs?dry_run=true"):
        for name in ("web", "new"):
            told = await api.post(path, spec(name), token=blind)
            assert (told.status, told.error) == (403, "forbidden"), (path, name)
            assert "job:read" in told.body["message"]
    assert (await api.post("/v1/jobs", spec(), token=blind)).status == 200


async def test_a_plan_that_fails_says_so(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("reconciler.planner.dryrun.decide", broken)
    assert (await plan(api))["blocked"] == ["planning it fails: ZeroDivisionError: by nothing"]


async def test_too_many_at_once_are_told_to_come_again(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    api.parts.aside._most = 0
    assert (await api.post("/v1/jobs/plan", spec())).error == "busy"
    monkeypatch.undo()


async def test_the_loop_goes_on_while_a_large_job_is_planned(api: Rig) -> None:
    """A thread beside it, and not the loop, runs ahead: another request is answered before the plan is."""
    await node(api, capacity={"cpu": 1000.0, "memory": 1 << 42, "disk": 1 << 46})
    small = {"cpu": 0.01, "memory": "1MB", "disk": "1MB"}
    began = asyncio.Event()
    order: list[str] = []

    async def large() -> Reply:
        began.set()
        reply = await api.post("/v1/jobs/plan", spec(task={"count": 50_000, "resources": small}))
        order.append("plan")
        return reply

    planning_it = asyncio.get_running_loop().create_task(large())
    await began.wait()
    assert (await api.get("/v1/jobs")).status == 200
    order.append("list")
    told = (await planning_it).body
    assert (told["place"], told["truncated"]) == (1_000, True)
    assert order == ["list", "plan"]
