"""The events over HTTP: pages, the long poll and the stream, each for those who may know."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from api import sse
from api.wait import MOST_STREAMS
from eventstore.log import Append
from heroctl.domain.events import NamespaceCreated
from tests.api.rig import Asking, Rig, beside
from tests.api.specs import join, open_session, place, runs, spec, submit
from tests.waiting import eventually

FIELDS = {"index", "id", "type", "time", "actor", "request_id", "namespace", "topics", "data"}
STREAM = {"accept": "text/event-stream"}


async def furnish(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    await submit(api)
    await runs(api, node, await place(api, node))


def messages(asking: Asking) -> list[dict[str, str]]:
    """Read what has come of a stream: its messages by field, beats left out."""
    found = []
    for block in b"".join(asking.pieces).decode().split("\n\n"):
        lines = [line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":")]
        if lines and lines != [["retry", "1000"]]:
            found.append(dict(lines))
    return found


def indexes(asking: Asking) -> list[int]:
    return [json.loads(each["data"])["index"] for each in messages(asking) if "event" not in each]


async def streaming(api: Rig, path: str = "/v1/events?stream=true", **more: Any) -> Asking:  # noqa: ANN401 - a request's
    asking = api.ask("GET", path, **more)
    await eventually(lambda: asking.pieces, what="the stream's beginning")
    await eventually(lambda: len(api.parts.waiters), what="a reader")
    return asking


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_an_index_the_oldest_come_first(api: Rig) -> None:
    await furnish(api)
    page = await api.get("/v1/events")
    assert page.index == api.parts.view.index
    assert [each["index"] for each in page.body] == list(range(1, page.index + 1))
    assert all(each.keys() == FIELDS for each in page.body)
    submitted = next(each for each in page.body if each["type"] == "job.submitted")
    assert (submitted["actor"], submitted["namespace"]) == ("user:admin", "default")
    assert {"namespace:default", "job:web"} <= set(submitted["topics"])
    assert "spec" not in submitted["data"]
    assert submitted["id"] == f"evt_{api.parts.view.state.incarnation}_{submitted['index']}"


async def test_pages_follow_one_another_by_their_index(api: Rig) -> None:
    await furnish(api)
    whole = (await api.get("/v1/events")).body
    found: list[Any] = []
    index = 0
    while (page := await api.get(f"/v1/events?index={index}&limit=3&wait=0s")).body:
        assert len(page.body) <= 3
        found += page.body
        index = page.index
    assert found == whole


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("type=job.submitted", {"job.submitted"}),
        ("type=node.*", {"node.registered", "node.session_opened"}),
        ("topic=job:web&type=job.*", {"job.submitted"}),
        ("topic=job:other", set()),
        ("topic=user", {"user.created"}),
        ("topic=user:admin,job:web&type=user.created,job.submitted", {"user.created", "job.submitted"}),
        ("topic=user:admin&topic=job:web&type=user.created,job.submitted", {"user.created", "job.submitted"}),
        ("namespace=default&type=job.*", {"job.submitted"}),
        ("namespace=lab", set()),
        ("request_id=req_nothing", set()),
    ],
)
async def test_filters(api: Rig, query: str, types: set[str]) -> None:
    await furnish(api)
    page = await api.get(f"/v1/events?{query}")
    assert {each["type"] for each in page.body} == types
    assert page.index == api.parts.view.index, "it was looked through to the end"


async def test_all_that_one_request_did_is_found_by_its_id(api: Rig) -> None:
    made = await api.post("/v1/jobs", spec(), headers={"x-request-id": "req_mine"})
    [event] = (await api.get("/v1/events?request_id=req_mine")).body
    assert (event["index"], event["type"]) == (made.index, "job.submitted")


async def test_a_long_poll_waits_for_what_passes_its_filter(api: Rig) -> None:
    head = api.parts.view.index
    asking = api.ask("GET", f"/v1/events?index={head}&wait=5m&topic=job:web")
    await api.waiting(1)
    await api.append(NamespaceCreated("lab"))
    await submit(api)
    reply = await asking.reply()
    assert [each["type"] for each in reply.body] == ["job.submitted"]
    assert reply.index == api.parts.view.index


async def test_index_now_waits_for_the_next(api: Rig) -> None:
    asking = api.ask("GET", "/v1/events?index=now&wait=5m")
    await api.waiting(1)
    await submit(api)
    assert [each["type"] for each in (await asking.reply()).body] == ["job.submitted"]


async def test_a_wait_that_ends_says_how_far_it_looked(api: Rig) -> None:
    head = api.parts.view.index
    asking = api.ask("GET", f"/v1/events?index={head}&wait=300ms&topic=job:none")
    await api.waiting(1)
    await submit(api)
    reply = await asking.reply()
    assert (reply.body, reply.index) == ([], head + 1)


async def test_an_index_of_another_history_is_answered_from_here(api: Rig) -> None:
    reply = await api.get("/v1/events?index=999999&wait=0s")
    assert (reply.body, reply.index) == ([], api.parts.view.index)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("index=soon", "invalid_index"),
        ("stream=perhaps", "invalid_stream"),
        ("limit=0", "invalid_limit"),
        ("topic=" + ",".join(f"job:{n}" for n in range(21)), "invalid_topic"),
        ("colour=red", "unknown_parameter"),
        ("index=1&wait=long", "invalid_wait"),
    ],
)
async def test_bad_questions(api: Rig, query: str, code: str) -> None:
    reply = await api.get(f"/v1/events?{query}")
    assert (reply.status, reply.error) == (400, code)


async def test_what_is_kept_no_more_is_410(api: Rig) -> None:
    await furnish(api)
    floor = api.parts.view.index - 2
    api.log.compact(floor)
    for stream in ("", "&stream=true"):
        reply = await api.get(f"/v1/events?index={floor - 1}{stream}")
        assert (reply.status, reply.error) == (410, "index_compacted")
    assert [each["index"] for each in (await api.get("/v1/events")).body] == [floor + 1, floor + 2]


# ── who may know ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_viewer_sees_no_people_and_no_secrets(api: Rig) -> None:
    await furnish(api)
    await api.post("/v1/secrets", {"name": "db", "value": "x"})
    seen = {each["type"] for each in (await api.get("/v1/events", token=await api.role("viewer"))).body}
    assert {"job.submitted", "node.registered", "alloc.placed"} <= seen
    assert not {each for each in seen if each.split(".")[0] in ("user", "token", "secret", "session")}


async def test_a_token_of_one_namespace_sees_that_one(api: Rig) -> None:
    await api.post("/v1/namespaces", {"name": "lab"})
    for namespace in ("default", "lab"):
        await api.post("/v1/jobs", spec(namespace=namespace))
    made = await api.post("/v1/acl/tokens", {"name": "lab", "roles": ["viewer"], "namespaces": ["lab"]})
    page = (await api.get("/v1/events?type=job.*", token=made.body["secret"])).body
    assert [each["namespace"] for each in page] == ["lab"]


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["argument", "header"])
async def test_a_stream_tells_what_happens_from_now(api: Rig, how: str) -> None:
    asking = await (streaming(api) if how == "argument" else streaming(api, "/v1/events", headers=STREAM))
    await submit(api)
    await eventually(lambda: messages(asking), what="the event")
    [message] = messages(asking)
    assert message["id"] == str(api.parts.view.index)
    assert json.loads(message["data"])["type"] == "job.submitted"
    await asking.leave()
    assert not api.parts.waiters


async def test_a_stream_begins_where_it_is_asked_to_and_goes_on(api: Rig) -> None:
    await furnish(api)
    head = api.parts.view.index
    asking = await streaming(api, "/v1/events?stream=true&index=1")
    await eventually(lambda: indexes(asking) == list(range(2, head + 1)), what="what was")
    await submit(api, "other")
    await eventually(lambda: indexes(asking) == list(range(2, head + 2)), what="what comes")


async def test_a_stream_goes_on_after_the_id_seen_last_on_any_process(api: Rig) -> None:
    await furnish(api)
    head = api.parts.view.index
    async with beside(api) as other:
        asking = await streaming(other, headers={"last-event-id": str(head - 3)})
        await eventually(lambda: indexes(asking) == [head - 2, head - 1, head], what="what was missed")
        await submit(api, "other")
        await eventually(lambda: indexes(asking)[-1] == head + 1, what="what comes")


async def test_what_is_gone_is_said_to_be(api: Rig) -> None:
    await furnish(api)
    floor = api.parts.view.index - 2
    api.log.compact(floor)
    asking = await streaming(api, headers={"last-event-id": "1"})
    await eventually(lambda: len(messages(asking)) == 3, what="the gap and what follows")
    gap, *rest = messages(asking)
    assert (gap["event"], gap["id"]) == ("gap", str(floor))
    assert json.loads(gap["data"]) == {"reason": "compacted", "after": 1, "index": floor}
    assert [each["id"] for each in rest] == [str(floor + 1), str(floor + 2)]


async def test_an_id_of_another_history_is_a_gap(api: Rig) -> None:
    asking = await streaming(api, headers={"last-event-id": "999999"})
    await eventually(lambda: messages(asking), what="the gap")
    assert json.loads(messages(asking)[0]["data"])["reason"] == "other_history"


async def test_another_history_is_a_gap_for_those_who_read(api: Rig) -> None:
    """The log's end is lost, and something else stands there: a reader of it is told, and goes on with what is."""
    asking = await streaming(api)
    await submit(api)
    await eventually(lambda: indexes(asking), what="an event")
    api.log.lose(api.parts.view.index - 1)
    await api.log.append(Append((NamespaceCreated("lab"),)))
    await eventually(lambda: any(each.get("event") == "gap" for each in messages(asking)), what="the gap")
    told = json.loads(next(each for each in messages(asking) if each.get("event") == "gap")["data"])
    assert told["reason"] == "other_history"
    await submit(api, "other")
    await eventually(lambda: indexes(asking)[-1] == api.parts.view.index, what="what follows")


