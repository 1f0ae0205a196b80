"""The front door's limits, as a client meets them: how many requests, how large, how slow, how many at a time."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import Any, Final

import pytest

from api import body
from api.bounds import Bounds, Crowd
from api.exchange import Exchange
from api.limits import Limits, Sizes
from heroctl.domain.addresses import networks
from heroctl.domain.errors import Refusal
from tests.api.rig import Reply, Rig
from tests.api.specs import join, open_session, submit
from tests.eventstore import fastloop
from tests.waiting import eventually

SIZES: Final = Sizes(user=20, service=50, admin=100, node=30, address=10, window=60.0)
_LEFT: Final = re.compile(r'"(\w+)";r=(\d+);t=(\d+)')


class Dial:
    """A clock in hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def tight(api: Rig) -> tuple[Rig, Dial]:
    """An api with small limits, and their clock."""
    await submit(api)
    dial = Dial()
    api.parts.limits = api.app._limits = Limits(SIZES, clock=dial)
    return api, dial


def left(reply: Reply) -> tuple[str, int, int]:
    found = _LEFT.fullmatch(reply.headers["ratelimit"])
    assert found, reply.headers
    return found[1], int(found[2]), int(found[3])


async def role(tight: tuple[Rig, Dial], *roles: str) -> str:
    return await tight[0].role(*roles)


async def test_a_user_has_so_many_requests_and_is_told_when_there_are_more(tight: tuple[Rig, Dial]) -> None:
    api, dial = tight
    token = await role(tight, "viewer")
    answers = [await api.get("/v1/jobs", token=token) for _ in range(20)]
    assert [each.status for each in answers] == [200] * 20
    assert [left(each)[:2] for each in answers] == [("user", number) for number in range(19, -1, -1)]
    assert {each.headers["ratelimit-policy"] for each in answers} == {'"user";q=20;w=60'}
    dial.now += 12.25
    refused = await api.get("/v1/jobs", token=token)
    assert (refused.status, refused.error, refused.headers["retry-after"]) == (429, "rate_limited", "48")
    assert left(refused) == ("user", 0, 48)
    assert refused.headers["ratelimit-policy"] == '"user";q=20;w=60'
    dial.now += 47
    assert (await api.get("/v1/jobs", token=token)).status == 429
    dial.now += 1
    assert (await api.get("/v1/jobs", token=token)).status == 200


async def test_whatever_is_asked_counts_and_health_does_not(tight: tuple[Rig, Dial]) -> None:
    api, _ = tight
    token = await role(tight, "viewer")
    tag = (await api.get("/v1/jobs/web", token=token)).headers["etag"]
    asked: list[tuple[str, str, int, dict[str, str]]] = [
        ("GET", "/v1/jobs/web", 200, {}),  # a ready page
        ("GET", "/v1/jobs/web", 304, {"if-none-match": tag}),
        ("GET", "/v1/jobs/none", 404, {}),
        ("GET", "/v1/none", 404, {}),
        ("PUT", "/v1/jobs", 405, {}),
        ("GET", "/v1/acl/tokens", 403, {}),
        ("GET", "/v1/jobs?index=x", 400, {}),
        ("POST", "/v1/jobs", 403, {}),
        ("GET", "/v1/jobs?index=1", 200, {}),  # a long poll
    ]
    for number, (method, path, status, headers) in enumerate(asked, 1):
        reply = await api.do(method, path, token=token, headers=headers)
        assert (reply.status, left(reply)[:2]) == (status, ("user", 19 - number)), (method, path)
    for _ in range(50):
        alive = await api.get("/v1/health/live", token="")
        assert alive.status == 200
        assert "ratelimit" not in alive.headers
    assert left(await api.get("/v1/jobs", token=token))[1] == 19 - len(asked) - 1


async def test_one_token_s_end_is_nobody_else_s(tight: tuple[Rig, Dial]) -> None:
    api, _ = tight
    first, second = await role(tight, "viewer"), await role(tight, "viewer")
    answers = [await api.get("/v1/jobs", token=first) for _ in range(25)]
    assert answers[-1].status == 429
    assert left(await api.get("/v1/jobs", token=second)) == ("user", 19, 60)
    assert (await api.get("/v1/jobs")).status == 200
    assert (await api.get("/v1/jobs", token="")).status == 401


