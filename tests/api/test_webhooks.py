"""Webhooks through the front door: made, read, changed, given another secret, tried, and told again."""

from __future__ import annotations

import asyncio
import base64
from typing import Final

import msgspec
import pytest

from eventstore.seal import Place
from heroctl.domain.addresses import networks
from heroctl.domain.events import UserDeleted, WebhookDisabled
from heroctl.domain.intents.webhooks import MOST
from heroctl.domain.visibility import Need
from heroctl.outside import Outside, Unanswered
from tests.api.hooks import URL, hook, told
from tests.api.people import user
from tests.api.rig import Rig

SEED: Final = {
    "url": "https://api.minha-empresa.com/heroctl-events",
    "events": ["job.deployed", "alloc.failed", "node.down"],
    "secret": "whk_a1b2c3",
}


async def nowhere(host: str, _: int) -> list[str]:
    raise Unanswered(f"{host} is not known")


async def secret_of(api: Rig, identity: str) -> bytes | None:
    record = api.parts.view.state.webhooks[identity]
    return await api.parts.master.open(Place(record.row, record.namespace, f"webhook/{identity}", 1))


async def test_the_seeds_webhook_is_made_as_printed(api: Rig) -> None:
    api.parts.receivers = Outside(lookup=nowhere)
    made = await api.post("/v1/webhooks", SEED)
    assert made.status == 201
    body = made.body
    assert (body["url"], body["events"], body["namespace"]) == (SEED["url"], SEED["events"], "default")
    assert (body["state"], body["secret"], body["reads_for"]) == ("enabled", None, "admin")
    assert made.index == body["create_index"] == body["modify_index"]
    assert await secret_of(api, body["id"]) == b"whk_a1b2c3"
    listed = await api.get("/v1/webhooks")
    assert listed.body == [{key: value for key, value in body.items() if key != "secret"}]
    assert b"whk_a1b2c3" not in listed.raw


async def test_a_secret_is_made_and_shown_once(api: Rig) -> None:
    made = await hook(api)
    secret = made.body["secret"]
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert await secret_of(api, made.body["id"]) == secret.encode()
    again = await api.post("/v1/webhooks", {"url": URL, "events": ["*"]}, headers={"Idempotency-Key": "one"})
    assert again.status == 201
    repeated = await api.post("/v1/webhooks", {"url": URL, "events": ["*"]}, headers={"Idempotency-Key": "one"})
    assert (repeated.status, repeated.error) == (409, "already_done")
    assert len((await api.get("/v1/webhooks")).body) == 2


async def test_a_webhook_is_changed_by_whoever_it_reads_for_then(api: Rig) -> None:
    identity = (await hook(api)).body["id"]
    other = await user(api, "otto", "operator", namespaces=["*"])
    path = f"/v1/webhooks/{identity}"
    same = await api.do("PATCH", path, {"description": ""}, token=other)
    assert (same.status, same.body["reads_for"]) == (200, "admin")
    assert same.index == same.body["modify_index"], "nothing to change"
    changed = await api.do("PATCH", path, {"events": ["job.failed"], "enabled": False}, token=other)
    assert changed.status == 200
    assert (changed.body["events"], changed.body["state"], changed.body["url"]) == (["job.failed"], "disabled", URL)
    assert changed.body["reads_for"] == "otto"
    assert changed.index == changed.body["modify_index"] > same.index
    assert (await api.get(f"/v1/webhooks/{identity[:5]}")).body == changed.body


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"events": []}, "events", "invalid_value"),
        ({"events": ["job.sent"]}, "events[0]", "unknown_event"),
        ({"events": ["*", "*"]}, "events", "invalid_value"),
        ({"url": "ftp://8.8.8.8/"}, "url", "invalid_url"),
        ({"url": "https://"}, "url", "invalid_url"),
        ({"url": "https://8.8.8.8:99999/"}, "url", "invalid_url"),
        ({"url": "https://me:pass@8.8.8.8/"}, "url", "invalid_url"),
        ({"url": "https://8.8.8.8/#part"}, "url", "invalid_url"),
        ({"url": "https://8.8.8.8/" + "x" * 2048}, "url", "invalid_url"),
        ({"url": "https://8.8.8.8/a b"}, "url", "invalid_url"),
        ({"url": "http://127.0.0.1/"}, "url", "forbidden_address"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url", "forbidden_address"),
        ({"secret": "short"}, "secret", "invalid_value"),
        ({"secret": "whsec_no-base64!"}, "secret", "invalid_value"),
        ({"more": 1}, "more", "unknown_field"),
    ],
)
async def test_what_is_wrong_with_a_webhook_is_told(api: Rig, body: dict[str, object], path: str, code: str) -> None:
    made = await api.post("/v1/webhooks", {"url": URL, "events": ["*"], **body})
    assert made.status == 400
    [problem] = made.body["details"]
    assert problem["path"] == path
    if path not in ("events", "more"):
        assert problem["code"] == code
    assert not api.parts.view.state.webhooks


