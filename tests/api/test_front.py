"""The front and the router are two doors to one room: whatever is asked, both say the same."""

from __future__ import annotations

import asyncio
import json
from itertools import product
from typing import Final

import pytest

from api import reads
from api.bounds import Bounds
from tests.api.rig import PLENTY, Reply, Rig
from tests.api.specs import join, open_session, place, runs, submit
from tests.waiting import eventually

PATHS: Final = (
    "/v1/jobs",
    "/v1/jobs/",
    "/v1//jobs",
    "/v1/jobs/web",
    "/v1/jobs/web/",
    "/v1/jobs/none",
    "/v1/jobs/web/versions",
    "/v1/jobs/web/versions/diff",
    "/v1/jobs/validate",
    "/v1/nodes",
    "/v1/nodes/node-1",
    "/v1/allocations",
    "/v1/deployments",
    "/v1/cluster/status",
    "/v1/acl/tokens",
    "/v1/health/ready",
    "/v1/none",
    "/v2/jobs",
    "/",
)


def told(reply: Reply) -> object:
    """What a reply says, without what belongs to its request."""
    headers = {key: value for key, value in reply.headers.items() if key not in ("x-request-id", "ratelimit")}
    if reply.status >= 400:
        del headers["content-length"]  # ids of requests grow
    body = (
        {key: value for key, value in reply.body.items() if key != "request_id"} if reply.status >= 400 else reply.raw
    )
    return reply.status, headers, body


async def test_both_doors_agree(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    await submit(api)
    await runs(api, node, await place(api, node))
    tag = (await api.get("/v1/jobs/web")).headers["etag"]
    tokens = [api.token, await api.role("viewer"), await api.role(), token, "", "x"]
    extras = [
        {},
        {"if-none-match": tag},
        {"x-heroctl-index": "1"},
        {"x-heroctl-index": "99999"},
        {"x-heroctl-index": "x"},
    ]
    for path, who, headers in product(PATHS, tokens, extras):
        await api.get(path, token=who)  # makes the front ready, where it may be
        front = await api.get(path, token=who, headers=headers)
        api.app.ready.clear()
        router = await api.get(path, token=who, headers=headers)
        assert told(front) == told(router), (path, headers)


async def test_a_plain_get_is_answered_before_the_router(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await submit(api)
    first = await api.get("/v1/jobs/web")

    async def router(*_: object) -> None:
        raise AssertionError("the router was asked")

    monkeypatch.setattr(api.app, "_router", router)
    again = await api.get("/v1/jobs/web")
    assert (again.raw, again.index) == (first.raw, first.index)


async def test_a_head_that_is_too_large_is_refused_before_a_ready_page_as_well(api: Rig) -> None:
    await api.get("/v1/jobs")
    assert "/v1/jobs" in api.app.ready
    for _ in range(2):
        assert (await api.get("/v1/jobs", headers={"x-a": "y" * 30_000})).status == 200
        large = await api.get("/v1/jobs", headers={"x-a": "y" * 20_000, "x-b": "y" * 20_000})
        assert (large.status, large.error) == (431, "headers_too_large")
    api.parts.bounds = Bounds(url=7, connections=PLENTY)
    assert (await api.get("/v1/jobs")).error == "uri_too_long"


async def test_a_change_is_seen_at_once(api: Rig) -> None:
    for version in range(1, 6):
        await submit(api, meta={"version": str(version)})
        assert (await api.get("/v1/jobs/web")).body["version"] == version
        assert (await api.get("/v1/jobs")).body[0]["version"] == version


async def test_a_token_that_ends_is_refused_in_front_too(api: Rig) -> None:
    secret = await api.role("viewer")
    assert (await api.get("/v1/jobs", token=secret)).status == 200
    assert (await api.get("/v1/jobs", token=secret)).status == 200
    await api.do("DELETE", f"/v1/acl/tokens/{secret.split('_')[1]}")
    assert (await api.get("/v1/jobs", token=secret)).status == 401
    api.clock.now += 24 * 3600
    assert (await api.get("/v1/jobs")).status == 401


async def test_a_page_goes_to_those_only_who_may_see_it(api: Rig) -> None:
    await api.get("/v1/acl/tokens")
    assert (await api.get("/v1/acl/tokens", token=await api.role("viewer"))).status == 403


async def test_what_changes_without_an_event_is_a_second_old_at_most(api: Rig) -> None:
    before = (await api.get("/v1/cluster/status")).body["index"]
    await submit(api)
    assert (await api.get("/v1/cluster/status")).body["index"] == before
    api.clock.ticks += 1
    assert (await api.get("/v1/cluster/status")).body["index"] == api.parts.view.index


async def test_a_known_page_is_not_sent_again(api: Rig) -> None:
    await submit(api)
    page = await api.get("/v1/jobs/web")
    known = await api.get("/v1/jobs/web", headers={"if-none-match": f'"other", {page.headers["etag"]}'})
    assert (known.status, known.raw, known.index) == (304, b"", page.index)
    assert known.headers["etag"] == page.headers["etag"]
    await submit(api, meta={"a": "b"})
    assert (await api.get("/v1/jobs/web", headers={"if-none-match": page.headers["etag"]})).status == 200


async def test_one_log_line_a_request_without_what_is_secret(api: Rig) -> None:
    api.app._log.flush()
    api.lines.clear()
    await submit(api)
    await api.get("/v1/jobs/web", headers={"x-request-id": "mine-1"})
    await api.get("/v1/jobs/web", headers={"x-request-id": "mine-2"})
    await api.get("/v1/jobs?namespace=hush", token="", headers={"x-request-id": "mine-3"})
    await eventually(lambda: api.lines)
    lines = [json.loads(line) for line in b"".join(api.lines).splitlines()]
    assert [line["request_id"] for line in lines[1:]] == ["mine-1", "mine-2", "mine-3"]
    assert [line["status"] for line in lines] == [201, 200, 200, 401]
    assert lines[1] | {"ms": 0} == {
        "event": "request",
        "timestamp": "2026-09-21T14:13:20.000Z",
        "request_id": "mine-1",
        "method": "GET",
        "path": "/v1/jobs/web",
        "status": 200,
        "ms": 0,
        "actor": "user:admin",
        "client": "192.0.2.7",
        "level": "info",
        "namespace": "default",
        "job": "web",
    }
    assert "hush" not in str(lines)


async def test_many_lines_are_written_at_once(api: Rig) -> None:
    api.app._log.flush()
    api.lines.clear()
    await asyncio.gather(*(api.get("/v1/health/live") for _ in range(256)))
    assert len(api.lines) == 1
    assert len(api.lines[0].splitlines()) == 256


async def test_pages_do_not_fill_the_memory(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "_MOST_PAGES", 10)
    monkeypatch.setattr(reads, "_MOST_BYTES", 20_000)
    await asyncio.gather(*(submit(api, f"job-{number}") for number in range(30)))
    for number in range(30):
        assert (await api.get(f"/v1/jobs/job-{number}")).body["name"] == f"job-{number}"
        assert len(api.parts.pages._pages) <= 10
    await api.get("/v1/jobs")
    assert sum(len(page.answer.body) for page in api.parts.pages._pages.values()) == api.parts.pages._bytes <= 20_000


async def test_two_tokens_in_one_request_are_no_way_around(api: Rig) -> None:
    await api.get("/v1/jobs")
    for names in (("authorization", "x-heroctl-token"), ("x-heroctl-token", "authorization")):
        headers = dict.fromkeys(names, "Bearer x") | {"x-heroctl-token": await api.role("viewer")}
        assert (await api.get("/v1/jobs", token="", headers=headers)).status == 401
