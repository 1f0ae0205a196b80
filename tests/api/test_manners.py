"""Manners of HTTP: ETags, HEAD, OPTIONS, compression, headers that keep browsers safe, and other origins."""

from __future__ import annotations

import gzip
import json
from typing import Final

import pytest

from api import encoding
from api.cors import Cors, problem
from api.routes import ROUTES
from tests.api.rig import Reply, Rig
from tests.api.specs import spec, submit

GZIP: Final = {"accept-encoding": "gzip, deflate, br"}
SAFE: Final = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
ORIGIN: Final = "https://console.example.com"


async def large(api: Rig) -> str:
    """Make a list that is worth compressing; give its path."""
    for number in range(8):
        await submit(api, f"job-{number}")
    return "/v1/jobs"


def plain(reply: Reply) -> bytes:
    return gzip.decompress(reply.raw) if reply.headers.get("content-encoding") == "gzip" else reply.raw


# ── compression ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        ("gzip", True),
        ("GZip;q=0.5", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("identity, gzip;q=0.5", False),
        ("identity;q=0.5, gzip;q=0.8", True),
        ("br, zstd", False),
        ("", False),
        ("gzip;q=x", False),
        ("gzip;q=2", False),
        ("gzip;level=1", False),
    ],
)
async def test_who_wants_it_gets_it(api: Rig, accept: str, taken: bool) -> None:  # noqa: FBT001 - a case
    path = await large(api)
    whole = await api.get(path)
    for _ in range(3):  # the router, then the front
        reply = await api.get(path, headers={"accept-encoding": accept})
        assert ("content-encoding" in reply.headers) == taken
        assert plain(reply) == whole.raw
        assert reply.index == whole.index
        assert int(reply.headers["content-length"]) == len(reply.raw)
        assert reply.headers["vary"] == whole.headers["vary"] == "accept-encoding"