async def test_a_stream_beats_while_nothing_happens(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT", 0.01)
    asking = await streaming(api)
    await eventually(lambda: b":\n\n" in asking.pieces, what="a beat")


async def test_a_burst_comes_in_few_pieces(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = await streaming(api)
    before, head = len(asking.pieces), api.parts.view.index
    await asyncio.gather(*(submit(api, f"job-{n}") for n in range(50)))
    await eventually(lambda: len(indexes(asking)) == 50, what="all of them")
    assert indexes(asking) == list(range(head + 1, head + 51))
    assert len(asking.pieces) - before < 40


async def test_a_stream_ends_with_its_token(api: Rig) -> None:
    made = await api.post("/v1/acl/tokens", {"name": "ci", "roles": ["viewer"]})
    asking = await streaming(api, token=made.body["secret"])
    await api.do("DELETE", f"/v1/acl/tokens/{made.body['id']}")
    reply = await asking.reply()
    assert reply.status == 200
    assert messages(asking)[-1] == {"event": "end", "data": '{"reason":"token_revoked"}'}


async def test_a_stream_goes_on_with_the_rights_that_are_left(api: Rig) -> None:
    await api.post("/v1/acl/policies", {"name": "all", "rules": [
        {"resource": "event", "capabilities": ["read"], "namespace": "*"},
        {"resource": "cluster", "capabilities": ["read"]},
        {"resource": "secret", "capabilities": ["list"], "namespace": "*"},
    ]})  # fmt: skip
    await api.post("/v1/acl/roles", {"name": "watcher", "policies": ["all"]})
    token = await api.role("watcher")
    asking = await streaming(api, token=token)
    await api.post("/v1/secrets", {"name": "db", "value": "x"})
    await eventually(lambda: len(indexes(asking)) == 1, what="the secret's event")
    rules = [{"resource": "event", "capabilities": ["read"], "namespace": "*"}]
    await api.do("PUT", "/v1/acl/policies/all", {"rules": rules})
    await api.post("/v1/secrets", {"name": "db", "value": "y"})
    await submit(api)
    await eventually(lambda: len(indexes(asking)) > 1, what="the job's event")
    types = [json.loads(each["data"])["type"] for each in messages(asking)]
    assert types == ["secret.written", "job.submitted"]
    await api.do("PUT", "/v1/acl/policies/all", {"rules": [{"resource": "cluster", "capabilities": ["read"]}]})
    await asking.reply()
    assert messages(asking)[-1]["data"] == '{"reason":"forbidden"}'


async def test_a_stream_ends_when_the_process_does(api: Rig) -> None:
    asking = await streaming(api)
    api.parts.waiters.drain()
    await asking.reply()
    assert messages(asking) == [{"event": "drain", "data": '{"reason":"drain"}'}]


async def test_a_token_has_so_many_streams(api: Rig) -> None:
    for _ in range(MOST_STREAMS):
        api.ask("GET", "/v1/events?stream=true")
    await api.waiting(MOST_STREAMS)
    reply = await api.get("/v1/events?stream=true")
    assert (reply.status, reply.error) == (429, "too_many_streams")


async def test_a_filter_that_lets_nothing_through_costs_no_beat(api: Rig) -> None:
    asking = await streaming(api, "/v1/events?stream=true&topic=job:other")
    await submit(api)
    await submit(api, "other")
    await eventually(lambda: indexes(asking), what="the other's event")
    assert indexes(asking) == [api.parts.view.index]


async def test_a_deleted_job_is_told_of(api: Rig) -> None:
    await submit(api)
    asking = await streaming(api, "/v1/events?stream=true&type=job.deleted")
    await api.do("DELETE", "/v1/jobs/web")
    await eventually(lambda: indexes(asking), what="the event")
