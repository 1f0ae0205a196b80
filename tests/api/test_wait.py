"""Long polls: what they wait for, what ends them, and what they may never cost."""

from __future__ import annotations

import asyncio

import pytest

from api.reads import Page, Reading
from api.wait import LONGEST, poll_of
from eventstore.log import Append
from heroctl.domain.errors import Invalid
from heroctl.domain.events import NodeDown
from tests.api.rig import Asking, Rig
from tests.api.specs import join, open_session, place, runs, spec, submit

READS = (
    "/v1/jobs",
    "/v1/jobs/web",
    "/v1/jobs/web/versions",
    "/v1/jobs/web/versions/diff",
    "/v1/deployments",
    "/v1/deployments/{deployment}",
    "/v1/allocations",
    "/v1/allocations?job=web",
    "/v1/allocations?node=node-1",
    "/v1/allocations/{alloc}",
    "/v1/services",
    "/v1/services/web",
    "/v1/nodes",
    "/v1/nodes/node-1",
    "/v1/cluster/status",
    "/v1/cluster/peers",
    "/v1/acl/tokens",
)


async def furnish(api: Rig) -> dict[str, str]:
    """Make a job, a node and an allocation; return what stands in the paths of READS."""
    node, token = await join(api)
    await open_session(api, token)
    deployment = (await submit(api)).body["deployment_id"]
    alloc = await place(api, node)
    await runs(api, node, alloc)
    return {"deployment": deployment, "alloc": alloc}


def with_index(path: str, index: int, wait: str = "5m") -> str:
    return f"{path}{'&' if '?' in path else '?'}index={index}&wait={wait}"


@pytest.mark.parametrize("path", READS)
async def test_without_an_index_or_with_zero_the_answer_comes_now(api: Rig, path: str) -> None:
    path = path.format(**await furnish(api))
    plain = await api.get(path)
    assert plain.status == 200
    assert plain.index >= 1
    zero = await api.get(with_index(path, 0))
    assert (zero.raw, zero.index) == (plain.raw, plain.index)


@pytest.mark.parametrize("path", READS)
async def test_an_index_that_was_passed_is_answered_now(api: Rig, path: str) -> None:
    path = path.format(**await furnish(api))
    index = (await api.get(path)).index
    if index > 1:
        assert (await api.get(with_index(path, index - 1))).index == index


@pytest.mark.parametrize("path", READS)
async def test_the_time_runs_out_with_the_same_body_and_index(api: Rig, path: str) -> None:
    path = path.format(**await furnish(api))
    before = await api.get(path)
    after = await api.get(with_index(path, before.index, "10ms"))
    assert (after.status, after.raw, after.index) == (200, before.raw, before.index)


@pytest.mark.parametrize("path", READS)
async def test_an_index_above_the_head_is_answered_now_with_the_present_one(api: Rig, path: str) -> None:
    path = path.format(**await furnish(api))
    now = await api.get(path)
    assert (await api.get(with_index(path, 10**9))).index == now.index


async def test_a_change_wakes_with_the_new_body(api: Rig) -> None:
    first = await submit(api)
    asking = api.ask("GET", with_index("/v1/jobs/web", first.index))
    await api.waiting(1)
    second = await submit(api, meta={"git_sha": "b"})
    woken = await asking.reply()
    assert woken.index == second.index
    assert woken.body["version"] == 2


async def test_what_does_not_concern_the_topic_does_not_wake(api: Rig) -> None:
    first = await submit(api)
    asking = api.ask("GET", with_index("/v1/jobs/web", first.index))
    await api.waiting(1)
    await submit(api, "other")
    await asyncio.sleep(0)
    assert not asking.task.done()
    assert len(api.parts.waiters) == 1


async def test_an_index_between_the_topics_and_the_heads_waits(api: Rig) -> None:
    await submit(api)
    other = await submit(api, "other")
    asking = api.ask("GET", with_index("/v1/jobs/web", other.index))
    await api.waiting(1)
    changed = await submit(api, meta={"a": "b"})
    assert (await asking.reply()).index == changed.index


async def test_all_waiters_of_one_query_share_one_body(api: Rig) -> None:
    first = await submit(api)
    made = 0
    make = api.parts.pages._make

    def counted(key: object, reading: Reading) -> Page:
        nonlocal made
        made += 1
        return make(key, reading)

    api.parts.pages._make = counted  # type: ignore[method-assign] # counted
    asking = [api.ask("GET", with_index("/v1/jobs/web", first.index)) for _ in range(50)]
    await api.waiting(50)
    await submit(api, meta={"a": "b"})
    bodies = {(await each.reply()).raw for each in asking}
    assert len(bodies) == 1
    assert made == 1


async def test_a_deleted_thing_wakes_with_404_and_an_index_beyond(api: Rig) -> None:
    first = await submit(api)
    asking = api.ask("GET", with_index("/v1/jobs/web", first.index))
    await api.waiting(1)
    gone = await api.do("DELETE", "/v1/jobs/web")
    woken = await asking.reply()
    assert (woken.status, woken.error, woken.index) == (404, "job_not_found", gone.index)


async def test_a_thing_that_is_not_there_can_be_waited_for(api: Rig) -> None:
    await submit(api, "other")
    missing = await api.get("/v1/jobs/web")
    assert (missing.status, missing.error) == (404, "job_not_found")
    asking = api.ask("GET", with_index("/v1/jobs/web", missing.index))
    await api.waiting(1)
    made = await submit(api)
    woken = await asking.reply()
    assert (woken.status, woken.index) == (200, made.index)