async def test_a_ready_page_is_no_way_around(tight: tuple[Rig, Dial]) -> None:
    api, _ = tight
    token = await role(tight, "viewer")
    statuses = [(await api.get("/v1/jobs/web", token=token)).status for _ in range(40)]
    assert "/v1/jobs/web" in api.app.ready
    assert statuses == [200] * 20 + [429] * 20


async def test_a_user_s_logins_share_a_limit_and_a_token_has_its_own(tight: tuple[Rig, Dial]) -> None:
    api, _ = tight
    login = {"username": "admin", "password": "correct horse"}
    other = (await api.post("/v1/auth/login", login, token="")).body["token"]
    assert other != api.token
    made = left(await api.get("/v1/jobs"))
    assert left(await api.get("/v1/jobs", token=other)) == ("admin", made[1] - 1, made[2])
    secret = await role(tight, "viewer")
    assert left(await api.get("/v1/jobs", token=secret)) == ("user", 19, 60)
    from_it = (await api.post("/v1/auth/login", {"acl_token": secret}, token="")).body["token"]
    assert left(await api.get("/v1/jobs", token=from_it)) == ("user", 18, 60)
    assert left(await api.get("/v1/jobs", token=await role(tight, "admin")))[:2] == ("admin", 99)


async def test_a_node_has_a_limit_of_its_own(tight: tuple[Rig, Dial]) -> None:
    api, _ = tight
    _, token = await join(api)
    assert left(await open_session(api, token)) == ("node", 29, 60)
    assert left(await api.post("/v1/agent/sync", {}, token=token))[:2] == ("node", 28)


async def test_without_a_valid_token_it_is_the_address_that_counts(tight: tuple[Rig, Dial]) -> None:
    api, _ = tight
    api.parts.trusted = networks(["192.0.2.7"])

    async def knock(token: str, address: str) -> Reply:
        return await api.get("/v1/jobs", token=token, headers={"x-forwarded-for": address})

    answers = [await knock(token, "198.51.100.1") for token in ("", "x", "ht_none_none", "a.b.c", "") * 3]
    assert [each.status for each in answers] == [401] * 10 + [429] * 5
    assert left(answers[0]) == ("address", 9, 60)
    assert (await knock("", "198.51.100.2")).status == 401
    assert (await knock(api.token, "198.51.100.1")).status == 200, "a good token is not its address"
    login = {"username": "admin", "password": "x"}
    refused = await api.post("/v1/auth/login", login, token="", headers={"x-forwarded-for": "198.51.100.1"})
    assert refused.error == "rate_limited"


async def test_the_body_of_what_is_refused_is_not_read(tight: tuple[Rig, Dial]) -> None:
    api, _ = tight
    token = await role(tight, "deployer")
    for _ in range(20):
        await api.get("/v1/jobs", token=token)
    refused = await api.post("/v1/jobs", b"x" * (2 << 20), token=token)
    assert refused.status == 429


# ── at a time ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_has_so_many_long_polls_open(api: Rig) -> None:
    await submit(api)
    api.parts.waiters._waiters._most = 3
    token = await api.role("viewer")
    head = api.parts.view.index
    polls = [api.ask("GET", f"/v1/jobs/web?index={head}&wait=5m") for _ in range(3)]
    await api.waiting(3)
    refused = await api.get(f"/v1/jobs/web?index={head}&wait=5m")
    assert (refused.status, refused.error, refused.headers["retry-after"]) == (429, "too_many_waiters", "1")
    assert (await api.get("/v1/jobs/web")).status == 200, "what does not wait is none"
    other = api.ask("GET", f"/v1/jobs/web?index={head}&wait=5m", token=token)
    await api.waiting(4)
    await polls[0].leave()
    again = api.ask("GET", f"/v1/jobs/web?index={head}&wait=5m")
    await api.waiting(4)
    await submit(api, meta={"a": "b"})
    for poll in (*polls[1:], other, again):
        assert (await poll.reply()).status == 200
    assert api.parts.waiters._waiters._open == {}


async def test_a_token_has_so_many_streams_open(api: Rig) -> None:
    api.parts.waiters._streams._most = 0
    refused = await api.get("/v1/log/verify")
    assert refused.status == 429
    assert refused.error == "too_many_streams"


