"""Attacks on tokens: whatever is not, letter for letter, what was signed here is refused in one way."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api import tokens
from api.tokens import AUDIENCE, ISSUER, LIFE, MARGIN, Claims, Keys, Refresh, SigningKey
from heroctl.domain.errors import Unauthenticated
from tests.api.rig import EPOCH, Rig

KEY: Final = bytes.fromhex("8f1c6be3a9d40257c1e8f6329b7d5aa00e43d9f8b62c71e5d4a39087fc1b62ee")
OTHER: Final = bytes.fromhex("57d2f0c8a1b94e6337e0d8c5b2a69f1418cb70e3d5f2964a8b1c0e7d39a4f586")
NOW: Final = int(EPOCH)
CLAIMS: Final = Claims(sub="admin", sid="5" * 32, iat=NOW, exp=NOW + LIFE, end=NOW + 30 * LIFE, jti="1" * 16)
LETTERS: Final = "ABCXYZabcxyz0189-_.=+/!% \n\u0130\u0661"


def keys(now: float = EPOCH, *more: SigningKey) -> Keys:
    return Keys([*more, SigningKey(KEY)], lambda: now)


TOKEN: Final = keys().sign(CLAIMS)
REFRESH: Final = keys().refresh_token(Refresh("5" * 32, 7))


def refusal(token: str, known: Keys | None = None) -> str:
    with pytest.raises(Unauthenticated) as refused:
        (known or keys()).read(token)
    return refused.value.code


def spelled(payload: object) -> str:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(payload: object, header: dict[str, Any] | None = None, key: bytes = KEY) -> str:
    """Sign anything, under any header, as somebody who has a key of ours could."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()
    if header is None:
        return tokens._signed(raw, key)
    head = {"alg": "HS256", "kid": tokens.key_id(KEY), "typ": "JWT"} | header
    given = {name: value for name, value in head.items() if value is not None}
    text = f"{spelled(json.dumps(given, separators=(',', ':')).encode())}.{spelled(raw)}"
    mac = jwt.get_algorithm_by_name("HS256").sign(text.encode(), key)
    return f"{text}.{spelled(mac)}"