async def test_a_client_that_leaves_frees_its_waiter_at_once(api: Rig) -> None:
    index = (await submit(api)).index
    asking = api.ask("GET", with_index("/v1/jobs/web", index))
    await api.waiting(1)
    await asking.leave()
    assert len(api.parts.waiters) == 0
    assert len(api.parts.view._waiters) == 0
    left = asking.task.result()
    assert left is not None
    assert left.status == 499, "told to the log alone"


async def test_draining_answers_all_and_lets_none_wait_again(api: Rig) -> None:
    index = (await submit(api)).index
    asking = [api.ask("GET", with_index("/v1/jobs/web", index)) for _ in range(10)]
    await api.waiting(10)
    api.parts.waiters.drain()
    for each in asking:
        reply = await each.reply()
        assert (reply.status, reply.index, reply.headers["connection"]) == (200, index, "close")
    assert (await api.get(with_index("/v1/jobs/web", index))).index == index


async def test_a_deleted_token_ends_its_waiters_and_no_others(api: Rig) -> None:
    index = (await submit(api)).index
    token = await api.role("viewer")
    theirs = api.ask("GET", with_index("/v1/jobs/web", index), token=token)
    ours = api.ask("GET", with_index("/v1/jobs/web", index))
    await api.waiting(2)
    await api.do("DELETE", f"/v1/acl/tokens/{token.split('_')[1]}")
    ended = await theirs.reply()
    assert (ended.status, ended.error) == (401, "token_invalid")
    assert not ours.task.done()


async def test_a_logout_ends_the_waiters_of_its_session(api: Rig) -> None:
    index = (await submit(api)).index
    asking = api.ask("GET", with_index("/v1/jobs/web", index))
    await api.waiting(1)
    assert (await api.post("/v1/auth/logout")).status == 200
    assert (await asking.reply()).status == 401


async def test_a_wait_is_never_longer_than_the_tokens_life(api: Rig) -> None:
    index = (await submit(api)).index
    api.clock.now += 24 * 3600 - 0.05
    ended = await api.get(with_index("/v1/jobs/web", index))
    assert ended.status == 200, "the token has 50 ms to live, and the wait ends with it"


async def test_ten_thousand_may_wait_for_one_job(api: Rig) -> None:
    index = (await submit(api)).index
    asking = [api.ask("GET", with_index("/v1/jobs/web", index)) for _ in range(10_000)]
    await api.waiting(10_000)
    assert (await api.get("/v1/health/live")).status == 200
    second = await submit(api, meta={"a": "b"})
    replies = await asyncio.gather(*(each.reply() for each in asking))
    assert {reply.index for reply in replies} == {second.index}


async def test_the_log_moves_for_others_too(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    index = (await api.get("/v1/nodes")).index
    asking = api.ask("GET", with_index("/v1/nodes", index))
    await api.waiting(1)
    api.log.epoch = 1
    await api.log.append(Append((NodeDown(node, "node-1", 14.0),), epoch=1))
    assert (await asking.reply()).body[0]["status"] == "down"


async def test_another_history_wakes_everybody(api: Rig) -> None:
    keep = api.parts.view.index
    first = await submit(api)
    asking: list[Asking] = [api.ask("GET", with_index("/v1/jobs/web", first.index))]
    await api.waiting(1)
    api.log.lose(keep)
    woken = await asking[0].reply()
    assert (woken.status, woken.error) == (404, "job_not_found")
    assert (await api.get("/v1/jobs")).body == []
    assert (await api.post("/v1/jobs", spec())).status == 201


@pytest.mark.parametrize("index", ["-1", "x", "1.5", "", "1e3", "9" * 30, "%201", "0x10", "+1"])
async def test_a_bad_index_is_refused(api: Rig, index: str) -> None:
    reply = await api.get(f"/v1/jobs?index={index}")
    assert (reply.status, reply.error) == (400, "invalid_index")
    assert reply.body["details"][0]["path"] == "index"


@pytest.mark.parametrize("wait", ["5", "-5s", "x", "", "5y", "1e3s", "5 m", "5m5"])
async def test_a_bad_wait_is_refused(api: Rig, wait: str) -> None:
    for query in (f"index=1&wait={wait}", f"wait={wait}"):
        reply = await api.get(f"/v1/jobs?{query}")
        assert (reply.status, reply.error) == (400, "invalid_wait")


def test_a_wait_is_five_minutes_unless_given_and_ten_at_most() -> None:
    assert poll_of({}) is None
    assert poll_of({"index": "0", "wait": "5m"}) is None
    for given, seconds in ((None, 300), ("30s", 30), ("10m", 600), ("11m", LONGEST), ("48h", LONGEST)):
        args = {"index": "3"} | ({"wait": given} if given else {})
        poll = poll_of(args)
        assert poll is not None
        assert (poll.index, poll.seconds) == (3, seconds)


def test_an_arabic_digit_is_no_digit() -> None:
    with pytest.raises(Invalid):
        poll_of({"index": "\N{ARABIC-INDIC DIGIT ONE}"})


async def test_the_wait_is_shortened_by_chance_and_never_lengthened(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    async def wait(_topics: object, _index: int, seconds: float, _ended: object) -> str:
        seen.append(seconds)
        return "timeout"

    monkeypatch.setattr(api.parts.view, "wait", wait)
    index = (await submit(api)).index
    for chance in (0.0, 0.5, 1.0):
        api.parts.waiters._chance = lambda chance=chance: chance  # type: ignore[misc] # bound now
        await api.get(with_index("/v1/jobs/web", index, "160s"))
    assert seen == [160.0, 155.0, 150.0]
