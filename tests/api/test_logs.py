"""Lines over HTTP: the last ones and a stream, merged, filtered, each for those who may; over a real Redis."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import Redis

from api.log_feed import LogFeed, Sieve, Wish
from api.log_sweep import sweep
from api.logs import Entry, LogStore, Told
from heroctl.domain.logs import Batch, Line, Shipment, log_key, marker
from heroctl.domain.policy import Grants, Reach
from tests.api.rig import Asking, Rig
from tests.api.specs import place, submit
from tests.api.test_agent import Agent, agent
from tests.api.test_events import messages, streaming
from tests.waiting import eventually


class Writer:
    """An allocation that writes, as its agent ships it."""

    def __init__(self, api: Rig, node: str, alloc: str, job: str = "web", container: str = "c1") -> None:
        assert api.parts.logs is not None
        self.store = api.parts.logs.store
        self.node, self.alloc, self.job, self.container = node, alloc, job, container
        self.first = 1

    async def say(self, *lines: str | Line, first: int | None = None, at: int | None = None) -> str:
        """Write lines in one batch; `first`: shipped once more from this number on."""
        now = round(time.time() * 1000) if at is None else at
        made = [Line(now, each) if isinstance(each, str) else each for each in lines]
        number = self.first if first is None else first
        self.first = number + sum(line.count for line in made)
        batch = Batch("default", self.job, "app", self.container, number, made)
        [entry] = await self.store.take(self.node, [Shipment(self.alloc, batch)])
        return entry

    async def written(self, entry: str) -> None:
        """Wait until the moment of an entry is over: what is written in the moment of asking is told as news."""

        async def over() -> bool:
            return await self.store.now() > int(entry.partition("-")[0])

        await eventually(over)


@pytest.fixture
async def feed(api: Rig, redis_url: str) -> AsyncIterator[LogFeed]:
    async with LogStore(redis_url) as store:
        made = api.parts.logs = LogFeed(api.parts.view, store, time.monotonic)
        yield made


@pytest.fixture
async def first(api: Rig, feed: LogFeed) -> Agent:
    assert api.parts.logs is feed
    made = await agent(api)
    await submit(api)
    return made


@pytest.fixture
async def web(api: Rig, first: Agent) -> Writer:
    return Writer(api, first.node, await place(api, first.node))


async def lines(api: Rig, path: str, **more: Any) -> list[str]:  # noqa: ANN401 - a request's
    reply = await api.get(path, **more)
    assert reply.status == 200, reply.body
    return [each["line"] for each in reply.body]


def told(asking: Asking) -> list[str]:
    return [json.loads(each["data"])["line"] for each in messages(asking) if each.get("event") == "log"]


async def follow(api: Rig, query: str = "", seen: str = "", **more: Any) -> Asking:  # noqa: ANN401 - see above
    headers = {"last-event-id": seen} if seen else {}
    return await streaming(api, f"/v1/logs?stream=true{query}", headers=headers, **more)


# ── the last lines ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_last_lines_of_an_allocation(api: Rig, web: Writer) -> None:
    await web.say("one", "two")
    await web.say(Line(1_790_000_000_123, "three", "stderr"))
    reply = await api.get(f"/v1/logs/{web.alloc}")
    assert [each["line"] for each in reply.body] == ["one", "two", "three"]
    assert reply.body[2] == {
        "alloc": web.alloc, "line": "three", "stream": "stderr", "time": "2026-09-21T14:13:20.123Z",
        "job": "web", "task": "app",
    }  # fmt: skip
    assert await lines(api, f"/v1/logs/{web.alloc}?tail=1") == ["three"]
    assert await lines(api, f"/v1/logs/{web.alloc[:6]}?tail=2&output=stdout") == ["one", "two"]
    assert await lines(api, f"/v1/logs/{web.alloc}?grep=o") == ["one", "two"]
    assert await lines(api, f"/v1/logs/{web.alloc}?tail=0") == []
    assert await lines(api, "/v1/logs?job=web&task=app&node=node-1") == ["one", "two", "three"]
    assert await lines(api, "/v1/logs?job=web&task=other") == await lines(api, "/v1/logs?job=nothing") == []


async def test_more_lines_than_one_read_gives_are_found(api: Rig, web: Writer) -> None:
    for number in range(150):
        await web.say(f"{2 * number}", f"{2 * number + 1}")
    assert await lines(api, f"/v1/logs/{web.alloc}?tail=250") == [str(number) for number in range(50, 300)]
    assert await lines(api, f"/v1/logs/{web.alloc}?grep=7&tail=3") == ["279", "287", "297"]


async def test_a_search_that_finds_nothing_looks_at_each_line_as_often_as_it_must(
    api: Rig, web: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        await web.store.take(web.node, [Shipment(web.alloc, _batch(web, number * 100 + at)) for at in range(100)])
    looked, passes = [], Sieve.passes

    def counted(sieve: Sieve, told: Told) -> bool:
        looked.append(told)
        return passes(sieve, told)

    monkeypatch.setattr(Sieve, "passes", counted)
    assert await lines(api, f"/v1/logs/{web.alloc}?grep=nothing") == []
    assert len(looked) <= 2 * 1200, "once to count, once to tell"


def _batch(web: Writer, number: int) -> Batch:
    return Batch("default", web.job, "app", web.container, number + 1, [Line(1_790_000_000_000, f"line {number}")])


async def test_what_no_agent_wrote_is_gone_past(api: Rig, web: Writer, redis_url: str) -> None:
    entry = await web.say("before")
    asking = await follow(api, "&job=web", seen=f"{entry}-0-{web.alloc}")
    with Redis.from_url(redis_url) as redis:
        for number in range(450):
            redis.xadd(log_key(web.node, web.alloc), {"what": str(number)})
    await web.say("after")
    await eventually(lambda: "after" in told(asking))
    assert await lines(api, f"/v1/logs/{web.alloc}") == ["before", "after"]
    await asking.leave()


async def test_lines_of_many_are_put_together_by_time_and_each_ones_order_stays(api: Rig, web: Writer) -> None:
    now = round(api.clock.now * 1000) - 60_000
    other = Writer(api, web.node, await place(api, web.node, n=2))
    await other.say(Line(now + 50, "c"), Line(now + 40, "d"))
    await web.say(Line(now + 10, "a"), Line(now + 45, "b"), Line(now + 60, "e"))
    assert await lines(api, "/v1/logs?job=web") == ["a", "b", "c", "d", "e"]
    assert await lines(api, "/v1/logs?job=web&since=30s") == []
    assert len(await lines(api, "/v1/logs?job=web&since=2m")) == 5


async def test_what_was_shipped_twice_is_told_once(api: Rig, web: Writer) -> None:
    await web.say("a", "b")
    await web.say("a", "b", "c", first=1)
    assert await lines(api, f"/v1/logs/{web.alloc}") == ["a", "b", "c"]
    await web.say(marker(0, 5, "x"), "j")
    web.container, web.first = "c2", 1
    await web.say("anew")
    assert await lines(api, f"/v1/logs/{web.alloc}?tail=3") == ["5 lines were dropped: x", "j", "anew"]


async def test_lines_are_there_after_their_job_is_forgotten(api: Rig, feed: LogFeed, first: Agent) -> None:
    gone = Writer(api, first.node, "zzzzgone")
    await gone.say("last words")
    assert await lines(api, "/v1/logs/zzzzgone") == ["last words"]
    assert await lines(api, "/v1/logs/zzzz") == ["last words"]
    assert (await api.get("/v1/logs/zzzznone")).error == "allocation_not_found"
    assert (await api.get("/v1/logs/zzz*")).error == "allocation_not_found"
    hidden = await api.role()
    assert (await api.get("/v1/logs/zzzzgone", token=hidden)).status == 403
    assert feed.end == 0


async def test_lines_of_what_is_forgotten_are_told_to_those_who_may_read_them_now(api: Rig, feed: LogFeed) -> None:
    job = Batch("default", "web", "app", "c1", 1, [Line(1_790_000_000_000, "last words")])
    told = Told(Entry(1, 0, "zzzzgone", job), 0, job.lines[0])
    wish = Wish(alloc="zzzzgone", key=log_key("n1", "zzzzgone"))
    assert feed.sieve((Grants({"log:read": Reach(("default",))}),), wish).passes(told)
    assert not feed.sieve((Grants({"log:read": Reach(("shop",))}),), wish).passes(told)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("tail=10001", "invalid_tail"),
        ("tail=x", "invalid_tail"),
        ("since=soon", "invalid_since"),
        ("since=12", "invalid_since"),
        ("output=both", "invalid_output"),
        ("stream=stdout", "invalid_stream"),
        ("grep=" + "x" * 201, "invalid_grep"),
    ],
)
async def test_what_cannot_be_asked_is_told(api: Rig, web: Writer, query: str, code: str) -> None:
    assert (await api.get(f"/v1/logs/{web.alloc}?{query}")).error == code
    assert (await api.get(f"/v1/logs?{query}")).error == code


async def test_without_redis_it_is_said(api: Rig) -> None:
    assert (await api.get("/v1/logs")).error == "logs_unavailable"


# ── a stream ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_begins_with_the_last_lines_and_goes_on(api: Rig, web: Writer) -> None:
    await web.written(await web.say("one", "two", "three"))
    asking = await follow(api, "&job=web&tail=2")
    await eventually(lambda: told(asking) == ["two", "three"], what="what was")
    await web.say("four")
    await eventually(lambda: told(asking) == ["two", "three", "four"], what="what came")
    shown = json.loads(messages(asking)[-1]["data"])
    assert (shown["alloc"], shown["line"], shown["stream"]) == (web.alloc, "four", "stdout")


async def test_a_new_allocation_joins_a_stream(api: Rig, web: Writer) -> None:
    asking = await follow(api, "&job=web&grep=x")
    await web.say("x1", "y1")
    await eventually(lambda: told(asking) == ["x1"], what="the first one's")
    other = Writer(api, web.node, await place(api, web.node, n=2))
    await other.say("x2", "y2")
    await eventually(lambda: told(asking) == ["x1", "x2"], what="the new one's")


async def test_a_stream_goes_on_from_any_line_without_loss_or_doubles(api: Rig, web: Writer) -> None:
    other = Writer(api, web.node, await place(api, web.node, n=2))
    writers = (web, other)
    for number in range(20):
        await writers[number % 2].say(f"{number}a", f"{number}b")
    whole = await follow(api, "&job=web")
    await eventually(lambda: len(told(whole)) == 40, what="all")
    ids = [each["id"] for each in messages(whole)]
    for at in (0, 1, 7, 20, 38):
        again = await follow(api, "&job=web", ids[at])
        await eventually(lambda asking=again, at=at: len(told(asking)) == 39 - at, what="the rest")  # type: ignore[misc] # the defaults bind this round
        assert told(again) == told(whole)[at + 1 :]
        await again.leave()
    await web.say("18a", "18b", "more", first=web.first - 2)
    await eventually(lambda: told(whole)[-1] == "more", what="more")


async def test_a_place_that_is_not_kept_any_more_is_a_gap(api: Rig, web: Writer, redis_url: str) -> None:
    await web.say("one")
    asking = await follow(api, "&job=web")
    await eventually(lambda: told(asking) == ["one"], what="a line")
    seen = messages(asking)[-1]["id"]
    await web.say("two")
    with Redis.from_url(redis_url) as redis:
        redis.xtrim(log_key(web.node, web.alloc), maxlen=1, approximate=False)
    again = await follow(api, "&job=web", seen)
    await eventually(lambda: told(again) == ["two"], what="what is kept")
    assert messages(again)[0]["event"] == "gap"


async def test_two_hundred_followers_cost_one_read(api: Rig, web: Writer, redis_url: str) -> None:
    tokens = [await api.role("viewer") for _ in range(2)]
    asking = [await follow(api, "&job=web&tail=0", token=tokens[number % 2]) for number in range(200)]

    def reads() -> int:
        return int(redis.info("commandstats")["cmdstat_xread"]["calls"])

    with Redis.from_url(redis_url) as redis:
        await web.say("first")
        await eventually(lambda: all(told(each) == ["first"] for each in asking), what="the first line")
        began, before = time.monotonic(), reads()
        for number in range(10):
            await web.say(str(number))
        await eventually(lambda: all(len(told(each)) == 11 for each in asking), what="the lines")
        assert reads() - before <= (time.monotonic() - began) / 0.1 + 5
    for each in asking:
        await each.leave()
    assert api.parts.logs is not None
    assert api.parts.logs.begin == api.parts.logs.end, "nobody reads, nothing is kept"


async def test_who_is_overtaken_is_told_of_a_gap_and_costs_no_memory(api: Rig, web: Writer, redis_url: str) -> None:
    async with LogStore(redis_url) as store:
        feed = api.parts.logs = LogFeed(api.parts.view, store, time.monotonic, ring=50_000)
        with feed.reading():
            sieve = feed.sieve((await _grants(api)), _wish(web))
            number = await feed.join(sieve)
            for _ in range(40):
                await web.say(*["x" * 1_000] * 5)
            await eventually(lambda: feed.end == number + 200, what="all of it")
            assert feed.end - feed.begin < 60
            assert feed.begin > number


async def _grants(api: Rig) -> Any:  # noqa: ANN401 - grants
    principal = await api.parts.gate.principal([(b"authorization", f"Bearer {api.token}".encode())])
    assert principal is not None
    return principal.grants


def _wish(web: Writer) -> Wish:
    return Wish(alloc=web.alloc)


async def test_redis_away_is_a_gap_and_the_stream_goes_on(
    api: Rig, web: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = await follow(api, "&job=web")
    await web.say("before")
    await eventually(lambda: told(asking) == ["before"], what="a line")
    feed = api.parts.logs
    assert feed is not None
    with monkeypatch.context() as away:

        async def gone(*_: object) -> None:
            raise OSError("gone")

        away.setattr(feed.store, "after", gone)
        await eventually(lambda: messages(asking)[-1].get("event") == "gap", what="a gap")
        await web.say("meanwhile")
    await eventually(lambda: told(asking) == ["before", "meanwhile"], what="the rest")
    assert [each["event"] for each in messages(asking)] == ["log", "gap", "log"]


async def test_only_those_are_told_who_may_read_the_job(api: Rig, web: Writer) -> None:
    await api.post("/v1/namespaces", {"name": "shop"})
    policy = {"name": "shop-logs", "rules": [{"resource": "log", "namespace": "shop", "capabilities": ["read"]}]}
    assert (await api.post("/v1/acl/policies", policy)).status == 201
    assert (await api.post("/v1/acl/roles", {"name": "shopper", "policies": ["shop-logs"]})).status == 201
    token = await api.role("shopper")
    await web.say("not yours")
    assert await lines(api, "/v1/logs", token=token) == []
    assert (await api.get(f"/v1/logs/{web.alloc}", token=token)).status == 404
    asking = await follow(api, token=token)
    await web.say("nor this")
    mine = await follow(api)
    await eventually(lambda: len(told(mine)) == 2, what="mine")
    assert told(asking) == []


# ── by the api, and within bounds ────────────────────────────────────────────────────────────────────────────────────


async def test_agents_ship_by_the_api_for_their_own_allocations(api: Rig, first: Agent, web: Writer) -> None:
    def batch(text: str) -> dict[str, Any]:
        return {"ns": "other", "job": "lie", "task": "lie", "c": "c1", "n": 1, "lines": [{"t": 5, "l": text}]}

    body = {
        "session": first.session,
        "shipments": [
            {"alloc": web.alloc, "batch": batch("mine"), "keep": 100},
            {"alloc": "somebodyelses", "batch": batch("foreign")},
            {"alloc": web.alloc, "keep": 50},
        ],
    }
    reply = await api.post("/v1/agent/logs", body, token=first.token)
    assert reply.status == 200, reply.body
    assert [bool(each) for each in reply.body["ids"][:2]] == [True, False]
    [line] = (await api.get(f"/v1/logs/{web.alloc}")).body
    assert (line["line"], line["job"], line["task"]) == ("mine", "web", "app"), "the log says whose it is"


async def test_all_together_keep_within_their_bytes_the_oldest_go_first(api: Rig, web: Writer) -> None:
    for number in range(60):
        await web.say(f"{number} " + "x" * 5_000)
    before = await sweep(web.store, 1 << 30)
    assert before > 300_000
    await sweep(web.store, 100_000)
    assert await sweep(web.store, 1 << 30) <= 100_000
    left = await lines(api, f"/v1/logs/{web.alloc}")
    assert left
    assert left[-1].startswith("59 ")


async def test_a_stream_of_one_allocation_tells_nothing_more_once_its_namespace_is_taken_away(
    api: Rig, web: Writer
) -> None:
    def read_in(*namespaces: str) -> dict[str, Any]:
        rules = [{"resource": "log", "namespace": each, "capabilities": ["read"]} for each in namespaces]
        return {"rules": rules}

    await api.post("/v1/acl/policies", {"name": "p", **read_in("default", "shop")})
    await api.post("/v1/acl/roles", {"name": "r", "policies": ["p"]})
    token = await api.role("r")
    asking = await streaming(api, f"/v1/logs/{web.alloc}?stream=true", token=token)
    own = await streaming(api, f"/v1/logs/{web.alloc}?stream=true")
    await web.say("before")
    await eventually(lambda: told(asking) == told(own) == ["before"], what="a line")
    await api.do("PUT", "/v1/acl/policies/p", read_in("shop"))
    await web.say("after")
    await eventually(lambda: told(own) == ["before", "after"], what="the other's line")
    assert told(asking) == ["before"]