async def test_an_address_has_so_many_requests_open(api: Rig) -> None:
    await submit(api)
    head = api.parts.view.index
    api.app._crowd = Crowd(2)
    polls = [api.ask("GET", f"/v1/jobs/web?index={head}&wait=5m") for _ in range(2)]
    await api.waiting(2)
    refused = await api.get("/v1/jobs?namespace=default")
    assert (refused.status, refused.error, refused.headers["retry-after"]) == (429, "too_many_connections", "1")
    api.parts.trusted = networks(["192.0.2.7"])
    elsewhere = await api.get("/v1/jobs?namespace=default", headers={"x-forwarded-for": "198.51.100.1"})
    assert elsewhere.status == 200
    assert (await api.get("/v1/health/live", token="")).status == 200
    await polls[0].leave()
    assert (await api.get("/v1/jobs?namespace=default")).status == 200
    await polls[1].leave()
    await eventually(lambda: not api.app._crowd._open)


async def test_nodes_behind_one_address_are_not_a_crowd(api: Rig) -> None:
    _, token = await join(api)
    api.app._crowd = Crowd(0)
    assert (await api.get("/v1/jobs?namespace=default")).error == "too_many_connections"
    assert (await open_session(api, token)).status == 200


# ── how large, how slow ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_url_and_headers_have_bounds(api: Rig) -> None:
    long = await api.get("/v1/jobs?namespace=" + "x" * 9000)
    assert (long.status, long.error) == (414, "uri_too_long")
    large = await api.get("/v1/jobs?namespace=x", headers={f"x-{n}": "y" * 1000 for n in range(40)})
    assert (large.status, large.error) == (431, "headers_too_large")
    assert (await api.get("/v1/jobs?namespace=" + "x" * 1000, headers={"x-a": "y" * 30_000})).status != 431


async def test_what_is_refused_is_gone_at_once(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits for the collector keeps its connection as long as its client has not sent the whole body."""
    monkeypatch.setattr(body, "_GRACE", 0.01)
    gc.collect()
    before = _exchanges()
    gc.disable()
    try:
        for path, token, sent in (
            ("/v1/jobs", "x", b"{}"),
            ("/v1/jobs", api.token, b"{"),
            ("/v1/none", api.token, b""),
            ("/v1/jobs", api.token, b"{}"),
        ):
            assert (await api.post(path, sent, token=token)).status >= 400
        assert await _half(api, "/v1/jobs") == 408
        await asyncio.sleep(0)
        assert [each for each in _exchanges() if each not in before] == []
    finally:
        gc.enable()


async def _half(api: Rig, path: str) -> int:
    """Send half of a body; give the status of the answer."""
    statuses: list[int] = []
    sent = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> dict[str, Any]:
        return sent.pop() if sent else await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
        statuses.extend([message["status"]] if "status" in message else [])

    headers = [(b"host", b"test"), (b"authorization", f"Bearer {api.token}".encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.7", 4711),
        "server": ("test", 80),
        "state": {},
    }
    await api.app(scope, receive, send)
    return statuses[0]


async def test_a_body_may_be_bounded_lower(api: Rig) -> None:
    api.parts.bounds = Bounds(body=2048)
    refused = await api.post("/v1/jobs", b'"' + b"x" * 3000 + b'"')
    assert (refused.status, refused.error) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("piece", "pause", "seconds"),
    [
        (0, 1.0, 10.0),  # nothing comes
        (100, 1.0, 10.0),  # a drip
        (1000, 1.0, 10.0),  # nearly enough
        (1200, 1.0, None),  # enough
        (60_000, 4.0, 30.0),  # plenty, for ever
    ],
)
def test_a_body_that_drips_is_cut(piece: int, pause: float, seconds: float | None) -> None:
    async def main() -> None:
        sent = 0

        async def receive() -> dict[str, Any]:
            nonlocal sent
            await fastloop.elapse(pause)
            sent += 1
            return {"type": "http.request", "body": b"x" * piece, "more_body": seconds is not None or sent < 15}

        loop = asyncio.get_running_loop()
        began = loop.time()
        if seconds is None:
            assert len(await body.read(receive, [])) == 15 * piece
            return
        with pytest.raises(Refusal) as refused:
            await body.read(receive, [])
        assert (refused.value.status, refused.value.code) == (408, "body_timeout")
        assert loop.time() - began == pytest.approx(seconds, abs=0.5)

    fastloop.run(main)


def _exchanges() -> list[Exchange]:
    return [each for each in gc.get_objects() if isinstance(each, Exchange)]
