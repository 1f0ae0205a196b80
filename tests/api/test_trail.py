"""What refusals cost, and what is never told of anybody."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Final

import pytest

from api.routes import ROUTES
from api.trail import LONGEST, cleaned
from eventstore.log import LogUnavailable
from eventstore.refusals import Refused
from tests.api.rig import PASSWORD, Reply, Rig
from tests.api.specs import spec
from tests.api.test_audit import audited
from tests.waiting import eventually

SECRET: Final = "s3cr3t-that-nobody-may-read"


async def test_an_attacker_costs_a_row_each_ten_minutes(api: Rig) -> None:
    for _ in range(300):
        await api.get("/v1/jobs", token="ht_x_y")
    assert len(await audited(api, "outcome=refused")) == 1
    for number in range(80):
        stranger = Refused(
            "anonymous",
            "192.0.2.9",
            f"r{number}",
            "POST",
            "/v1/auth/login",
            "/",
            401,
            "invalid_credentials",
            f"u{number}",
        )
        api.parts.trail.note(stranger)
    told = await audited(api, "type=login.refused")
    assert len(told) == 51
    assert sum(each["count"] for each in told) == 80
    [others] = [each for each in told if each["actor"] == "others"]
    assert (others["count"], others["address"], others["target"]) == (30, "", "")


async def test_who_logs_in_too_fast_is_told(api: Rig) -> None:
    for _ in range(60):
        reply = await api.post("/v1/auth/login", {"username": "admin", "password": "x"}, token="")
        if reply.status == 429:
            break
    told = await audited(api, "type=login.refused&limit=1")
    assert (told[0]["data"]["status"], told[0]["data"]["code"]) == (429, "too_many_logins")


async def test_refusals_are_kept_while_the_database_is_away(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    note = api.parts.trail.refusals.note

    async def away(*_: object) -> None:
        raise LogUnavailable("away")

    await api.get("/v1/jobs", token="")
    monkeypatch.setattr(api.parts.trail.refusals, "note", away)
    with pytest.raises(LogUnavailable):
        await api.parts.trail.write()
    monkeypatch.setattr(api.parts.trail.refusals, "note", note)
    assert len(await audited(api, "outcome=refused")) == 1


async def test_they_are_written_by_themselves(api: Rig) -> None:
    running = asyncio.create_task(api.parts.trail.run())
    await api.get("/v1/jobs", token="")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len((await api.get("/v1/audit?outcome=refused")).body) == 1


def _planted(value: object) -> object:
    """Put the secret into every text of a body."""
    if isinstance(value, dict):
        return {name: _planted(each) for name, each in value.items()}
    return (
        [_planted(each) for each in value] if isinstance(value, list) else SECRET if isinstance(value, str) else value
    )


BODIES: Final[tuple[dict[str, Any], ...]] = (
    {"username": "admin", "password": "x"},
    {"acl_token": "x"},
    {"refresh_token": "x"},
    {"name": "x", "roles": ["viewer"], "password": "x"},
    {"current": "x", "new": "x"},
    {"token": "x", "name": "node-1"},
    {"name": "x", "value": "x"},
    {"name": "x", "rules": [{"resource": "x"}]},
    spec(),
)


async def test_no_secret_is_ever_told(api: Rig) -> None:
    """Every route gets secrets in its body, its query and its headers: none is in the audit, a log line or an event.

    What a job says in its spec stands in its event, where its agent reads it; the audit leaves the spec out.
    """
    secret_of_token = await api.role("viewer")
    job = spec(task={"env": {"PASSWORD": SECRET}})
    assert (await api.post("/v1/jobs", job)).status == 201
    events = len(api.log._rows)
    made: list[Reply] = []
    for row in ROUTES:
        path = row.path.replace("{name}", "web").replace("{id}", "some").replace("{index}", "1")
        if row.method == "GET":
            made.append(await api.get(f"{path}?token={SECRET}", token=f"ht_a_{SECRET}"))
            continue
        for body in BODIES if row.method != "DELETE" else (None,):
            made.append(await api.do(row.method, path, _planted(body), token=""))
            made.append(await api.do(row.method, path, _planted(body), headers={"idempotency-key": SECRET}))
    tokens = [reply.body["secret"] for reply in made if reply.status == 201 and "secret" in reply.body]
    api.app._log.flush()
    told = json.dumps(await audited(api, "limit=1000"))
    lines = b"".join(api.lines).decode()
    logged = b"".join(row[6] for row in api.log._rows[events:]).decode()
    for secret in (secret_of_token.split("_")[2], PASSWORD, api.token, *(each.split("_")[2] for each in tokens)):
        assert secret not in told + lines + logged
    shown = json.loads(told)
    for each in shown:
        # A name is no secret: who types a password into the field of the name sees it there.
        named = {key: value for key, value in each["data"].items() if key not in ("tried", "name")}
        assert SECRET not in json.dumps([named, each["actor"], each["request_id"], each["address"]])
    assert SECRET not in re.sub(rf'"job": ?"{SECRET}"', "", lines)  # where a job's name is typed, it is one


def test_a_text_is_cut_and_written_out() -> None:
    assert cleaned("käse") == "käse"
    assert cleaned("a\x00b\n") == "a\\x00b\\n"
    assert len(cleaned("x" * 1000)) == LONGEST


async def test_a_request_is_found_by_its_id(api: Rig) -> None:
    """On the answer, the log line and the event; a new one where the caller's is no good."""
    ids = {"x-request-id": "deploy-7"}
    assert (await api.post("/v1/jobs", spec(), headers=ids)).headers["x-request-id"] == "deploy-7"
    await api.post("/v1/jobs/web/stop", headers=ids)
    await api.get("/v1/jobs", token="", headers=ids)
    found = await audited(api, "request_id=deploy-7")
    assert sorted(each["type"] for each in found) == ["job.stopped", "job.submitted", "request.refused"]
    for bad in ("two words", "x" * 129, "é", ""):
        assert (await api.get("/v1/jobs", headers={"x-request-id": bad})).headers["x-request-id"].startswith("req_")
    await eventually(lambda: b"deploy-7" in b"".join(api.lines))
