"""The raw log over HTTP: its records, the long poll at its end, an event with its append, and the streamed proof."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec
import pytest
from msgspec import structs

from api import log as api_log
from eventstore.log import Append
from heroctl.domain.events import EVENTS, Event, JobDeleted, Meta, Opaque, encode
from tests.api.rig import PASSWORD, Rig
from tests.api.specs import join, open_session, place, runs, submit
from tests.waiting import eventually

FIELDS = {"index", "last", "time", "type", "schema", "actor", "request_id", "address", "data", "opaque", "chain"}


async def furnish(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token)
    await submit(api)
    await runs(api, node, await place(api, node))


async def test_every_event_stands_in_order_as_it_was_written(api: Rig) -> None:
    await furnish(api)
    head = api.parts.view.index
    page = await api.get("/v1/log")
    assert page.index == head
    assert [record["index"] for record in page.body] == list(range(1, head + 1))
    for record, row in zip(page.body, api.log._rows, strict=True):
        assert record.keys() == FIELDS
        assert (record["last"], record["type"], record["schema"]) == (row[1], row[3], row[4])
        assert msgspec.json.encode(record["data"]) == row[6]
        assert record["chain"] == (row[7].hex() if row[7] else None)
    submitted = next(record for record in page.body if record["type"] == "job.submitted")
    assert (submitted["actor"], submitted["address"]) == ("user:admin", "192.0.2.7")
    assert submitted["request_id"].startswith("req_")


async def test_pages_follow_one_another(api: Rig) -> None:
    await furnish(api)
    whole = (await api.get("/v1/log")).body
    found: list[Any] = []
    while page := (await api.get(f"/v1/log?after={len(found)}&limit=3")).body:
        assert len(page) <= 3
        found += page
    assert found == whole


async def test_a_page_is_bounded_by_its_bytes_too(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await furnish(api)
    monkeypatch.setattr(api_log, "_BYTES", 1)
    monkeypatch.setattr(api_log, "_READ", 2)
    assert len((await api.get("/v1/log")).body) == 2


async def test_what_cannot_be_read_comes_as_its_bytes(api: Rig) -> None:
    """Of a newer release, or of a payload that is broken: nothing else of the page is lost."""
    await api.append(Opaque("job.frobbed", 1, b"\xff\x00"), JobDeleted(1, "a", "b"))
    unread, read = (await api.get(f"/v1/log?after={api.parts.view.index - 2}")).body
    assert (unread["type"], unread["data"]) == ("job.frobbed", None)
    assert base64.b64decode(unread["opaque"]) == b"\xff\x00"
    assert (read["opaque"], read["data"]["name"]) == (None, "b")


async def test_at_the_end_it_waits_for_the_next_event(api: Rig) -> None:
    head = api.parts.view.index
    assert (await api.get(f"/v1/log?after={head}")).body == []
    asking = api.ask("GET", f"/v1/log?after={head}&wait=5m")
    await api.waiting(1)
    await submit(api)
    [record] = (await asking.reply()).body
    assert (record["index"], record["type"]) == (head + 1, "job.submitted")
    assert (await api.get(f"/v1/log?after={head + 1}&wait=10ms")).body == []
    assert (await api.get("/v1/log?after=999999&wait=5m")).body == []
    assert len(api.parts.waiters) == 0


async def test_a_waiter_ends_when_its_client_or_its_token_goes_or_the_process_drains(api: Rig) -> None:
    path = f"/v1/log?after={api.parts.view.index + 2}&wait=5m"
    made = await api.post("/v1/acl/tokens", {"name": "t", "roles": ["admin"]})
    await api.append(JobDeleted(1, "a", "b"))
    leaving = api.ask("GET", path)
    await api.waiting(1)
    await leaving.leave()
    revoked = api.ask("GET", path, token=made.body["secret"])
    await api.waiting(1)
    await api.do("DELETE", f"/v1/acl/tokens/{made.body['id']}")
    assert (await revoked.reply()).status in (200, 401)
    draining = api.ask("GET", f"/v1/log?after={api.parts.view.index}&wait=5m")
    await api.waiting(1)
    api.parts.waiters.drain()
    assert (await draining.reply()).body == []


@pytest.mark.parametrize(
    ("query", "code"),
    [("after=x", "invalid_after"), ("limit=0", "invalid_limit"), ("limit=1001", "invalid_limit"),
     ("wait=soon&after=99", "invalid_wait"), ("index=1", "unknown_parameter")],
)  # fmt: skip
async def test_wrong_questions_are_refused(api: Rig, query: str, code: str) -> None:
    refused = await api.get(f"/v1/log?{query}")
    assert (refused.status, refused.error) == (400, code)


async def test_below_the_floor_it_says_where_to_begin(api: Rig) -> None:
    await furnish(api)
    api.log.compact(4)
    for path in ("/v1/log", "/v1/log?after=3", "/v1/log/3"):
        gone = await api.get(path)
        assert (gone.status, gone.error) == (410, "index_compacted"), path
        assert "4" in gone.body["message"]
    assert (await api.get("/v1/log?after=4")).body[0]["index"] == 5
    assert (await api.get("/v1/log/5")).body["event"]["index"] == 5


async def test_an_event_is_shown_with_its_append(api: Rig) -> None:
    last = await api.append(*(JobDeleted(n, "a", "b") for n in range(4)))
    shown = (await api.get(f"/v1/log/{last - 1}")).body
    assert (shown["first"], shown["last"], shown["event"]["data"]["uid"]) == (last - 3, last, 2)
    assert [event["index"] for event in shown["events"]] == list(range(last - 3, last + 1))
    assert (await api.get("/v1/log/1")).body["event"]["type"] == "cluster.created"
    assert (await api.get(f"/v1/log/{last + 1}")).error == "event_not_found"
    for word in ("0", "x", "-1", "9" * 19):
        assert (await api.get(f"/v1/log/{word}")).error == "invalid_index"


@pytest.mark.parametrize("path", ["/v1/log", "/v1/log/1", "/v1/log/verify"])
async def test_only_an_admin_reads_the_log(api: Rig, path: str) -> None:
    assert (await api.get(path, token=await api.role("operator"))).error == "forbidden"
    assert (await api.get(path, token="")).status == 401


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_SECRET = re.compile(r"secret|password|hash|credential|token|key|bytes", re.IGNORECASE)
# Each is the id of a row of the vault, or of a token or a key, or a secret's name: it opens nothing.
_IDS = {
    ("user.created", "credential"),
    ("user.password_changed", "credential"),
    ("token.created", "credential"),
    ("join_token.created", "credential"),
    ("session.opened", "token"),
    ("node.registered", "credential"),
    ("node.registered", "join_token"),
    ("job.repinned", "secrets"),
    ("secret.rekeyed", "key"),
    ("webhook.created", "token"),
    ("webhook.updated", "token"),
}


def test_no_event_has_a_field_for_a_secret() -> None:
    found = {
        (tag, field.encode_name)
        for tag, kind in EVENTS.items()
        for field in structs.fields(kind)
        if _SECRET.search(field.encode_name)
    }
    assert found == _IDS


async def test_no_secret_that_was_given_out_or_is_in_the_vault_stands_in_the_log(api: Rig) -> None:
    made = await api.post("/v1/acl/tokens", {"name": "t", "roles": ["admin"]})
    joining = (await api.post("/v1/cluster/join-tokens")).body["token"]
    node = await api.post("/v1/nodes/join", {"token": joining, "name": "n"}, token="")
    given = [
        PASSWORD,
        api.token,
        *(word.partition("_")[2] for word in (made.body["secret"], joining, node.body["token"])),
    ]
    kept = [row for row in api.parts.vault.__dict__.values() if isinstance(row, dict)]
    raw = (await api.get("/v1/log")).raw
    assert b"token.created" in raw
    assert b"node.registered" in raw
    for secret in given:
        assert secret.rpartition("_")[2][-20:].encode() not in raw
    for rows in kept:
        for value in rows.values():
            assert not [part for part in _bytes_in(value) if part in raw]


def _bytes_in(value: object) -> list[bytes]:
    parts = value if isinstance(value, tuple | list) else [value]
    found = [part for part in parts if isinstance(part, bytes) and len(part) > 8]
    return [form for part in found for form in (part, part.hex().encode(), base64.b64encode(part))]


# ── the proof ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_proof_comes_in_lines_and_ends_with_the_verdict(api: Rig) -> None:
    await furnish(api)
    reply = await api.get("/v1/log/verify")
    assert reply.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in reply.raw.splitlines()]
    assert [line["line"] for line in lines] == ["progress", "verdict"]
    assert (lines[-1]["ok"], lines[-1]["index"]) == (True, api.parts.view.index)


async def test_a_changed_event_is_named(api: Rig) -> None:
    await furnish(api)
    row = api.log._rows[4]
    api.log._rows[4] = (*row[:6], row[6] + b" ", row[7])
    verdict = json.loads((await api.get("/v1/log/verify")).raw.splitlines()[-1])
    assert (verdict["ok"], verdict["index"]) == (False, 5)


async def test_one_check_at_a_time_and_it_ends_with_its_client(api: Rig) -> None:
    api.prover.held.clear()
    asking = api.ask("GET", "/v1/log/verify")
    await eventually(lambda: api.prover.busy)
    refused = await api.get("/v1/log/verify")
    assert (refused.status, refused.error) == (409, "verify_running")
    asking.left.set()
    await eventually(lambda: not api.prover.busy, what="the end of the check")
    api.prover.held.set()
    assert (await api.get("/v1/log/verify")).status == 200


async def test_a_slow_check_says_that_it_lives_and_ends_when_the_process_drains(
    api: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_log, "HEARTBEAT", 0.01)
    api.prover.held.clear()
    asking = api.ask("GET", "/v1/log/verify")
    await eventually(lambda: api.prover.busy)
    await api.get("/v1/log?after=1&wait=50ms")
    api.parts.waiters.drain()
    lines = [json.loads(line) for line in (await asking.reply()).raw.splitlines()]
    assert lines[0] == lines[-2]
    assert lines[-1]["line"] == "broken"
    assert not api.prover.busy


async def test_meta_is_decoded_as_it_was_given(api: Rig) -> None:
    event: Event = JobDeleted(1, "a", "b")
    await api.log.append(Append((event,), meta=Meta("user:eve", "req_9", "2001:db8::1")))
    record = (await api.get(f"/v1/log?after={(await api.log.head()).index - 1}")).body[0]
    assert (record["actor"], record["request_id"], record["address"]) == ("user:eve", "req_9", "2001:db8::1")
    assert record["data"] == json.loads(encode(event)[2])
