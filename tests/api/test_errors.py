"""Refusals: one shape for all, also for what no route knows, and never a traceback."""

from __future__ import annotations

import json
import re

import pytest

from eventstore.log import Busy, LogUnavailable
from heroctl.domain.events import Opaque
from tests.api.rig import Rig
from tests.api.specs import spec, submit


@pytest.mark.parametrize(
    "path", ["/v1/none", "/v1", "/v1/jobs/a/b/c", "/v1/jobs/web/none", "/v1/auth", "/v1/%2e%2e/etc", "/v1/jobs/../x"]
)
async def test_an_unknown_route_is_404_with_a_token_and_401_without(api: Rig, path: str) -> None:
    assert (await api.get(path)).error == "route_not_found" or path == "/v1"
    assert (await api.get(path)).status == 404
    assert (await api.get(path, token="")).status == (404 if path == "/v1" else 401)


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/v2/jobs", "/metrics"])
async def test_outside_of_v1_there_is_nothing(api: Rig, path: str) -> None:
    for token in ("", api.token):
        reply = await api.get(path, token=token)
        assert (reply.status, reply.error) == (404, "route_not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, OPTIONS, POST"),
        ("PATCH", "/v1/jobs/web", "DELETE, GET, HEAD, OPTIONS"),
        ("GET", "/v1/auth/login", "OPTIONS, POST"),
        ("GET", "/v1/jobs/web/stop", "OPTIONS, POST"),
        ("TRACE", "/v1/jobs", "GET, HEAD, OPTIONS, POST"),
        ("BREW", "/v1/jobs", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/v1/jobs/validate", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("POST", "/v1/health/ready", "GET, HEAD, OPTIONS"),
    ],
)
async def test_another_method_is_405_with_those_that_are_allowed(api: Rig, method: str, path: str, allow: str) -> None:
    reply = await api.do(method, path)
    assert (reply.status, reply.error, reply.headers["allow"]) == (405, "method_not_allowed", allow)


async def test_a_job_may_be_called_as_a_route(api: Rig) -> None:
    await submit(api, "validate")
    assert (await api.get("/v1/jobs/validate")).body["name"] == "validate"
    assert (await api.do("DELETE", "/v1/jobs/validate")).body["name"] == "validate"
    assert (await api.post("/v1/jobs/validate", spec())).body["valid"] is True


@pytest.mark.parametrize("given", ["req-1", "a" * 128, "0af7651916cd43dd8448eb211c80319c", "!~"])
async def test_a_sane_request_id_is_kept(api: Rig, given: str) -> None:
    for path in ("/v1/jobs", "/v1/none", "/v1/health/live", "/v1/jobs"):
        reply = await api.get(path, headers={"x-request-id": given})
        assert reply.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\nb", "a\x00b", "\xe9", "a\x7f"])
async def test_any_other_request_id_is_replaced(api: Rig, given: str) -> None:
    replies = [await api.get("/v1/none", headers={"x-request-id": given}) for _ in range(2)]
    ids = {reply.headers["x-request-id"] for reply in replies}
    assert len(ids) == 2
    assert all(re.fullmatch(r"req_[0-9a-f]+", each) for each in ids)
    assert {reply.body["request_id"] for reply in replies} == ids


async def test_the_request_id_and_the_caller_stand_in_the_event(api: Rig) -> None:
    reply = await api.post("/v1/jobs", spec(), headers={"x-request-id": "mine"})
    [[record]] = [records async for records in api.log.read(reply.index - 1)]
    assert (record.meta.request_id, record.meta.actor, record.meta.address) == ("mine", "user:admin", "192.0.2.7")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?nmaespace=x", "unknown_parameter"),
        ("?most=5", "unknown_parameter"),
        ("?namespace=a&namespace=b", "invalid_query"),
        ("?namespace=%ff", "invalid_query"),
        ("?" + "&".join(f"a{n}=1" for n in range(50)), "invalid_query"),
    ],
)
async def test_a_query_that_cannot_be_answered_is_refused(api: Rig, query: str, code: str) -> None:
    reply = await api.get(f"/v1/jobs{query}")
    assert (reply.status, reply.error) == (400, code)


