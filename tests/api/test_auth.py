"""Logging in, refreshing, ACL tokens, and every way in which a token is none."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import jwt
import pytest

from api import bootstrap, tokens
from eventstore.log import Append
from eventstore.sessions import GRACE, Session
from heroctl.domain.events import TokenCreated, UserCreated, UserPasswordChanged
from heroctl.domain.intents.change import claim_stream
from tests.api.rig import EPOCH, PASSWORD, Reply, Rig

DAY = 24 * 3600


async def login(api: Rig) -> dict[str, str]:
    reply = await api.post("/v1/auth/login", {"username": "admin", "password": PASSWORD}, token="")
    assert reply.status == 200, reply.body
    return dict(reply.body)


async def allowed(api: Rig, token: str) -> bool:
    reply = await api.get("/v1/jobs", token=token)
    assert reply.status in (200, 401)
    if reply.status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
    return reply.status == 200


async def refresh(api: Rig, token: str) -> Reply:
    return await api.post("/v1/auth/refresh", token=token)


# ── logging in ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_login_gives_a_token_for_a_day_and_a_refresh_token(api: Rig) -> None:
    answer = await login(api)
    assert answer.keys() == {"token", "expires_at", "refresh_token"}
    assert answer["refresh_token"].startswith("rt_")
    assert dt.datetime.fromisoformat(answer["expires_at"]).timestamp() == int(EPOCH) + DAY
    assert answer["expires_at"].endswith("Z")
    assert "." not in answer["expires_at"]
    assert jwt.get_unverified_header(answer["token"]).keys() == {"alg", "typ", "kid"}
    assert await allowed(api, answer["token"])


@pytest.mark.parametrize(
    ("username", "password"), [("admin", "wrong"), ("admin", ""), ("nobody", PASSWORD), ("", ""), ("ADMIN", PASSWORD)]
)
async def test_a_wrong_login_says_nothing_of_what_was_wrong(api: Rig, username: str, password: str) -> None:
    reply = await api.post("/v1/auth/login", {"username": username, "password": password}, token="")
    assert (reply.status, reply.error) == (401, "invalid_credentials")
    assert reply.body["message"] == "no user has this name and password"
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "content", [{}, {"username": "admin"}, {"password": "x"}, {"username": "a", "password": "b", "acl_token": "ht_"}]
)
async def test_a_login_needs_one_way_in(api: Rig, content: dict[str, str]) -> None:
    reply = await api.post("/v1/auth/login", content, token="")
    assert (reply.status, reply.error) == (400, "invalid_body")


async def test_a_user_made_elsewhere_is_known_at_once(api: Rig) -> None:
    credential = await api.parts.vault.put("password", await api.parts.passwords.hashed("s3cret"))
    await api.append(UserCreated("zoe", ("viewer",), credential), moves=(claim_stream("user", "zoe"),))
    reply = await api.post("/v1/auth/login", {"username": "zoe", "password": "s3cret"}, token="")
    assert reply.status == 200
    assert (await api.get("/v1/jobs", token=reply.body["token"])).status == 200
    assert (await api.post("/v1/jobs", {}, token=reply.body["token"])).status == 403


# ── refreshing ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_access_token_is_swapped_for_a_new_one_and_lives_on(api: Rig) -> None:
    first = await login(api)
    api.clock.now += 3600
    swapped = await refresh(api, first["token"])
    assert swapped.status == 200
    assert swapped.body.keys() == {"token", "expires_at"}
    assert swapped.body["token"] != first["token"]
    assert dt.datetime.fromisoformat(swapped.body["expires_at"]).timestamp() == int(EPOCH) + 3600 + DAY
    assert await allowed(api, first["token"])
    assert await allowed(api, swapped.body["token"])


async def test_refreshing_ends_thirty_days_after_the_login(api: Rig) -> None:
    held = await login(api)
    for _ in range(30):
        api.clock.now += DAY - 60
        held = (await refresh(api, held["token"])).body
    assert dt.datetime.fromisoformat(held["expires_at"]).timestamp() == int(EPOCH) + 30 * DAY
    api.clock.now = EPOCH + 30 * DAY
    assert (await refresh(api, held["token"])).error == "token_expired"


@pytest.mark.parametrize("way", ["bearer", "body"])
async def test_a_refresh_token_rotates(api: Rig, way: str) -> None:
    first = await login(api)
    given = first["refresh_token"]
    second = await (refresh(api, given) if way == "bearer" else api.post("/v1/auth/refresh", {"refresh_token": given}))
    assert second.status == 200
    assert second.body.keys() == {"token", "expires_at", "refresh_token"}
    assert second.body["refresh_token"] != given
    assert await allowed(api, second.body["token"])


async def test_the_previous_refresh_token_may_be_repeated_for_ten_seconds(api: Rig) -> None:
    first = (await login(api))["refresh_token"]
    second = (await refresh(api, first)).body["refresh_token"]
    api.clock.now += GRACE - 1
    again = await refresh(api, first)
    assert again.status == 200
    assert again.body["refresh_token"] == second
    assert (await refresh(api, second)).status == 200


@pytest.mark.parametrize("late", [True, False])
async def test_an_older_refresh_token_revokes_its_whole_family(api: Rig, *, late: bool) -> None:
    first = await login(api)
    second = (await refresh(api, first["refresh_token"])).body
    api.clock.now += GRACE + 1 if late else 0
    if not late:
        second = (await refresh(api, second["refresh_token"])).body
    stolen = await refresh(api, first["refresh_token"])
    assert (stolen.status, stolen.error) == (401, "token_invalid")
    assert not await allowed(api, first["token"])
    assert not await allowed(api, second["token"])
    assert (await refresh(api, second["refresh_token"])).status == 401
    assert (await refresh(api, second["token"])).status == 401
    assert await allowed(api, (await login(api))["token"]), "another login is another family"


@pytest.mark.parametrize("token", ["", "rt_", "rt_1", "rt_" + "0" * 32 + "_0_" + "0" * 64])
async def test_no_other_refresh_token_is_one(api: Rig, token: str) -> None:
    reply = await refresh(api, token)
    assert (reply.status, reply.error) == (401, "token_invalid")
    assert not await allowed(api, token or "rt_")


async def test_a_refresh_token_of_another_number_is_none(api: Rig) -> None:
    kind, session, number, mac = (await login(api))["refresh_token"].split("_")
    assert (await refresh(api, f"{kind}_{session}_{int(number) + 1}_{mac}")).status == 401


async def test_after_logout_nothing_of_the_login_is_good(api: Rig) -> None:
    first = await login(api)
    second = (await refresh(api, first["token"])).body
    assert (await api.post("/v1/auth/logout", token=second["token"])).status == 200
    assert not await allowed(api, first["token"])
    assert not await allowed(api, second["token"])
    assert (await refresh(api, first["refresh_token"])).status == 401
    assert await allowed(api, api.token)


async def test_a_logout_elsewhere_is_known_after_the_next_look(api: Rig) -> None:
    token = (await login(api))["token"]
    assert await allowed(api, token)
    await api.sessions.revoke(api.parts.gate.keys.read(token).sid)
    await api.parts.pulse.look()
    assert not await allowed(api, token)


async def test_a_session_of_a_password_that_this_process_has_not_heard_of_is_refreshed(api: Rig) -> None:
    """Logged in elsewhere, right after a change of the password."""
    credential = await api.parts.vault.put("password", await api.parts.passwords.hashed("another"))
    api.log._bell.ring = lambda _=0: None  # type: ignore[method-assign,assignment] # nobody tells the view
    await api.log.append(Append((UserPasswordChanged("admin", credential),)))
    begun = Session(tokens.new_session(), "admin", "", EPOCH + DAY, credential)
    await api.sessions.open(begun)
    assert api.parts.view.state.users["admin"].credential != credential
    held = api.parts.gate.keys.refresh_token(tokens.Refresh(begun.id, 0))
    assert (await refresh(api, held)).status == 200


# ── ACL tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_acl_token_works_in_both_headers_and_for_a_login(api: Rig) -> None:
    made = await api.post("/v1/acl/tokens", {"name": "ci", "roles": ["deployer"]})
    assert made.status == 201
    shown = made.body
    secret = shown.pop("secret")
    assert secret.startswith("ht_")
    assert await allowed(api, secret)
    assert (await api.get("/v1/jobs", token="", headers={"x-heroctl-token": secret})).status == 200
    begun = await api.post("/v1/auth/login", {"acl_token": secret}, token="")
    assert begun.status == 200
    assert await allowed(api, begun.body["token"])
    listed = (await api.get("/v1/acl/tokens")).body
    assert listed == [shown | {"last_used_at": shown["created_at"]}]
    whose = {"id": shown["id"], "name": "ci", "kind": "user", "user": "admin", "roles": ["deployer"]}
    limits = {"namespaces": ["*"], "jobs": ["*"], "expires_at": None}
    assert shown == whose | limits | {"created_at": shown["created_at"], "last_used_at": None}


async def test_a_deleted_acl_token_ends_what_was_made_of_it(api: Rig) -> None:
    secret = await api.role("viewer")
    begun = (await api.post("/v1/auth/login", {"acl_token": secret}, token="")).body
    swapped = (await refresh(api, begun["token"])).body
    for token in (secret, begun["token"], swapped["token"]):
        assert await allowed(api, token)
    assert (await api.do("DELETE", f"/v1/acl/tokens/{secret.split('_')[1]}")).status == 200
    for token in (secret, begun["token"], swapped["token"]):
        assert not await allowed(api, token)
    assert (await refresh(api, begun["refresh_token"])).status == 401
    assert (await api.get("/v1/acl/tokens")).body == []
    assert (await api.do("DELETE", "/v1/acl/tokens/abc")).error == "token_not_found"


async def test_an_acl_token_ends_and_its_logins_with_it(api: Rig) -> None:
    secret = (await api.post("/v1/acl/tokens", {"name": "x", "roles": ["viewer"], "ttl": "1h"})).body["secret"]
    begun = (await api.post("/v1/auth/login", {"acl_token": secret}, token="")).body
    assert dt.datetime.fromisoformat(begun["expires_at"]).timestamp() == int(EPOCH) + 3600
    api.clock.now += 3599
    assert await allowed(api, secret)
    assert await allowed(api, begun["token"])
    api.clock.now += 1
    assert (await api.get("/v1/jobs", token=secret)).error == "token_expired"
    assert (await api.get("/v1/jobs", token=begun["token"])).error == "token_expired"


async def test_a_token_has_its_own_roles_and_not_its_users(api: Rig) -> None:
    secret = await api.role("viewer")
    begun = (await api.post("/v1/auth/login", {"acl_token": secret}, token="")).body["token"]
    for token in (secret, begun):
        assert (await api.post("/v1/jobs", {}, token=token)).error == "forbidden"


async def test_no_roles_no_rights(api: Rig) -> None:
    assert (await api.get("/v1/jobs", token=await api.role())).error == "forbidden"


async def test_a_token_for_nobody_is_refused(api: Rig) -> None:
    reply = await api.post("/v1/acl/tokens", {"name": "x", "roles": [], "user": "nobody"})
    assert (reply.status, reply.error) == (404, "user_not_found")


async def test_a_token_made_elsewhere_is_known_before_the_view_has_heard_of_it(api: Rig) -> None:
    """The view catches up once before an unknown token is refused."""
    api.log._bell.ring = lambda _=0: None  # type: ignore[method-assign,assignment] # nobody tells the view
    token, secret = tokens.new_id(), tokens.new_secret()
    credential = await api.parts.vault.put("token", tokens.hashed(secret))
    event = TokenCreated(id=token, name="n", user="admin", roles=("viewer",), credential=credential)
    before = api.parts.view.index
    await api.log.append(Append((event,)))
    assert api.parts.view.index == before
    assert await allowed(api, tokens.spell("ht", token, secret))


# ── what is no token ─────────────────────────────────────────────────────────────────────────────────────────────────


def key_of(api: Rig) -> bytes:
    return api.parts.gate.keys.all[-1].secret


def forged(api: Rig, **changes: Any) -> str:  # noqa: ANN401 - claims
    """A token signed with the right key whose claims are wrong."""
    claims = jwt.decode(api.token, options={"verify_signature": False, "verify_aud": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return tokens._signed(json.dumps(claims, separators=(",", ":")).encode(), key_of(api))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_token_that_is_none_is_refused_in_one_way(api: Rig) -> None:
    key = key_of(api)
    kid = tokens.key_id(key)
    header, claims, mac = api.token.split(".")
    now = int(EPOCH)
    plain = jwt.decode(api.token, options={"verify_signature": False, "verify_aud": False})
    for bad in (
        "",
        "x",
        "a.b.c",
        "." * 50,
        "x" * 10_000,
        f"{header}.{claims}.",
        f"{header}.{claims}.{mac[:-2]}AA",
        f"{header}.{part(plain | {'sub': 'root'})}.{mac}",
        f"{part({'alg': 'none', 'typ': 'JWT', 'kid': kid})}.{claims}.",
        f"{part({'alg': 'HS512', 'typ': 'JWT', 'kid': kid})}.{claims}.{mac}",
        f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{claims}.{mac}",
        jwt.encode(plain, key * 2, "HS512", headers={"kid": kid}),
        jwt.encode(plain, key, "HS256", headers={"kid": "../../etc/passwd"}),
        jwt.encode(plain, key, "HS256", headers={"kid": "' OR 1=1 --"}),
        jwt.encode(plain, key, "HS256", headers={"kid": kid, "crit": ["exp"]}),
        jwt.encode(plain, b"0" * 32, "HS256", headers={"kid": kid}),
        jwt.encode(plain, b"0" * 32, "HS256", headers={"kid": kid, "jwk": {"kty": "oct", "k": "MDAw"}}),
        forged(api, sub="nobody"),
        forged(api, sub=None),
        forged(api, exp=None),
        forged(api, exp="never"),
        forged(api, iat=now + 60),
        forged(api, tok="0123456789abcdef"),
        "ht_0123456789abcdef_" + "0" * 64,
        "hn_0123456789abcdef_" + "0" * 64,
        "hj_0123456789abcdef_" + "0" * 64,
    ):
        reply = await api.get("/v1/jobs", token=bad or "", headers={} if bad else {"authorization": "Bearer"})
        assert (reply.status, reply.error) == (401, "token_invalid"), bad
        assert reply.headers["www-authenticate"] == "Bearer"
    for header_value in ("Basic YWRtaW46YWRtaW4=", f"bearer{api.token}", f"Token {api.token}", "Bearer \xff"):
        reply = await api.get("/v1/jobs", token="", headers={"authorization": header_value})
        assert (reply.status, reply.error) == (401, "token_invalid"), header_value


async def test_a_clock_that_is_seconds_ahead_is_no_harm(api: Rig) -> None:
    assert await allowed(api, forged(api, iat=int(EPOCH) + 4))


async def test_a_token_expires_to_the_second(api: Rig) -> None:
    api.clock.now = int(EPOCH) + DAY - 1
    assert await allowed(api, api.token)
    api.clock.now = int(EPOCH) + DAY
    reply = await api.get("/v1/jobs")
    assert (reply.status, reply.error) == (401, "token_expired")


async def test_the_word_bearer_is_read_in_any_case(api: Rig) -> None:
    for word in ("Bearer", "bearer", "BEARER"):
        assert (await api.get("/v1/jobs", token="", headers={"authorization": f"{word} {api.token}"})).status == 200


# ── the first start ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_only_one_process_makes_the_admin(api: Rig) -> None:
    parts = api.parts
    assert await bootstrap.first_admin(api.log, parts.view, parts.vault, parts.passwords) is None
    parts.view.state.users.clear()  # a process whose view has not heard of it yet
    assert await bootstrap.first_admin(api.log, parts.view, parts.vault, parts.passwords) is None
