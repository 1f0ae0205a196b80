"""Rotating signing keys by the front door: nobody is logged out, or everybody, and the audit tells who did it."""

from __future__ import annotations

from api.tokens import key_id
from eventstore.log import Append, Appended, LogUnavailable
from tests.api.rig import PASSWORD, Rig, beside


async def both(api: Rig) -> dict[str, str]:
    reply = await api.post("/v1/auth/login", {"username": "admin", "password": PASSWORD}, token="")
    return dict(reply.body)


async def test_a_rotation_logs_nobody_out_and_every_process_learns_of_it(api: Rig) -> None:
    async with beside(api) as other:
        held = await both(api)
        rotated = await api.post("/v1/acl/keys/rotate")
        assert rotated.status == 200
        assert [item["signs"] for item in rotated.body] == [True, False]
        fresh = await both(api)
        for token in (held["token"], fresh["token"]):
            assert (await other.get("/v1/jobs", token=token)).status == 200, "before its next look"
        for token in (held["refresh_token"], fresh["refresh_token"]):
            assert (await other.post("/v1/auth/refresh", token=token)).status == 200
        assert (await other.get("/v1/acl/keys")).body == rotated.body
        third = (await other.post("/v1/acl/keys/rotate", {})).body
        assert [item["id"] for item in third][1:] == [item["id"] for item in rotated.body]
        await api.parts.pulse.look()
        assert len(api.parts.gate.keys.all) == 3


async def test_a_refresh_token_that_a_newer_key_signed_is_known_before_the_next_look(api: Rig) -> None:
    async with beside(api) as other:
        await api.post("/v1/acl/keys/rotate")
        fresh = await both(api)
        assert (await other.post("/v1/auth/refresh", token=fresh["refresh_token"])).status == 200


async def test_keys_that_were_stolen_end_with_all_that_they_signed(api: Rig) -> None:
    """Also what nobody logged in for: a token that the thief wrote, and its open long poll."""
    async with beside(api) as other:
        held = await both(api)
        index = (await other.get("/v1/jobs", token=held["token"])).index
        waiting = other.ask("GET", f"/v1/jobs?index={index}&wait=10m", token=held["token"])
        await other.waiting(1)
        reply = await api.post("/v1/acl/keys/rotate", {"end_sessions": True})
        assert (reply.status, len(reply.body)) == (200, 1)
        await other.parts.pulse.look()
        assert (await waiting.reply()).error == "token_invalid"
        for process in (api, other):
            for token in (held["token"], api.token):
                assert (await process.get("/v1/jobs", token=token)).error == "token_invalid"
            assert (await process.post("/v1/auth/refresh", token=held["refresh_token"])).error == "token_invalid"
        assert (await other.get("/v1/jobs", token=(await both(api))["token"])).status == 200


async def test_the_audit_tells_who_rotated_and_no_key(api: Rig) -> None:
    await api.post("/v1/acl/keys/rotate", headers={"x-request-id": "turn-1"})
    reply = await api.get("/v1/audit?type=signing_key.*")
    [told] = reply.body
    assert {word: told[word] for word in ("actor", "address", "request_id", "type", "outcome", "data")} == {
        "actor": "user:admin",
        "address": "192.0.2.7",
        "request_id": "turn-1",
        "type": "signing_key.rotated",
        "outcome": "done",
        "data": {},
    }
    assert told["time"]
    for key in api.parts.gate.keys.all:
        assert key_id(key.secret) not in reply.raw.decode()
        assert key.secret.hex() not in reply.raw.decode()
    await api.post("/v1/acl/keys/rotate", {"end_sessions": True})
    api.token = (await both(api))["token"]
    newest = (await api.get("/v1/audit?type=signing_key.rotated")).body[0]
    assert (newest["actor"], newest["data"]) == ("user:admin", {"end_sessions": True})


async def test_no_rotation_goes_untold(api: Rig) -> None:
    """Where the log takes nothing, the keys stay as they are."""
    before = api.parts.gate.keys.all
    append, api.log.append = api.log.append, gone  # type: ignore[method-assign] # a log that takes nothing
    assert (await api.post("/v1/acl/keys/rotate")).error == "log_unavailable"
    api.log.append = append  # type: ignore[method-assign] # and one that does
    await api.parts.gate.keyring.look()
    assert api.parts.gate.keys.all == before


async def gone(append: Append) -> Appended:
    raise LogUnavailable(f"no place for {len(append.events)}")


async def test_no_answer_holds_a_key(api: Rig) -> None:
    await api.post("/v1/acl/keys/rotate")
    shown = (await api.get("/v1/acl/keys")).raw
    for key in api.parts.gate.keys.all:
        assert key.secret not in shown
        assert key.secret.hex().encode() not in shown


async def test_only_who_may_change_the_acl_rotates(api: Rig) -> None:
    token = await api.role("operator")
    assert (await api.post("/v1/acl/keys/rotate", token=token)).error == "forbidden"
    assert (await api.get("/v1/acl/keys", token=token)).error == "forbidden"
    assert (await api.post("/v1/acl/keys/rotate", {"force": True})).error == "invalid_body"
