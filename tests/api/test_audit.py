"""The audit: who did what, when, from where, and what was refused."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from api import audit
from api.trail import LONGEST
from eventstore import acts as log
from heroctl.domain.events import JobStopped
from tests.api.rig import PASSWORD, Rig
from tests.api.specs import join, open_session, place, runs, spec, submit

SECRET: Final = "s3cr3t-that-nobody-may-read"


async def audited(api: Rig, query: str = "") -> list[dict[str, Any]]:
    """Read the audit, with what was collected a moment ago."""
    await api.parts.trail.write()
    reply = await api.get(f"/v1/audit?{query}")
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.body
    return found


async def test_what_was_done_is_told(api: Rig) -> None:
    made = await api.post("/v1/jobs", spec(), headers={"x-request-id": "mine-1"})
    [told] = await audited(api, "type=job.submitted")
    assert told["data"].pop("by") == "user:admin"
    assert told == {
        "id": f"evt_{api.log.incarnation}_{made.index}",
        "index": made.index,
        "time": "2026-09-21T14:13:20.000Z",
        "actor": "user:admin",
        "address": "192.0.2.7",
        "request_id": "mine-1",
        "type": "job.submitted",
        "target": "job default/web",
        "namespace": "default",
        "outcome": "done",
        "summary": "submitted: job default/web",
        "data": {"uid": 0, "namespace": "default", "name": "web", "version": 1},
        "count": 1,
        "last_time": "2026-09-21T14:13:20.000Z",
    }


async def test_logins_and_logouts_are_told(api: Rig) -> None:
    login = await api.post("/v1/auth/login", {"username": "admin", "password": PASSWORD}, token="")
    await api.post("/v1/auth/logout", token=login.body["token"])
    secret = await api.role("viewer")
    await api.post("/v1/auth/login", {"acl_token": secret}, token="")
    by_token, ended, opened, _ = await audited(api, "type=session.*")
    assert (opened["type"], opened["actor"], opened["address"]) == ("session.opened", "user:admin", "192.0.2.7")
    assert (ended["type"], ended["data"]) == ("session.ended", {"session": opened["data"]["session"], "user": "admin"})
    assert by_token["actor"] == f"token:{secret.split('_')[1]}"


async def test_refusals_are_told_once_with_a_count(api: Rig) -> None:
    viewer = await api.role("viewer")
    for number in range(3):
        await api.post("/v1/jobs/web/stop?namespace=shop", token=viewer, headers={"x-request-id": f"try-{number}"})
        api.clock.now += 1
    [told] = await audited(api, "outcome=refused")
    assert told["id"].startswith("ref_")
    assert told | {"id": "", "time": "", "last_time": ""} == {
        "id": "",
        "index": None,
        "time": "",
        "actor": f"token:{viewer.split('_')[1]}",
        "address": "192.0.2.7",
        "request_id": "try-0",
        "type": "request.refused",
        "target": "/v1/jobs/web/stop",
        "namespace": "shop",
        "outcome": "refused",
        "summary": "POST /v1/jobs/web/stop: forbidden, 3 times",
        "data": {
            "method": "POST",
            "route": "/v1/jobs/{name}/stop",
            "status": 403,
            "code": "forbidden",
            "job": "web",
        },
        "count": 3,
        "last_time": "",
    }
    assert await audited(api, "outcome=refused&job=web&namespace=shop&request_id=try-0") == [told]
    assert await audited(api, "outcome=refused&job=other") == []


async def test_a_failed_login_is_told_with_the_name_and_never_the_password(api: Rig) -> None:
    for name in ("adm\u202ein\x1b[2J", "x" * 5000, "admin"):
        await api.post("/v1/auth/login", {"username": name, "password": SECRET}, token="")
    told = await audited(api, "type=login.refused")
    tried = {each["data"]["tried"] for each in told}
    assert tried == {"adm\\u202ein\\x1b[2J", "x" * (LONGEST - 1) + "…", "admin"}
    assert {each["actor"] for each in told} == {"anonymous"}
    assert SECRET not in json.dumps(told)


async def test_no_good_token_is_told(api: Rig) -> None:
    await api.get("/v1/jobs", token="")
    await api.get("/v1/jobs", token="ht_x_y")
    await api.get("/v1/none", token="")
    told = await audited(api, "outcome=refused")
    assert sorted((each["data"]["route"], each["count"]) for each in told) == [("", 1), ("/v1/jobs", 2)]


async def test_what_is_not_for_the_audit_is_not_there(api: Rig) -> None:
    for path in ("/v1/jobs/none", "/v1/jobs?index=x"):
        await api.get(path)
    assert await audited(api, "outcome=refused") == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=user:admin&job=web", ["job.stopped", "job.submitted"]),
        ("job=web&type=job.st*", ["job.stopped"]),
        ("namespace=default&job=db", ["job.submitted"]),
        ("request_id=r-web", ["job.submitted"]),
        ("address=192.0.2.7&type=job.*", ["job.submitted", "job.stopped", "job.submitted"]),
        ("address=192.0.2.8", []),
        ("actor=user:adm", []),
        ("outcome=done&job=db", ["job.submitted"]),
    ],
)
async def test_filters(api: Rig, query: str, found: list[str]) -> None:
    await api.post("/v1/jobs", spec(), headers={"x-request-id": "r-web"})
    await api.post("/v1/jobs/web/stop")
    await submit(api, "db")
    assert [each["type"] for each in await audited(api, query)] == found


async def test_a_span_of_time(api: Rig) -> None:
    for name in ("one", "two", "three"):
        await submit(api, name)
        await api.post("/v1/jobs/none/stop", token="")
        await api.parts.trail.write()
        api.clock.now += 3600
    assert [each["data"]["name"] for each in await audited(api, "type=job.*&from=-2h&to=-90m")] == ["two"]
    assert [each["time"][11:13] for each in await audited(api, "outcome=refused&from=-2h")] == ["16", "15"]
    assert [each["data"]["name"] for each in await audited(api, "type=job.*&to=2026-09-21T14:20:00Z")] == ["one"]
    assert await audited(api, "to=2020-01-01T00:00:00Z") == []
    assert await audited(api, "from=2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("from=x", "invalid_from"),
        ("to=12", "invalid_to"),
        ("outcome=maybe", "invalid_outcome"),
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("cursor=x", "invalid_cursor"),
        ("cursor=%C3%A9", "invalid_cursor"),
        ("who=me", "unknown_parameter"),
        ("index=x", "invalid_index"),
    ],
)
async def test_what_cannot_be_asked(api: Rig, query: str, code: str) -> None:
    reply = await api.get(f"/v1/audit?{query}")
    assert (reply.status, reply.error) == (400, code)


async def test_only_admins_may_read_it(api: Rig) -> None:
    for role in ("viewer", "deployer", "operator"):
        assert (await api.get("/v1/audit", token=await api.role(role))).status == 403


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def pages(api: Rig, query: str, meanwhile: Any = None) -> list[dict[str, Any]]:  # noqa: ANN401 - a callback
    """Follow the links to the end."""
    found, path = list[dict[str, Any]](), f"/v1/audit?{query}"
    for _ in range(200):
        reply = await api.get(path)
        assert reply.status == 200, reply.body
        found += reply.body
        if "link" not in reply.headers:
            assert "x-heroctl-next-cursor" not in reply.headers
            return found
        target, _, rest = reply.headers["link"].partition(">")
        assert rest == '; rel="next"'
        assert f"cursor={reply.headers['x-heroctl-next-cursor']}" in target
        path = target[1:]
        if meanwhile is not None:
            await meanwhile()
    raise AssertionError("there is no end")


async def _much(api: Rig) -> None:
    for number in range(12):
        await submit(api, f"job-{number}")
        if number % 3 == 0:
            await api.post(f"/v1/jobs/job-{number}/stop", token=await api.role("viewer"))
        if number % 2:
            await api.parts.trail.write()
            api.clock.now += 1
    await api.parts.trail.write()


@pytest.mark.parametrize("query", ["limit=1", "limit=5", "limit=3&type=job.*", "limit=2&outcome=refused"])
@pytest.mark.parametrize("scan", [2, 10_000])
async def test_pages_give_everything_once_and_in_order(
    api: Rig, monkeypatch: pytest.MonkeyPatch, query: str, scan: int
) -> None:
    """Also while more is written: what is new is newer."""
    await _much(api)
    whole = await audited(api, query.replace(query.split("&", maxsplit=1)[0], "limit=1000"))
    assert len(whole) >= 4
    monkeypatch.setattr(log, "SCAN", scan)

    async def more() -> None:
        await submit(api, "job-1", meta={"again": str(api.log._end.index)})
        await api.get("/v1/jobs", token="ht_x_y")
        await api.parts.trail.write()

    assert await pages(api, query, more) == whole
    times = [each["time"] for each in whole]
    assert times == sorted(times, reverse=True)


async def test_an_answer_that_took_long_says_how_far_it_came(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await _much(api)
    monkeypatch.setattr(log, "SCAN", 3)
    monkeypatch.setattr(audit, "_LOOK", 0.0)
    reply = await api.get("/v1/audit?job=job-0&type=job.submitted")
    assert reply.body == []
    assert 0 < int(reply.headers["x-heroctl-scanned-to"]) < api.parts.view.index
    assert [each["data"]["name"] for each in await pages(api, "job=job-0&type=job.submitted")] == ["job-0"]


async def test_a_cursor_is_for_its_own_list_only(api: Rig) -> None:
    await _much(api)
    cursor = (await api.get("/v1/audit?limit=1&type=job.*")).headers["x-heroctl-next-cursor"]
    assert (await api.get(f"/v1/audit?type=job.*&cursor={cursor}")).status == 200
    for query in (f"cursor={cursor}", f"type=user.*&cursor={cursor}", f"type=job.*&cursor=A{cursor[1:]}"):
        assert (await api.get(f"/v1/audit?{query}")).error == "invalid_cursor"


async def test_what_is_not_kept_any_more_is_said(api: Rig) -> None:
    await _much(api)
    floor = api.parts.view.index - 5
    api.log.compact(floor)
    reply = await api.get("/v1/audit?outcome=done")
    assert int(reply.headers["x-heroctl-truncated-before"]) == api.log.floor + 1
    assert len(reply.body) == api.parts.view.index - api.log.floor
    assert "x-heroctl-truncated-before" not in (await api.get("/v1/audit?outcome=refused")).headers


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_long_poll_waits_for_somebody_to_act(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAUSE", 0.0)
    node, token = await join(api)
    await open_session(api, token)
    await submit(api)
    alloc = await place(api, node)
    page = await api.get("/v1/audit")
    asking = api.ask("GET", f"/v1/audit?index={page.index}&wait=1m&limit=1")
    await api.waiting(1)
    await runs(api, node, alloc)
    await api.waiting(1)
    assert not asking.task.done()
    done = await api.append(JobStopped(1, "default", "web"))
    reply = await asking.reply()
    assert reply.body[0]["index"] == reply.index == done
    assert (await api.get(f"/v1/audit?index={done - 1}&wait=1m")).index == done
    assert (await api.get("/v1/audit?index=999999&wait=1m")).status == 200


async def test_a_long_poll_ends_with_its_token(api: Rig) -> None:
    token = await api.role("admin")
    page = await api.get("/v1/audit")
    asking = api.ask("GET", f"/v1/audit?index={page.index}&wait=1m", token=token)
    await api.waiting(1)
    await api.do("DELETE", f"/v1/acl/tokens/{token.split('_')[1]}")
    assert (await asking.reply()).status in (200, 401)  # its very end is an act