async def test_a_bug_is_a_500_that_tells_nothing_but_its_request(
    api: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(api.parts.pages, "_index_of", broken)
    reply = await api.get("/v1/jobs", headers={"x-request-id": "mine"})
    assert (reply.status, reply.error) == (500, "internal")
    assert b"hunter2" not in reply.raw
    assert b"Traceback" not in reply.raw
    said = capsys.readouterr().out
    assert "hunter2" in said
    assert "mine" in said


async def test_while_the_log_is_away_writes_are_503_and_reads_go_on(api: Rig) -> None:
    await submit(api)
    page = await api.get("/v1/jobs/web")
    api.log.away = True
    reply = await api.post("/v1/jobs", spec("other"))
    assert (reply.status, reply.error) == (503, "log_unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    api.clock.ticks += 20
    stale = await api.get("/v1/jobs/web")
    assert (stale.status, stale.raw, stale.headers["x-heroctl-stale"]) == (200, page.raw, "20")
    assert (await api.get("/v1/health/ready")).body == {"status": "degraded"}
    api.clock.ticks += 600
    assert (await api.get("/v1/jobs/web")).error == "log_unavailable"
    assert (await api.get("/v1/health/live")).body == {"status": "ok"}
    api.log.away = False
    api.log.ring()
    assert await api.parts.view.reached(page.index, 5)
    await api.parts.view.catch_up()
    fresh = await api.get("/v1/jobs/web")
    assert (fresh.status, fresh.headers.get("x-heroctl-stale")) == (200, None)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Busy(), "busy"),
        (LogUnavailable("x"), "log_unavailable"),
        (LogUnavailable("x", unknown=True), "log_unavailable"),
    ],
)
async def test_temporary_faults_are_503_with_a_time(
    api: Rig, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    async def append(_: object) -> None:
        raise fault

    monkeypatch.setattr(api.log, "append", append)
    reply = await api.post("/v1/jobs", spec())
    assert (reply.status, reply.error) == (503, code)
    assert int(reply.headers["retry-after"]) >= 1


async def test_ready_is_for_those_who_should_get_traffic(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    view = api.parts.view
    assert (await api.get("/v1/health/ready", token="")).body == {"status": "ok"}
    monkeypatch.setattr(view, "started", False)
    assert (await api.get("/v1/health/ready", token="")).error == "starting"
    monkeypatch.setattr(view, "started", True)
    view._hear(view.index + 1)
    api.clock.ticks += 4
    assert (await api.get("/v1/health/ready")).body == {"status": "ok"}
    view._contact = api.clock.ticks
    api.clock.ticks += 2
    behind = await api.get("/v1/health/ready")
    assert (behind.status, behind.error) == (503, "behind")
    view._announce(set(), reloaded=False)
    view._known = view.index
    view._behind_since = None
    api.parts.waiters.drain()
    assert (await api.get("/v1/health/ready")).error == "draining"
    assert (await api.get("/v1/health/live")).status == 200


async def test_a_process_that_cannot_fold_an_event_serves_reads_and_writes_nothing(api: Rig) -> None:
    await submit(api)
    await api.append(Opaque("job.teleported", 1, b"{}"))
    assert (await api.get("/v1/health/ready")).error == "outdated"
    assert (await api.get("/v1/jobs/web")).status == 200
    assert (await api.post("/v1/jobs", spec("other"))).error == "outdated"


async def test_a_view_reaches_what_the_client_has_seen(api: Rig) -> None:
    seen = (await submit(api)).index
    for headers in ({"x-heroctl-index": str(seen)}, {"x-heroctl-index": str(10**15)}):
        assert (await api.get("/v1/jobs", headers=headers)).status == 200
    bad = await api.get("/v1/jobs", headers={"x-heroctl-index": "-1"})
    assert (bad.status, bad.error) == (400, "invalid_index")


async def test_a_view_that_cannot_reach_it_says_behind(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_index: int, _seconds: float) -> bool:
        return False

    head = await api.log.head()
    monkeypatch.setattr(api.parts.view, "reached", never)
    ahead = type(head)(head.index + 1, *[getattr(head, name) for name in head.__struct_fields__[1:]])

    async def later() -> object:
        return ahead

    monkeypatch.setattr(api.parts.view, "head", later)
    reply = await api.get("/v1/jobs", headers={"x-heroctl-index": str(head.index + 1)})
    assert (reply.status, reply.error) == (503, "behind")
    assert int(reply.headers["retry-after"]) >= 1


async def test_answers_are_not_stored_and_not_sniffed(api: Rig) -> None:
    for path in ("/v1/jobs", "/v1/none", "/v1/health/live"):
        headers = (await api.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"] == "application/json"


async def test_a_strange_host_is_refused_in_our_words(api: Rig) -> None:
    reply = await api.get("/v1/jobs", headers={"host": "a b<c>"})
    assert reply.status in (200, 400)
    if reply.status == 400:
        assert reply.error == "invalid_request"
    json.loads(reply.raw)