async def test_listed_networks_may_be_led_to(api: Rig) -> None:
    api.parts.receivers = Outside(networks(["127.0.0.0/8"]))
    assert (await hook(api, url="http://127.0.0.1:9/")).status == 201


async def test_all_namespaces_are_for_admins(api: Rig) -> None:
    operator = await user(api, "otto", "operator", namespaces=["*"])
    refused = await api.post("/v1/webhooks?namespace=*", {"url": URL, "events": ["*"]}, token=operator)
    assert (refused.status, refused.error) == (403, "forbidden")
    identity = (await hook(api, query="?namespace=*")).body["id"]
    for method, path, body in (
        ("PATCH", "", {"url": "https://9.9.9.9/"}),
        ("POST", "/ping", None),
        ("POST", "/rotate", {}),
        ("DELETE", "", None),
    ):
        reply = await api.do(method, f"/v1/webhooks/{identity}{path}", body, token=operator)
        assert (reply.status, reply.error) == (403, "forbidden")
    somewhere = await user(api, "olga", "operator", namespaces=["default"])
    assert (await api.get(f"/v1/webhooks/{identity}", token=somewhere)).status == 404
    assert (await api.get("/v1/webhooks", token=somewhere)).body == []


async def test_two_secrets_sign_while_one_rotates(api: Rig) -> None:
    identity = (await hook(api, secret="whk_a1b2c3")).body["id"]
    old = api.parts.view.state.webhooks[identity].row
    made = await api.post(f"/v1/webhooks/{identity}/rotate", {"overlap_seconds": 60})
    assert made.body["secret"].startswith("whsec_")
    assert await secret_of(api, identity) == made.body["secret"].encode()
    record = api.parts.view.state.webhooks[identity]
    assert (record.old_row, record.old_until) == (old, api.clock.ms() + 60_000)
    assert (await api.get(f"/v1/webhooks/{identity}")).body["rotating_until"] is not None
    given = await api.post(f"/v1/webhooks/{identity}/rotate", {"secret": "whk_d4e5f6", "overlap_seconds": 0})
    assert (given.body["secret"], await secret_of(api, identity)) == (None, b"whk_d4e5f6")
    assert (await api.get(f"/v1/webhooks/{identity}")).body["rotating_until"] is None


async def test_a_webhook_is_deleted_and_wakes_who_waits(api: Rig) -> None:
    made = await hook(api)
    identity = made.body["id"]
    waits = [api.ask("GET", f"/v1/webhooks{path}?index={made.index}&wait=1m") for path in ("", f"/{identity}")]
    await api.waiting(2)
    gone = await api.do("DELETE", f"/v1/webhooks/{identity}")
    assert (gone.status, gone.body["id"]) == (200, identity)
    listed, one = [await wait.reply() for wait in waits]
    assert (listed.body, listed.index, one.status) == ([], gone.index, 404)
    assert (await api.do("DELETE", f"/v1/webhooks/{identity}")).error == "webhook_not_found"


