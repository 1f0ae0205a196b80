"""`?at=`: every state as it was, at any index and time, by today's rights."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.historian import READERS
from api.questions import name_of
from api.routes import ROUTES
from api.row import AT
from heroctl.domain.assignment import SyncRequest
from heroctl.domain.events import JobDeleted, NodeEligibilitySet
from heroctl.domain.sampling import Measured, SamplesRequest, Taken
from tests.api.rig import Rig
from tests.api.specs import join, open_session, place, runs, submit
from tests.waiting import eventually

READS = ("/v1/jobs", "/v1/jobs/web", "/v1/jobs/web/versions", "/v1/jobs/web/versions/diff",
         "/v1/deployments", "/v1/deployments/{deployment}",
         "/v1/allocations", "/v1/allocations?job=web", "/v1/allocations?node=node-1", "/v1/allocations/{alloc}",
         "/v1/nodes", "/v1/nodes/node-1", "/v1/nodes?status=unknown")  # fmt: skip


def at(path: str, moment: object) -> str:
    return f"{path}{'&' if '?' in path else '?'}at={moment}"


async def furnish(api: Rig) -> dict[str, str]:
    """Make a job, a node and an allocation; return what stands in the paths of READS."""
    node, token = await join(api)
    await open_session(api, token)
    deployment = (await submit(api)).body["deployment_id"]
    alloc = await place(api, node)
    await runs(api, node, alloc)
    return {"deployment": deployment, "alloc": alloc, "node": node}


def test_rows_that_take_at_are_those_whose_readers_know_the_past() -> None:
    assert {name_of(row.read) for row in ROUTES if AT in row.args} == set(READERS)


@pytest.mark.parametrize("path", READS)
async def test_the_past_is_what_was_answered_then(api: Rig, path: str) -> None:
    """Whatever came later; and it is the same at every index until the next append."""
    path = path.format(**(made := await furnish(api)))
    then, index = await api.get(path), api.parts.view.index
    await submit(api, task={"count": 3})
    await runs(api, made["node"], made["alloc"], health="unhealthy")
    await api.append(NodeEligibilitySet(made["node"], eligible=False))
    assert (await api.get(path)).raw != then.raw or path == "/v1/nodes?status=unknown"
    past = await api.get(at(path, index))
    assert (past.status, past.body) == (200, then.body)
    assert past.index == index
    assert past.headers["x-heroctl-at"] == "2026-09-21T14:13:20.000Z"


async def test_a_job_deleted_since_is_found_where_it_was(api: Rig) -> None:
    made = await furnish(api)
    index = api.parts.view.index
    job = api.parts.view.state.job("default", "web")
    assert job is not None
    gone = await api.append(JobDeleted(job.uid, "default", "web"))
    assert (await api.get("/v1/jobs/web")).status == 404
    for path in ("/v1/jobs/web", "/v1/jobs/web/versions", f"/v1/deployments/{made['deployment'][:6]}"):
        assert (await api.get(at(path, index))).status == 200
    refused = await api.get(at("/v1/jobs/web", gone))
    assert (refused.status, refused.error, refused.index) == (404, "job_not_found", gone)
    assert f"at index {gone}" in refused.body["message"]
    assert (await api.get(at("/v1/jobs/web", 1))).error == "job_not_found"


async def test_an_index_is_rounded_down_to_a_whole_append(api: Rig) -> None:
    made = await furnish(api)
    before = api.parts.view.index
    last = await api.append(*(NodeEligibilitySet(made["node"], eligible=bool(n % 2)) for n in range(6)))
    for index in range(before, last):
        answer = await api.get(at("/v1/nodes/node-1", index))
        assert (answer.index, answer.body["eligibility"]) == (before, "eligible")
    assert (await api.get(at("/v1/nodes", last))).index == last


async def test_a_time_finds_the_last_append_at_or_before_it(api: Rig) -> None:
    """Also where many have the same time, and as a time so long ago."""
    await furnish(api)
    first = api.parts.view.index
    seen: list[tuple[int, int]] = []
    for _ in range(40):
        api.clock.now += 60
        await api.append(JobDeleted(0, "x", "y"), JobDeleted(0, "x", "y"))
        seen.append((api.clock.ms(), await api.append(JobDeleted(0, "x", "y"))))
    for ms, index in seen[::7]:
        stamp = (await api.get(at("/v1/jobs", index))).headers["x-heroctl-at"]
        assert (await api.get(at("/v1/jobs", stamp))).index == index
        assert (await api.get(at("/v1/jobs", f"-{seen[-1][0] - ms}ms"))).index == index
        assert (await api.get(at("/v1/jobs", f"-{seen[-1][0] - ms - 59_999}ms"))).index in (index, seen[-1][1])
    assert (await api.get(at("/v1/jobs", "2026-09-21T14:13:59.9Z"))).index == first
    assert (await api.get(at("/v1/jobs", "2026-09-21T16:13:59.9+02:00"))).index == first
    assert (await api.get(at("/v1/jobs", "2026-09-21T16:13:59.9%2B02:00"))).index == first


@pytest.mark.parametrize(
    "moment", ["0", "999999", "now", "", "-", "-1", "1h", "2026-02-30T00:00:00Z", "2026-03-01T12:00:00", "1.5", "+3",
               "2199-01-01T00:00:00Z", "1999-01-01T00:00:00Z", "-300d", "99999999999999999999", "%D9%A3"],
)  # fmt: skip
async def test_what_is_no_moment_of_the_log_is_refused(api: Rig, moment: str) -> None:
    refused = await api.get(at("/v1/jobs", moment))
    assert (refused.status, refused.error) == (400, "invalid_at"), refused.body
    assert refused.body["details"][0]["path"] == "at"


@pytest.mark.parametrize("more", ["index=1", "wait=5m", "index=0&wait=1s"])
async def test_the_past_cannot_be_waited_for(api: Rig, more: str) -> None:
    assert (await api.get(f"/v1/jobs?at=1&{more}")).error == "invalid_at"


async def test_reads_of_what_is_no_state_take_no_moment(api: Rig) -> None:
    for path in ("/v1/cluster/status", "/v1/acl/tokens"):
        assert (await api.get(at(path, 1))).error == "unknown_parameter"


async def test_what_retention_took_is_gone_and_the_oldest_is_named(api: Rig) -> None:
    await furnish(api)
    index = api.parts.view.index
    api.clock.now += 60
    await submit(api, "other")
    api.log.compact(index)
    for moment in (1, index - 1, "2026-09-21T14:13:20Z"):
        gone = await api.get(at("/v1/jobs", moment))
        assert (gone.status, gone.error) == (410, "index_compacted"), moment
        assert str(index) in gone.body["message"]


async def test_todays_rights_judge_the_past(api: Rig) -> None:
    await furnish(api)
    index = api.parts.view.index
    viewer = await api.role("viewer")
    assert (await api.get(at("/v1/jobs", index), token=viewer)).status == 200
    assert (await api.get(at("/v1/jobs", index), token=await api.role())).error == "forbidden"
    assert (await api.get(at("/v1/jobs", index), token="")).status == 401


async def test_what_is_measured_today_does_not_stand_in_the_past(api: Rig) -> None:
    node = (await furnish(api))["node"]
    index = api.parts.view.index
    beat = api.parts.pulse.beat(node, SyncRequest(index, 1))
    await api.parts.pulse.write()
    await beat
    await api.parts.pulse.look()
    taken = Taken(0.0, [Measured({"cpu": 1.5, "memory": 99.0})])
    state = api.parts.view.state
    await api.parts.usage.take(state.nodes[node], SamplesRequest(index, [taken]), state)
    now = (await api.get("/v1/nodes/node-1")).body
    assert now["cpu"]["used"] == 1.5
    then = (await api.get(at("/v1/nodes/node-1", index))).body
    assert (then["cpu"]["used"], then["ram"]["used"], then["last_seen_s"]) == (0, 0, None)


async def test_one_answer_is_made_once_and_kept(api: Rig) -> None:
    await furnish(api)
    index = api.parts.view.index
    await submit(api, "other")
    answers = await asyncio.gather(*(api.get(at("/v1/jobs", moment)) for moment in [index] * 8))
    assert {answer.raw for answer in answers} == {answers[0].raw}
    assert len(api.teller.asked) == 1
    tag = answers[0].headers["etag"]
    assert (await api.get(at("/v1/jobs", index), headers={"if-none-match": tag})).status == 304
    assert len(api.teller.asked) == 1
    await api.get(at("/v1/jobs?status=running", index))
    assert len(api.teller.asked) == 2


async def test_too_many_questions_are_sent_away_and_none_is_lost(api: Rig) -> None:
    await furnish(api)
    head = api.parts.view.index
    api.teller.held.clear()
    asked = [api.ask("GET", at("/v1/jobs", index)) for index in range(1, head)]
    for _ in range(16 - len(asked)):
        asked.append(api.ask("GET", at(f"/v1/jobs?status=s{len(asked)}", head)))
    await eventually(lambda: len(api.teller.asked) >= 16)
    refused = await api.get(at("/v1/nodes", head))
    assert (refused.status, refused.error) == (503, "busy")
    assert "retry-after" in refused.headers
    api.teller.held.set()
    assert {(await each.reply()).status for each in asked} <= {200, 503}
    assert (await api.get(at("/v1/nodes", head))).status == 200


async def test_an_answer_that_takes_too_long_is_made_for_those_who_ask_again(
    api: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(api)
    index = api.parts.view.index
    monkeypatch.setattr(api.parts.archive, "_patience", 0.01)
    api.teller.held.clear()
    late = await api.get(at("/v1/jobs", index))
    assert (late.status, late.error) == (503, "past_timeout")
    assert int(late.headers["retry-after"]) > 0
    api.teller.held.set()
    answer: Any = await eventually(lambda: _made(api, index))
    assert answer.status == 200
    assert len(api.teller.asked) == 1


async def _made(api: Rig, index: int) -> Any:  # noqa: ANN401 - a reply, or None
    answer = await api.get(at("/v1/jobs", index))
    return answer if answer.status == 200 else None


async def test_another_history_has_another_past(api: Rig) -> None:
    """After a fail-over that lost the log's end, an index means what it means now."""
    await furnish(api)
    kept = api.parts.view.index
    lost = (await submit(api, "lost")).index
    assert len((await api.get(at("/v1/jobs", lost))).body) == 2
    api.log.lose(kept)
    await eventually(lambda: api.parts.view.state.incarnation != "incarnation", what="the reload")
    assert len((await api.get(at("/v1/jobs", api.parts.view.index))).body) == 1


async def test_without_the_log_there_is_no_past(api: Rig) -> None:
    await furnish(api)
    index = api.parts.view.index
    api.log.away = True
    refused = await api.get(at("/v1/jobs", index - 1))
    assert (refused.status, refused.error) == (503, "log_unavailable")
