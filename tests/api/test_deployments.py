"""Deployments over HTTP: where they stand, and how users steer them."""

from __future__ import annotations

from typing import Any

import pytest

from heroctl.domain.events import DeploymentFinished, DeploymentStepped, JobReverted, NodeUp
from tests.api.people import user
from tests.api.rig import Rig
from tests.api.specs import coordinated, finish, join, open_session, place, runs, submit, trial

VERBS = ("promote", "pause", "resume", "fail")


async def shown(api: Rig, deployment: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/v1/deployments/{deployment}")).body
    return found


async def step(api: Rig, number: int, **more: Any) -> None:  # noqa: ANN401 - fields of the event
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    await api.decide(DeploymentStepped(job.deployment, job.uid, "default", "web", number, **more))


# ── how they look ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_canary_stands_at_a_step_of_its_weights(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api, stands=False)
    fresh = await shown(api, deployment)
    assert (fresh["kind"], fresh["strategy"], fresh["status"]) == ("submit", "canary", "running")
    assert (fresh["step"], fresh["steps"], fresh["weights"]) == (0, 3, [10, 50, 100])
    assert [fresh[each] for each in ("promoted", "awaiting", "promoted_at", "revert_of")] == [False, False, None, None]
    assert fresh["deadline"] is not None
    await step(api, 0, awaiting=True)
    stands = await shown(api, deployment)
    assert (stands["status"], stands["step"], stands["awaiting"]) == ("awaiting_promotion", 1, True)
    assert stands["deadline"] is None, "no clock runs while somebody has to decide"
    await api.post(f"/v1/deployments/{deployment}/promote", {"step": True})
    assert (await shown(api, deployment))["step"] == 2
    await api.post(f"/v1/deployments/{deployment}/promote")
    whole = await shown(api, deployment)
    assert (whole["status"], whole["step"], whole["promoted"], whole["awaiting"]) == ("running", 3, True, False)
    assert (whole["promoted_at"], whole["deadline"]) != (None, None)


async def test_canaries_are_the_new_replicas_beside_the_old_until_the_promotion(api: Rig) -> None:
    await coordinated(api)
    node, token = await join(api)
    await open_session(api, token)
    deployment = await trial(api, stands=False)
    new = await place(api, node, n=7)
    await runs(api, node, new)
    await step(api, 0, awaiting=True)
    counts = {"desired": 1, "placed": 1, "healthy": 1, "unhealthy": 0}
    assert (await shown(api, deployment))["tasks"] == {"app": counts | {"canaries": 1, "promoted": False}}
    await api.post(f"/v1/deployments/{deployment}/promote")
    assert (await shown(api, deployment))["tasks"] == {"app": counts | {"canaries": 0, "promoted": True}}


async def test_traffic_follows_the_steps_and_is_told_of_the_present_deployment(api: Rig) -> None:
    await coordinated(api)
    node, token = await join(api)
    await open_session(api, token)
    await api.decide(NodeUp(node, "node-1"))
    await submit(api)
    await runs(api, node, await place(api, node))
    first = await finish(api)
    assert (await shown(api, first))["traffic"] == {"app": [{"version": 1, "weight": 100, "header_value": None}]}
    deployment = await trial(api, stands=False)
    await runs(api, node, await place(api, node, n=7))
    shares = []
    for at in range(3):
        await step(api, at, awaiting=True)
        there = (await shown(api, deployment))["traffic"]["app"]
        shares.append([(share["version"], share["weight"]) for share in there])
    assert shares == [[(2, 10), (1, 90)], [(2, 50), (1, 50)], [(2, 100), (1, 0)]]
    api.clock.ticks += 1
    assert (await shown(api, first))["traffic"] == {}


async def test_old_replicas_are_of_another_deployment_and_their_part_of_the_traffic_is_fresh(api: Rig) -> None:
    """Within a second, though no event touches the deployment that is shown."""
    node, token = await join(api)
    await open_session(api, token)
    await api.decide(NodeUp(node, "node-1"))
    await submit(api, task={"count": 2})
    old = await place(api, node)
    await runs(api, node, old)
    await finish(api)
    rolls = (await submit(api, task={"count": 2, "image": "app:2"})).body["deployment_id"]
    await runs(api, node, await place(api, node, n=2))
    assert [share["weight"] for share in (await shown(api, rolls))["traffic"]["app"]] == [50, 50]
    await runs(api, node, old, health="unhealthy")
    api.clock.ticks += 1
    assert [share["weight"] for share in (await shown(api, rolls))["traffic"]["app"]] == [100, 0]


async def test_what_rolls_stands_at_a_step_of_its_replicas_and_needs_no_promotion(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    await submit(api, task={"count": 3})
    await runs(api, node, await place(api, node))
    [rolls] = (await api.get("/v1/deployments")).body
    assert (rolls["strategy"], rolls["step"], rolls["steps"], rolls["weights"]) == ("rolling", 1, 3, [])
    assert (rolls["promoted"], rolls["awaiting"], rolls["promoted_at"]) == (True, False, None)
    assert rolls["tasks"]["app"]["canaries"] == 0


async def test_after_a_restart_old_replicas_do_not_count(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    await submit(api)
    await runs(api, node, await place(api, node))
    await finish(api)
    await submit(api, meta={"a": "b"})
    [again, _] = (await api.get("/v1/deployments")).body
    assert (again["kind"], again["step"]) == ("submit", 1)
    await api.post("/v1/jobs/web/restart")
    [restart, *_] = (await api.get("/v1/deployments")).body
    assert (restart["kind"], restart["step"], restart["steps"]) == ("restart", 0, 1)


async def test_a_way_back_names_the_deployment_that_failed(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api)
    failed = await api.post(f"/v1/deployments/{deployment}/fail", {"reason": "p99 doubled"})
    assert failed.status == 200
    assert (await shown(api, deployment))["reason"] == "p99 doubled"
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    await api.decide(
        DeploymentFinished(deployment, job.uid, "default", "web", "failed", "requested: p99 doubled"),
        JobReverted(job.uid, "default", "web", 3, 1, deployment),
    )
    [back, *_] = (await api.get("/v1/deployments")).body
    assert (back["kind"], back["revert_of"], back["version"], back["promoted"]) == ("revert", deployment, 3, True)
    await finish(api)
    assert (await shown(api, deployment))["status"] == "reverted"


# ── steering ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_write_says_where_to_watch(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api)
    reply = await api.post(f"/v1/deployments/{deployment[:6]}/promote", {})
    assert reply.body == {
        "index": reply.index, "name": "web", "namespace": "default", "id": deployment, "warnings": []
    }  # fmt: skip
    woken = await api.get(f"/v1/deployments/{deployment}?index={reply.index - 1}&wait=1s")
    assert (woken.index, woken.body["promoted"]) == (reply.index, True)


async def test_a_step_beyond_the_last_weight_is_the_whole_promotion(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api)
    for number in (1, 2):
        assert (await api.post(f"/v1/deployments/{deployment}/promote", {"step": True})).status == 200
        await step(api, number, awaiting=True)
        assert (await shown(api, deployment))["promoted"] is False
    assert (await api.post(f"/v1/deployments/{deployment}/promote", {"step": True})).status == 200
    assert (await shown(api, deployment))["promoted"] is True


async def test_a_step_of_what_has_no_steps_is_the_whole_promotion(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api, update={"strategy": "blue-green"})
    await api.post(f"/v1/deployments/{deployment}/promote", {"step": True})
    assert (await shown(api, deployment))["promoted"] is True


async def test_a_promotion_needs_something_that_stands_and_waits(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api, stands=False)
    early = await api.post(f"/v1/deployments/{deployment}/promote")
    assert (early.status, early.error) == (409, "not_ready")
    await submit(api, "rolls")
    rolls = (await api.get("/v1/jobs/rolls")).body["deployment"]["id"]
    refused = await api.post(f"/v1/deployments/{rolls}/promote")
    assert (refused.status, refused.error) == (409, "not_promotable")


async def test_promoted_twice_is_promoted_once(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api)
    first = await api.post(f"/v1/deployments/{deployment}/promote")
    again = await api.post(f"/v1/deployments/{deployment}/promote")
    assert (again.status, again.index) == (200, first.index)


async def test_pause_and_resume(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api, stands=False)
    index = (await api.post(f"/v1/deployments/{deployment}/resume")).index
    paused = await api.post(f"/v1/deployments/{deployment}/pause")
    assert paused.index > index, "what goes on already goes on"
    assert (await shown(api, deployment))["status"] == "paused"
    assert (await shown(api, deployment))["deadline"] is None
    assert (await api.post(f"/v1/deployments/{deployment}/pause")).index == paused.index
    assert (await api.post(f"/v1/deployments/{deployment}/resume")).index > paused.index
    assert (await shown(api, deployment))["status"] == "running"


async def test_the_first_reason_for_an_end_stays(api: Rig) -> None:
    await coordinated(api)
    deployment = await trial(api)
    first = await api.post(f"/v1/deployments/{deployment}/fail")
    again = await api.post(f"/v1/deployments/{deployment}/fail", {"reason": "another"})
    assert (again.status, again.index) == (200, first.index)
    assert (await shown(api, deployment))["reason"] == "requested"


@pytest.mark.parametrize("verb", VERBS)
async def test_what_is_over_cannot_be_steered(api: Rig, verb: str) -> None:
    await coordinated(api)
    deployment = await trial(api)
    await finish(api)
    refused = await api.post(f"/v1/deployments/{deployment}/{verb}")
    assert (refused.status, refused.error) == (409, "deployment_over")


@pytest.mark.parametrize("verb", VERBS)
async def test_without_a_coordinator_nothing_is_done(api: Rig, verb: str) -> None:
    """Acted upon later it could mean another thing. Who may not hears of that first."""
    deployment = await trial(api)
    head = await api.log.head()
    refused = await api.post(f"/v1/deployments/{deployment}/{verb}")
    assert (refused.status, refused.error) == (503, "no_coordinator")
    assert int(refused.headers["retry-after"]) > 0
    assert await api.log.head() == head
    viewer = await api.role("viewer")
    assert (await api.post(f"/v1/deployments/{deployment}/{verb}", token=viewer)).error == "forbidden"
    assert (await api.post(f"/v1/deployments/nothing/{verb}")).error == "deployment_not_found"


@pytest.mark.parametrize("verb", VERBS)
async def test_those_of_other_namespaces_are_not_there(api: Rig, verb: str) -> None:
    await coordinated(api)
    deployment = await trial(api)
    await api.post("/v1/namespaces", {"name": "theirs"})
    stranger = await user(api, "stranger", "deployer", namespaces=["theirs"])
    refused = await api.post(f"/v1/deployments/{deployment}/{verb}", token=stranger)
    none = await api.post(f"/v1/deployments/{'d' * len(deployment)}/{verb}", token=stranger)
    assert (refused.status, refused.error) == (none.status, none.error) == (404, "deployment_not_found")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("promote", {"step": "yes"}, "step"),
        ("promote", {"to": 50}, "to"),
        ("fail", {"reason": 1}, "reason"),
        ("fail", {"reason": "x" * 1001}, "reason"),
        ("pause", {"for": "5m"}, "for"),
        ("resume", {"now": True}, "now"),
    ],
)
async def test_bodies_are_judged(api: Rig, path: str, body: dict[str, Any], field: str) -> None:
    await coordinated(api)
    refused = await api.post(f"/v1/deployments/{await trial(api)}/{path}", body)
    assert (refused.status, refused.error) == (400, "invalid_body")
    assert [problem["path"] for problem in refused.body["details"]] == [field]