async def test_it_is_compressed_once(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await large(api)
    times = 0
    zipped = encoding._zipped

    def counting(body: bytes) -> bytes:
        nonlocal times
        times += 1
        return zipped(body)

    monkeypatch.setattr(encoding, "_zipped", counting)
    for _ in range(5):
        assert (await api.get(path, headers=GZIP)).headers["content-encoding"] == "gzip"
    assert times == 1


async def test_what_is_small_or_a_stream_or_refused_is_left_alone(api: Rig) -> None:
    await large(api)
    for path in ("/v1/health/live", "/v1/log/verify", "/v1/jobs/none"):
        reply = await api.get(path, headers=GZIP)
        assert "content-encoding" not in reply.headers
        assert "vary" not in reply.headers
        assert [json.loads(line) for line in reply.raw.splitlines()]


async def test_all_large_reads_are_compressed(api: Rig) -> None:
    await large(api)
    at = api.parts.view.index
    for path in ("/v1/audit", "/v1/log", "/v1/jobs?limit=7", f"/v1/jobs?at={at}", "/v1/openapi.json"):
        reply = await api.get(path, headers=GZIP)
        assert reply.headers.get("content-encoding") == "gzip", (path, len(reply.raw))


async def test_each_encoding_has_its_own_tag_and_either_is_known(api: Rig) -> None:
    path = await large(api)
    one, other = await api.get(path), await api.get(path, headers=GZIP)
    assert one.headers["etag"] != other.headers["etag"]
    for tag in (
        one.headers["etag"],
        other.headers["etag"],
        "*",
        f"W/{one.headers['etag']}",
        f'"x", {other.headers["etag"]}',
    ):
        known = await api.get(path, headers={"if-none-match": tag})
        assert (known.status, known.raw, known.headers["etag"]) == (304, b"", one.headers["etag"])
        packed = await api.get(path, headers={"if-none-match": tag, **GZIP})
        assert (packed.status, packed.headers["etag"]) == (304, other.headers["etag"])
    for tag in ('"x"', one.headers["etag"][1:-1], one.headers["etag"][:-2] + '"', f'"x{one.headers["etag"][1:]}'):
        assert (await api.get(path, headers={"if-none-match": tag})).status == 200


# ── HEAD and OPTIONS ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_head_is_get_without_a_body(api: Rig) -> None:
    path = await large(api)
    reads = [row.path for row in ROUTES if row.method == "GET" and "{" not in row.path]
    for each in (*reads, "/v1/jobs/job-1", "/v1/jobs/none", path):
        got, head = await api.get(each), await api.do("HEAD", each)
        assert (head.status, head.raw) == (got.status, b""), each
        differing = {"x-request-id", "ratelimit", "x-heroctl-index", "etag", "content-length"}
        assert head.headers.keys() == got.headers.keys()
        assert all(head.headers[name] == got.headers[name] for name in got.headers if name not in differing)
    assert (await api.do("HEAD", path, token="")).status == 401
    refused = await api.do("HEAD", "/v1/jobs/web/stop")
    assert (refused.status, refused.raw, refused.headers["allow"]) == (405, b"", "OPTIONS, POST")
    assert int((await api.do("HEAD", path)).headers["content-length"]) == len((await api.get(path)).raw)


async def test_options_says_what_is_there(api: Rig) -> None:
    for path, allow in (
        ("/v1/jobs", "GET, HEAD, OPTIONS, POST"),
        ("/v1/jobs/web", "DELETE, GET, HEAD, OPTIONS"),
        ("/v1/auth/login", "OPTIONS, POST"),
    ):
        for token in ("", api.token):
            reply = await api.do("OPTIONS", path, token=token, headers={"origin": ORIGIN})
            assert (reply.status, reply.raw, reply.headers["allow"]) == (204, b"", allow)
            assert not [name for name in reply.headers if name.startswith("access-control")]
    assert (await api.do("OPTIONS", "/v1/none")).status == 404


# ── what keeps browsers safe ─────────────────────────────────────────────────────────────────────────────────────────


async def test_every_answer_is_safe_to_look_at(api: Rig) -> None:
    page = await api.get("/v1/jobs")
    for reply in (
        page,
        await api.get("/v1/jobs"),
        await api.get("/v1/jobs", headers={"if-none-match": page.headers["etag"]}),
        await api.get("/v1/jobs", token=""),
        await api.get("/v1/none"),
        await api.get("/"),
        await api.do("PUT", "/v1/jobs"),
        await api.do("OPTIONS", "/v1/jobs"),
        await api.do("HEAD", "/v1/jobs"),
        await api.post("/v1/jobs", b"{"),
        await api.post("/v1/jobs", spec()),
        await api.get("/v1/log/verify"),
        await api.get("/v1/health/live"),
    ):
        assert SAFE.items() <= reply.headers.items()
        assert "server" not in reply.headers
        assert "strict-transport-security" not in reply.headers


async def test_under_tls_it_stays_tls(api: Rig) -> None:
    api.app._always = ((b"strict-transport-security", b"max-age=31536000"),)
    for _ in range(2):
        assert (await api.get("/v1/jobs")).headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" in (await api.get("/v1/none")).headers


# ── other origins ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_other_origin_by_default(api: Rig) -> None:
    for path in ("/v1/jobs", "/v1/none"):
        for _ in range(2):
            reply = await api.get(path, headers={"origin": ORIGIN})
            assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_an_origin_that_is_named_may_ask(api: Rig) -> None:
    api.app._cors = Cors([ORIGIN])
    ask = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    before = await api.do("OPTIONS", "/v1/jobs", token="", headers=ask)
    assert before.status == 204
    assert before.headers["access-control-allow-origin"] == ORIGIN
    assert before.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS, POST"
    assert "Authorization" in before.headers["access-control-allow-headers"]
    assert before.headers["vary"] == "origin"
    for path in ("/v1/jobs", "/v1/jobs", "/v1/none"):
        reply = await api.get(path, headers={"origin": ORIGIN})
        assert reply.headers["access-control-allow-origin"] == ORIGIN
        assert "X-HeroCtl-Index" in reply.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in reply.headers
    for other in ("https://console.example.com.evil.example", "http://console.example.com", "null", f"{ORIGIN}:8443"):
        reply = await api.get("/v1/jobs", headers={"origin": other})
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["vary"] == "origin"


@pytest.mark.parametrize(
    "origin", ["*", "null", "https://x/", "https://x/a", "x", "https://*.x", "HTTPS://X", "https://"]
)
def test_what_is_no_origin(origin: str) -> None:
    assert problem(origin)


@pytest.mark.parametrize(
    "origin", ["https://x", "http://localhost:3000", "https://[::1]:8443", "https://a-b.example.com"]
)
def test_what_is_one(origin: str) -> None:
    assert not problem(origin)


# ── guards of writes ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs/web/stop"), ("DELETE", "/v1/jobs/web")])
async def test_every_write_of_a_job_is_guarded(api: Rig, method: str, path: str) -> None:
    index = (await submit(api)).index
    head = await api.log.head()
    for guard, code in ((0, "job_exists"), (index - 1, "index_conflict"), (index + 1, "index_conflict")):
        reply = await api.do(method, f"{path}?check_index={guard}")
        assert (reply.status, reply.error) == (409, code)
    assert await api.log.head() == head
    assert (await api.do(method, f"{path}?check_index={index}")).status == 200


async def test_a_submit_is_guarded(api: Rig) -> None:
    assert (await api.post("/v1/jobs?check_index=7", spec())).error == "index_conflict"
    made = await api.post("/v1/jobs?check_index=0", spec())
    assert made.status == 201
    assert (await api.post("/v1/jobs?check_index=0", spec(meta={"a": "b"}))).error == "job_exists"
    assert (await api.post(f"/v1/jobs?check_index={made.index}", spec(meta={"a": "b"}))).status == 200