async def test_what_was_told_is_listed_page_by_page(api: Rig) -> None:
    identity = (await hook(api)).body["id"]
    await told(api, identity, 5, 6, 7)
    path = f"/v1/webhooks/{identity}/deliveries"
    first = await api.get(f"{path}?limit=2")
    assert [each["number"] for each in first.body] == [7, 6]
    assert first.body[0]["state"] == "delivered"
    rest = await api.get(f"{path}?limit=2&cursor={first.headers['x-heroctl-next-cursor']}")
    assert ([each["number"] for each in rest.body], "link" in rest.headers) == ([5], False)
    assert (await api.get(f"{path}?state=failed")).body == []
    assert (await api.get(f"{path}?state=odd")).error == "invalid_state"
    one = (await api.get(f"{path}/6")).body
    assert (one["payload"], one["answer"], one["status"], one["attempts"]) == (
        {"type": "job.deployed"},
        "thanks",
        200,
        1,
    )
    for missing in ("8", "x", "-1", "9" * 30):
        assert (await api.get(f"{path}/{missing}")).error == "delivery_not_found"


async def test_what_is_not_there_or_switched_off_is_not_told_again(api: Rig) -> None:
    identity = (await hook(api)).body["id"]
    await told(api, identity, 5, 6)
    path = f"/v1/webhooks/{identity}/deliveries"
    assert (await api.post(f"{path}/5/redeliver")).body["first"] == 5
    assert (await api.post(f"{path}/7/redeliver")).error == "delivery_not_found"
    whole = await api.post(f"{path}/redeliver", {"first": 1, "last": 9})
    assert (whole.body["id"], whole.body["first"], whole.body["last"]) == (identity, 1, 9)
    assert (await api.post(f"{path}/redeliver", {"first": 1, "last": 9, "failed_only": True})).status == 404
    assert (await api.post(f"{path}/redeliver", {"first": 9, "last": 1})).status == 400
    await api.decide(WebhookDisabled(identity, "default", "receiver_gone"))
    shown = (await api.get(f"/v1/webhooks/{identity}")).body
    assert (shown["state"], shown["reason"]) == ("disabled", "receiver_gone")
    assert (await api.post(f"{path}/5/redeliver")).error == "webhook_disabled"
    assert (await api.post(f"/v1/webhooks/{identity}/ping")).error == "webhook_disabled"
    on = await api.do("PATCH", f"/v1/webhooks/{identity}", {"enabled": True})
    assert (on.body["state"], on.body["reason"]) == ("enabled", "")


async def test_who_it_reads_for_is_gone_with_the_user(api: Rig) -> None:
    otto = await user(api, "otto", "operator", namespaces=["*"])
    identity = (await hook(api, token=otto)).body["id"]
    assert api.parts.view.state.webhooks[identity].user == "otto"
    await api.append(UserDeleted("otto"))
    assert api.parts.view.state.webhooks[identity].user == ""
    again = await api.do("PATCH", f"/v1/webhooks/{identity}", {"enabled": True})
    assert again.body["reads_for"] == "admin", "a change of nothing but that"


async def test_a_namespace_with_webhooks_stays(api: Rig) -> None:
    await api.post("/v1/namespaces", {"name": "shop"})
    identity = (await hook(api, query="?namespace=shop")).body["id"]
    kept = await api.do("DELETE", "/v1/namespaces/shop")
    assert (kept.status, kept.error) == (409, "namespace_not_empty")
    assert identity in kept.body["message"]
    await api.do("DELETE", f"/v1/webhooks/{identity}")
    assert (await api.do("DELETE", "/v1/namespaces/shop")).status == 200
    assert (await api.post("/v1/webhooks?namespace=shop", {"url": URL, "events": ["*"]})).error == "namespace_not_found"


async def test_a_namespace_has_only_so_many(api: Rig) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(MOST):
            tasks.create_task(hook(api))
    assert (await api.post("/v1/webhooks", {"url": URL, "events": ["*"]})).error == "too_many_webhooks"


async def test_a_delivery_shows_only_what_its_reader_may_know(api: Rig) -> None:
    """Whoever holds the webhook is told of no secret's name there that it may not list."""
    rules = [{"resource": "webhook", "namespace": "default", "capabilities": ["read", "write"]}]
    await api.post("/v1/acl/policies", {"name": "hooker", "rules": rules})
    await api.post("/v1/acl/roles", {"name": "hooker", "policies": ["hooker"]})
    token = await api.role("hooker")
    made = (await hook(api, token=token)).body["id"]
    await told(api, made, 1, needs=msgspec.json.encode(Need("secret:list", "default")))
    path = f"/v1/webhooks/{made}/deliveries/1"
    assert (await api.get(path, token=token)).error == "delivery_not_found"
    assert (await api.get(path)).status == 200