def said(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - claims
    """The claims of a good token, changed."""
    document = json.loads(base64.urlsafe_b64decode(TOKEN.split(".")[1] + "=="))
    return {name: value for name, value in (document | changes).items() if value is not None}


def test_a_good_token_says_what_it_was_made_to_say() -> None:
    assert keys().read(TOKEN) == CLAIMS
    assert signed(said()) == TOKEN
    assert signed(said(), {}) == TOKEN, "the attacks below begin with what would pass"
    standard = jwt.decode(TOKEN, KEY, ["HS256"], audience=AUDIENCE, issuer=ISSUER, options={"verify_exp": False})
    assert standard["sub"] == "admin"


def test_how_a_token_is_spelled_stays() -> None:
    """Processes of two releases read each other's tokens: this text must be good for as long as this key is."""
    assert TOKEN.split(".")[0] == "eyJhbGciOiJIUzI1NiIsImtpZCI6IjY0ZmRiNDBhYjI1NmU4NGMiLCJ0eXAiOiJKV1QifQ"


HEADERS: Final[list[dict[str, Any]]] = [
    {"alg": "none"},
    {"alg": "None"},
    {"alg": "HS384"},
    {"alg": "HS512"},
    {"alg": "RS256"},
    {"alg": "ES256"},
    {"alg": ["HS256"]},
    {"alg": None},
    {"typ": None},
    {"typ": "at+jwt"},
    {"kid": None},
    {"kid": "../../../../dev/null"},
    {"kid": "' OR '1'='1"},
    {"kid": ["a"]},
    {"kid": ""},
    {"kid": "0" * 16},
    {"kid": "\u0661" * 16},
    {"crit": ["exp"]},
    {"crit": ["b64"], "b64": False},
    {"b64": False},
    {"jwk": {"kty": "oct", "k": spelled(KEY)}},
    {"jku": "https://attacker.example/keys"},
    {"x5u": "https://attacker.example/cert"},
    {"x5c": ["MIIB"]},
    {"cty": "JWT"},
    {"zip": "DEF"},
]


@pytest.mark.parametrize("header", HEADERS, ids=json.dumps)
def test_only_our_own_header_is_read(header: dict[str, Any]) -> None:
    """Though it is signed with the right key."""
    assert refusal(signed(said(), header)) == "token_invalid"


@pytest.mark.parametrize("alg", ["HS384", "HS512"])
def test_another_algorithm_with_the_right_key_is_refused(alg: str) -> None:
    token = jwt.encode(said(), KEY * 2, alg, headers={"kid": tokens.key_id(KEY)})
    assert refusal(token) == "token_invalid"


def test_no_signature_is_none() -> None:
    head, payload, mac = TOKEN.split(".")
    for bad in (f"{head}.{payload}.", f"{head}.{payload}", head, f"{TOKEN}.", f"{TOKEN}.{mac}", f"{head}..{mac}", ""):
        assert refusal(bad) == "token_invalid", bad


PAYLOADS: Final[dict[str, object]] = {
    "no user": said(sub=None),
    "no session": said(sid=None),
    "no end": said(exp=None),
    "an end that is text": said(exp="never"),
    "an end that is no number": said(exp=True),
    "an end out of all bounds": said(exp=10**40),
    "a life too long": said(exp=NOW + LIFE + 1),
    "issued in the future": said(iat=NOW + 6, exp=NOW + LIFE),
    "not before": said(nbf=NOW + 6),
    "no issuer": said(iss=None),
    "another issuer": said(iss="https://other.example"),
    "another audience": said(aud="heroctl/v2"),
    "a list of audiences": said(aud=[AUDIENCE]),
    "a list": [said()],
    "text": "admin",
    "nothing": b"",
    "no JSON": b"{",
    "NaN": json.dumps(said()).replace(str(NOW), "NaN").encode(),
    "bad UTF-8": json.dumps(said()).encode().replace(b"admin", b"\xff\xfe"),
    "a claim twice": json.dumps(said()).replace('"sub": "admin"', '"sub": "eve", "sub": "admin"').encode(),
    "deep": b"[" * 3000,
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_claims_must_be_ours_though_rightly_signed(name: str) -> None:
    assert refusal(signed(PAYLOADS[name])) == "token_invalid"


def test_claims_that_a_newer_release_adds_are_passed_over() -> None:
    assert keys().read(signed(said(new={"a": 1}))) == CLAIMS


@pytest.mark.parametrize("change", [{"iat": NOW + 5}, {"nbf": NOW + 5}, {"nbf": NOW - 100}])
def test_a_clock_that_is_seconds_ahead_is_no_harm(change: dict[str, int]) -> None:
    assert keys().read(signed(said(**change))).sub == "admin"


def test_only_a_rightly_signed_token_is_called_expired() -> None:
    later = keys(NOW + LIFE)
    assert refusal(TOKEN, later) == "token_expired"
    assert refusal(signed(said(), key=OTHER), later) == "token_invalid"
    assert refusal(TOKEN[:-1], later) == "token_invalid"
    assert refusal(signed(said(iss="other")), later) == "token_invalid"


def test_a_huge_token_costs_nothing() -> None:
    for bad in (TOKEN + "x" * 10_000_000, "." * 10_000, signed(said(sub="a" * 4000))):
        assert refusal(bad) == "token_invalid"


# ── mutations ────────────────────────────────────────────────────────────────────────────────────────────────────────

Mutate = Callable[[str], str]


@st.composite
def mutations(draw: st.DrawFn) -> Mutate:
    """Change a text a little, anywhere."""
    at = draw(st.integers(0, 10**6))
    letter = draw(st.sampled_from(LETTERS))
    kind = draw(st.sampled_from(["put", "insert", "drop", "cut", "swap", "flip", "twice"]))

    def mutate(text: str) -> str:
        where = at % len(text)
        match kind:
            case "put":
                return text[:where] + letter + text[where + 1 :]
            case "insert":
                return text[:where] + letter + text[where:]
            case "drop":
                return text[:where] + text[where + 1 :]
            case "cut":
                return text[:where]
            case "swap":
                return text[:where] + text[where + 1 : where + 2] + text[where] + text[where + 2 :]
            case "flip":
                return text[:where] + text[where].swapcase() + text[where + 1 :]
            case _:
                return text[:where] + text[where:] * 2

    return mutate


@given(st.lists(mutations(), min_size=1, max_size=4))
@example([lambda text: text[:-1] + chr(ord(text[-1]) + 1)])  # bits that base64 leaves over
@example([lambda text: text[:-5] + "!" + text[-5:]])  # what base64 passes over
@example([lambda text: text + "="])
def test_no_mutation_of_a_good_token_passes(changes: list[Mutate]) -> None:
    access, rotating = TOKEN, REFRESH
    for change in changes:
        access, rotating = change(access or "x"), change(rotating or "x")
    if access != TOKEN:
        assert refusal(access) == "token_invalid"
    if rotating != REFRESH:
        assert _refresh(rotating) is None


def test_a_whole_refresh_token_is_read() -> None:
    assert _refresh(REFRESH) == Refresh("5" * 32, 7)


@pytest.mark.parametrize("number", ["07", "\u0667", "+7", "7 ", "-7"])
def test_another_spelling_of_the_same_number_is_none(number: str) -> None:
    assert _refresh(REFRESH.replace("_7_", f"_{number}_")) is None


def _refresh(token: str) -> Refresh | None:
    try:
        return keys().read_refresh(token)
    except Unauthenticated:
        return None


# ── more than one key ────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_keys_verify_and_the_newest_signs() -> None:
    both = keys(EPOCH, SigningKey(OTHER, retired=EPOCH - 10))
    old = signed(said(), key=OTHER)
    assert both.read(old) == CLAIMS
    assert both.sign(CLAIMS) == TOKEN
    assert both.read_refresh(Keys([SigningKey(OTHER)], lambda: EPOCH).refresh_token(Refresh("5" * 32, 1))) is not None
    assert refusal(old) == "token_invalid"


def test_a_retired_key_outlives_its_last_token_and_no_longer() -> None:
    """Whoever finds it later cannot write tokens with it, whatever times those say."""
    retired = SigningKey(OTHER, retired=EPOCH)
    late = EPOCH + LIFE + MARGIN + 1
    fresh = said(iat=int(late) - 10, exp=int(late) + 1000)
    assert refusal(signed(fresh, key=OTHER), keys(late, retired)) == "token_invalid"
    assert keys(late - 2, retired).read(signed(fresh, key=OTHER)).sub == "admin"


def test_what_may_be_signed_with_a_newer_key_is_told_from_what_cannot() -> None:
    assert keys().may_be_news(signed(said(), key=OTHER))
    assert not keys().may_be_news(TOKEN)
    for header in HEADERS:
        kid = header.get("kid", "0" * 16)
        news = header.keys() == {"kid"} and kid == "0" * 16
        assert keys().may_be_news(signed(said(), {"kid": kid} | header)) == news, header
    for junk in ("", "x", "." * 50, "\u0661" * len(TOKEN)):
        assert not keys().may_be_news(junk)


async def test_through_the_front_door(api: Rig) -> None:
    """The same of a running api: one status, one code, one message, whatever was wrong."""
    key = api.parts.gate.keys.all[-1].secret
    heard = set()
    for token in (
        *(signed(said(), header, key) for header in HEADERS if header.get("alg") is not None or "alg" not in header),
        *(signed(payload, key=key) for payload in PAYLOADS.values()),
        signed(said(sid="0" * 32, sub="nobody"), key=key),
        signed(said(sid="0" * 32, crd="0" * 32), key=key),
        "a" * 5000,
    ):
        reply = await api.get("/v1/jobs", token=token)
        heard.add((reply.status, reply.error, reply.body["message"], reply.headers["www-authenticate"]))
    assert heard == {(401, "token_invalid", "send a valid token: Authorization: Bearer <token>", "Bearer")}
