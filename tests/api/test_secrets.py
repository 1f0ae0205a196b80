"""Secrets through the front door: written, read, rolled back, deleted, and given to the node that needs them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from eventstore.log import LogUnavailable
from eventstore.master import given
from heroctl.domain.events import SecretWritten
from heroctl.domain.intents.secrets import secret_stream
from reconciler.sweep import Sweep
from tests.api.people import policy, secret
from tests.api.rig import Reply, Rig, beside, rig
from tests.api.sealed import VALUE, pinned, put, value
from tests.api.specs import submit

# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_secret_is_made_changed_and_not_made_again(api: Rig) -> None:
    made = await put(api)
    assert (made.status, made.body) == (
        201,
        {"name": "db_password", "namespace": "default", "version": 1, "index": made.index},
    )
    head = await api.log.head()
    again = await put(api)
    assert (again.status, again.body["version"], again.index) == (200, 1, made.index)
    assert await api.log.head() == head
    changed = await put(api, "another")
    assert (changed.status, changed.body["version"]) == (200, 2)
    assert (await value(api), await value(api, query="?version=1")) == ("another", VALUE)
    assert (await put(api)).body["version"] == 3, "what was once is not what is now"


async def test_a_list_has_names_and_never_a_value(api: Rig) -> None:
    await put(api)
    await put(api, "another")
    await put(api, name="api.key-2")
    reply = await api.get("/v1/secrets")
    assert [(each["name"], each["version"], each["versions"]) for each in reply.body] == [
        ("api.key-2", 1, 1),
        ("db_password", 2, 2),
    ]
    for path in ("/v1/secrets", "/v1/secrets/db_password/versions", "/v1/log", "/v1/audit"):
        raw = (await api.get(path)).raw
        assert VALUE.encode() not in raw
        assert base64.b64encode(VALUE.encode()) not in raw
    [first] = (await api.get("/v1/secrets?limit=1")).body
    assert first["name"] == "api.key-2"


async def test_whoever_waits_for_names_hears_of_every_change(api: Rig) -> None:
    await put(api)
    changes: tuple[Callable[[], Awaitable[Reply]], ...] = (
        lambda: put(api, "another"),
        lambda: api.post("/v1/secrets/db_password/rollback", {}),
        lambda: api.do("DELETE", "/v1/secrets/db_password"),
    )
    for change in changes:
        index = (await api.get("/v1/secrets")).index
        waiting = api.ask("GET", f"/v1/secrets?index={index}&wait=5m")
        await api.waiting(1)
        done = await change()
        assert (await waiting.reply()).index == done.index
    head = (await api.get("/v1/secrets")).index
    await put(api, name="other")
    await value(api, "other")
    assert (await api.get("/v1/secrets/other/versions")).index == (await api.get("/v1/secrets")).index > head


@pytest.mark.parametrize("raw", [bytes(range(256)), b"\xff", b"", b"\0text", b"a\n", bytes(64 << 10)], ids=len)
async def test_any_bytes_come_back_as_they_were(api: Rig, raw: bytes) -> None:
    body = {"name": "key", "value": base64.b64encode(raw).decode(), "encoding": "base64"}
    assert (await api.post("/v1/secrets", body)).status == 201
    shown = (await api.get("/v1/secrets/key")).body
    found = base64.b64decode(shown["value"]) if shown["encoding"] else shown["value"].encode()
    assert found == raw
    assert (await api.post("/v1/secrets", body)).body["version"] == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "", "value": "x"}, "invalid_name"),
        ({"name": "-a", "value": "x"}, "invalid_name"),
        ({"name": "a/b", "value": "x"}, "invalid_name"),
        ({"name": "a" * 64, "value": "x"}, "invalid_name"),
        ({"name": "a\n", "value": "x"}, "invalid_name"),
        ({"name": "a", "value": "x" * ((64 << 10) + 1)}, "out_of_range"),
        ({"name": "a", "value": "c2VjcmV0IQ=", "encoding": "base64"}, "invalid_value"),
        ({"name": "a", "value": "ü", "encoding": "base64"}, "invalid_value"),
        ({"name": "a", "value": "\ud800"}, "invalid_json"),
        ({"name": "a", "value": "x", "encoding": "rot13"}, "invalid_value"),
        ({"name": "a", "value": 4711}, "invalid_value"),
        ({"name": "a"}, "required"),
        ({"name": "a", "value": "x", "valu": "x"}, "unknown_field"),
    ],
)
async def test_what_cannot_be_is_refused_without_being_repeated(api: Rig, body: dict[str, Any], code: str) -> None:
    reply = await api.post("/v1/secrets", body)
    assert reply.status == 400, reply.body
    assert (await api.get("/v1/secrets")).body == []
    given = str(body.get("value", ""))
    assert len(given) < 2 or given[:64] not in reply.raw.decode()
    assert code in ([each["code"] for each in reply.body.get("details", [])] or [reply.error]), reply.body


@pytest.mark.parametrize("name", ["a", "_", "A.b-c_9", "9" * 63])
async def test_names_that_can_be(api: Rig, name: str) -> None:
    assert (await put(api, name=name)).status == 201
    assert await value(api, name) == VALUE


async def test_what_is_not_there(api: Rig) -> None:
    for method, path, code in (
        ("GET", "/v1/secrets/nothing", "secret_not_found"),
        ("DELETE", "/v1/secrets/nothing", "secret_not_found"),
        ("GET", "/v1/secrets/nothing/versions", "secret_not_found"),
        ("POST", "/v1/secrets/nothing/rollback", "secret_not_found"),
    ):
        assert (await api.do(method, path)).error == code
    await put(api)
    assert (await api.get("/v1/secrets/db_password?version=2")).error == "version_not_found"
    assert (await api.get("/v1/secrets/db_password?version=x")).error == "invalid_version"
    assert (await api.post("/v1/secrets/db_password/rollback")).error == "version_not_found"
    assert (await api.post("/v1/secrets/db_password/rollback", {"version": 9})).error == "version_not_found"
    assert (await put(api, query="?namespace=nowhere")).error == "namespace_not_found"


async def test_a_rollback_repeats_a_value_as_a_new_version(api: Rig) -> None:
    for each in ("one", "two", "three"):
        await put(api, each)
    back = await api.post("/v1/secrets/db_password/rollback")
    assert (back.status, back.body["version"], await value(api)) == (200, 4, "two")
    first = await api.post("/v1/secrets/db_password/rollback", {"version": 1})
    assert (first.body["version"], await value(api)) == (5, "one")
    same = await api.post("/v1/secrets/db_password/rollback", {"version": 5})
    assert (same.status, same.body["version"], same.index) == (200, 5, first.index)
    told = (await api.get("/v1/secrets/db_password/versions")).body
    assert [(each["version"], each["action"], each["of"], each["by"]) for each in told] == [
        (5, "rollback", 1, "user:admin"),
        (4, "rollback", 2, "user:admin"),
        (3, "update", None, "user:admin"),
        (2, "update", None, "user:admin"),
        (1, "create", None, "user:admin"),
    ]


async def test_guards_are_held(api: Rig) -> None:
    made = await put(api, query="?check_index=0")
    assert made.status == 201
    assert (await put(api, query="?check_index=0")).error == "secret_exists"
    assert (await put(api, "two", query="?check_index=1")).error == "index_conflict"
    assert (await api.do("DELETE", "/v1/secrets/db_password?check_index=1")).error == "index_conflict"
    assert (await api.post("/v1/secrets/db_password/rollback?check_index=1", {"version": 1})).error == "index_conflict"
    [item] = (await api.get("/v1/secrets")).body
    assert (await put(api, "two", query=f"?check_index={item['modify_index']}")).body["version"] == 2


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_writers_on_two_processes_make_a_version_each_and_every_one_opens(api: Rig) -> None:
    async with beside(api) as other:
        replies = await asyncio.gather(*(put(process, f"value-{n}") for n in range(4) for process in (api, other)))
        assert all(reply.status in (200, 201, 503) for reply in replies)
        count = (await api.get("/v1/secrets")).body[0]["version"]
        found = {await value(api, query=f"?version={number}") for number in range(1, count + 1)}
        assert found == {f"value-{n}" for n in range(4)}


async def test_who_is_overtaken_seals_anew(api: Rig) -> None:
    """Another process takes the number between the sealing and the append."""
    await put(api)
    seal = api.parts.master.seal

    async def overtaken(namespace: str, name: str, version: int, value: bytes) -> str:
        row = await seal(namespace, name, version, value)
        if version == 2:
            theirs = await seal(namespace, name, version, b"theirs")
            event = SecretWritten(namespace, name, version, theirs, "update")
            await api.append(event, moves=(secret_stream(namespace, name),))
        return row

    api.parts.master.seal = overtaken  # type: ignore[method-assign] # somebody is faster
    assert (await put(api, "ours")).body["version"] == 3
    assert (await value(api), await value(api, query="?version=2")) == ("ours", "theirs")
    assert await api.parts.vault.count("secret") == 3, "what was sealed for the number that was taken is gone"


# ── deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_deleted_secret_leaves_no_row(api: Rig) -> None:
    for each in ("one", "two", "three"):
        await put(api, each)
    await put(api, name="other")
    assert await api.parts.vault.count("secret") == 4
    gone = await api.do("DELETE", "/v1/secrets/db_password")
    assert gone.body == {"index": gone.index, "name": "db_password", "namespace": "default"}
    assert await api.parts.vault.count("secret") == 1
    assert (await api.get("/v1/secrets/db_password")).error == "secret_not_found"
    assert await value(api, "other") == VALUE


async def test_where_the_vault_is_away_then_the_sweep_removes_the_rows(api: Rig) -> None:
    await put(api)
    delete, api.parts.vault.delete = api.parts.vault.delete, _away  # type: ignore[method-assign] # for a moment
    assert (await api.do("DELETE", "/v1/secrets/db_password")).status == 200
    api.parts.vault.delete = delete  # type: ignore[method-assign] # back
    assert await api.parts.vault.count("secret") == 1
    sweep = Sweep(api.parts.view, api.parts.vault, lambda: True)
    assert await sweep.sweep() == 0, "not yet"
    await put(api, name="kept")
    api.clock.ticks += 3601
    api.log.ring()
    assert await sweep.sweep() == 1
    assert await value(api, "kept") == VALUE


async def _away(identities: Iterable[str]) -> None:
    raise LogUnavailable(f"the vault is away, and {len(list(identities))} rows in it")


async def test_a_secret_that_jobs_need_is_deleted_only_by_force(api: Rig) -> None:
    await put(api)
    await pinned(api, ("db_password", 1))
    await pinned(api, ("db_password", 1), name="other")
    await submit(api, "third")
    refused = await api.do("DELETE", "/v1/secrets/db_password")
    assert (refused.status, refused.error) == (409, "secret_pinned")
    assert "used by other, web:" in refused.body["message"]
    assert (await api.do("DELETE", "/v1/secrets/db_password?force=maybe")).error == "invalid_force"
    uses = (await api.get("/v1/secrets/db_password/jobs")).body
    assert [(each["job"], each["version"], each["secret_version"]) for each in uses] == [("other", 2, 1), ("web", 2, 1)]
    assert (await api.do("DELETE", "/v1/secrets/db_password?force=true")).status == 200
    [told] = (await api.get("/v1/audit?type=secret.deleted")).body
    assert told["data"]["forced"] is True


async def test_a_refusal_names_only_jobs_that_one_may_see(api: Rig) -> None:
    await put(api)
    await pinned(api, ("db_password", 1))
    rule = {"resource": "secret", "namespace": "*", "capabilities": ["list", "write"]}
    blind = await secret(api, await policy(api, "blind", rule), namespaces=["*"])
    refused = await api.do("DELETE", "/v1/secrets/db_password", token=blind)
    assert refused.error == "secret_pinned"
    assert "used by 1 jobs" in refused.body["message"]
    assert "web" not in refused.raw.decode()


async def test_jobs_that_are_stopped_need_nothing(api: Rig) -> None:
    await put(api)
    await pinned(api, ("db_password", 1))
    await api.post("/v1/jobs/web/stop")
    assert (await api.do("DELETE", "/v1/secrets/db_password")).status == 200


async def test_a_namespace_that_holds_secrets_is_kept(api: Rig) -> None:
    await api.post("/v1/namespaces", {"name": "shop"})
    assert (await put(api, query="?namespace=shop")).status == 201
    refused = await api.do("DELETE", "/v1/namespaces/shop")
    assert (refused.error, "db_password" in refused.body["message"]) == ("namespace_not_empty", True)
    assert (await api.get("/v1/secrets/db_password")).error == "secret_not_found"
    assert await value(api, query="?namespace=shop") == VALUE
    await api.do("DELETE", "/v1/secrets/db_password?namespace=shop")
    assert (await api.do("DELETE", "/v1/namespaces/shop")).status == 200


# ── who, and who knows ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_read_of_a_value_stands_in_the_audit_before_it_is_given(api: Rig) -> None:
    await put(api)
    await api.get("/v1/secrets/db_password?version=1", headers={"x-request-id": "look-1"})
    [told] = (await api.get("/v1/audit?type=secret.read")).body
    assert {word: told[word] for word in ("actor", "address", "request_id", "target", "namespace", "outcome")} == {
        "actor": "user:admin",
        "address": "192.0.2.7",
        "request_id": "look-1",
        "target": "secret default/db_password",
        "namespace": "default",
        "outcome": "done",
    }
    assert told["data"] == {"namespace": "default", "name": "db_password", "version": 1}
    append, api.log.append = api.log.append, _no_append  # type: ignore[method-assign] # a log that takes nothing
    refused = await api.get("/v1/secrets/db_password")
    api.log.append = append  # type: ignore[method-assign] # and one that does
    assert (refused.error, VALUE in refused.raw.decode()) == ("log_unavailable", False)


async def _no_append(append: object) -> Any:  # noqa: ANN401 - never
    raise LogUnavailable(f"no place for {append}")


async def test_no_event_names_the_row_to_the_audit(api: Rig) -> None:
    await put(api)
    [told] = (await api.get("/v1/audit?type=secret.written")).body
    assert set(told["data"]) == {"namespace", "name", "version", "by"}


async def test_who_may_what(api: Rig) -> None:
    await put(api)
    for role, lists, reads, writes in (
        ("viewer", 403, 403, 403),
        ("deployer", 200, 403, 403),
        ("operator", 200, 403, 200),
        ("admin", 200, 200, 200),
    ):
        token = await api.role(role)
        assert (await api.get("/v1/secrets", token=token)).status == lists, role
        assert (await api.get("/v1/secrets/db_password", token=token)).status == reads, role
        assert (await put(api, role, token=token)).status == writes, role
        assert (await api.post("/v1/secrets/rekey", token=token)).status == (200 if role == "admin" else 403)


async def test_a_retried_write_never_keeps_its_value_and_makes_one_version(api: Rig) -> None:
    under = {"Idempotency-Key": "k1"}
    first = await put(api, headers=under)
    again = await put(api, headers=under)
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (201, first.body, "true")
    assert (await put(api, "other", headers=under)).error == "idempotency_key_reused"
    assert await api.parts.vault.count("secret") == 1


# ── keys that are not there ──────────────────────────────────────────────────────────────────────────────────────────


async def test_without_a_master_key_all_but_secrets_works() -> None:
    async with rig(keys=given("", ())) as api:
        await submit(api)
        assert (await api.get("/v1/jobs")).status == 200
        for method, path in (
            ("GET", "/v1/secrets"),
            ("POST", "/v1/secrets"),
            ("GET", "/v1/secrets/a"),
            ("DELETE", "/v1/secrets/a"),
            ("GET", "/v1/secrets/a/versions"),
            ("GET", "/v1/secrets/a/jobs"),
            ("POST", "/v1/secrets/a/rollback"),
            ("POST", "/v1/secrets/rekey"),
        ):
            refused = await api.do(method, path)
            assert (refused.status, refused.error) == (503, "secrets_not_configured"), (method, path)
            assert "--secrets-key-file" in refused.body["message"]
            assert int(refused.headers["retry-after"]) > 0
