"""Logging in, choosing among clusters, and keeping a session alive."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.cli import config as contexts_file
from heroctl.cli.config import Context, Contexts
from heroctl.cli.faults import Fault
from heroctl.cli.options import Scope, normalise, resolve
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal

GRANT = {"token": "jwt-1", "expires_at": "2026-03-02T12:00:00Z", "refresh_token": "rt_1"}


@pytest.fixture
def logged_in(heroctl: Run, api: FakeApi) -> FakeApi:
    api.act("POST", "/v1/auth/login", Reply(200, GRANT))
    words = ("login", api.address, "--username", "admin", "--password-stdin", "--context", "here")
    assert heroctl(*words, stdin="secret\n").code == 0
    return api


def test_login_sends_the_password_and_keeps_the_session_for_its_owner_alone(logged_in: FakeApi, config: Path) -> None:
    assert logged_in.requests[0].json() == {"username": "admin", "password": "secret"}
    kept = contexts_file.load(config)
    assert kept.current == "here"
    assert kept.contexts["here"] == Context(
        logged_in.address, "jwt-1", "rt_1", "2026-03-02T12:00:00Z", username="admin"
    )
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert "secret" not in config.read_text()


def test_login_again_needs_no_address(logged_in: FakeApi, heroctl: Run, config: Path) -> None:
    logged_in.act("POST", "/v1/auth/login", Reply(200, {**GRANT, "token": "jwt-2"}))
    assert heroctl("login", "-u", "admin", "--password-stdin", stdin="secret\n").code == 0
    assert contexts_file.load(config).contexts["here"].token == "jwt-2"


def test_an_acl_token_is_proven_and_kept_itself(heroctl: Run, api: FakeApi, config: Path) -> None:
    api.act("POST", "/v1/auth/login", Reply(200, GRANT))
    result = heroctl("login", api.address, "--token-stdin", stdin="ht_secret\n")
    assert (result.code, result.out) == (0, "")
    assert api.requests[0].json() == {"acl_token": "ht_secret"}
    assert contexts_file.load(config).contexts == {api.address.partition("://")[2]: Context(api.address, "ht_secret")}


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("--username", "admin", "--password-stdin"), "", "no password on stdin"),
        (("--token-stdin",), "", "no token on stdin"),
        (("--token-stdin", "--username", "x"), "t", "goes without a user name"),
        (("--password-stdin",), "x", "whose password?"),
        ((), "", "there is no terminal to ask on"),
    ],
)
def test_login_says_what_it_misses(heroctl: Run, api: FakeApi, words: tuple[str, ...], stdin: str, said: str) -> None:
    result = heroctl("login", api.address, *words, stdin=stdin)
    assert (result.code, said in result.err, api.requests) == (1, True, [])


def test_a_wrong_password_saves_nothing(heroctl: Run, api: FakeApi, config: Path) -> None:
    api.act("POST", "/v1/auth/login", refusal(401, "invalid_credentials", "user name or password are wrong"))
    result = heroctl("login", api.address, "-u", "admin", "--password-stdin", stdin="x\n")
    assert (result.code, "next: check the user name and the password" in result.err) == (1, True)
    assert not config.exists()


def test_a_session_that_ran_out_is_renewed_once_and_kept(logged_in: FakeApi, heroctl: Run, config: Path) -> None:
    logged_in.page("/v1/jobs", [])
    fresh = {"token": "jwt-2", "expires_at": "2026-03-03T12:00:00Z", "refresh_token": "rt_2"}
    logged_in.act("POST", "/v1/auth/refresh", Reply(200, fresh))
    expired = refusal(401, "token_expired", "the token has expired")
    logged_in.act("GET", "/v1/jobs", expired, Reply(200, []))
    assert heroctl("job", "list").code == 0
    assert [request.headers.get("Authorization") for request in logged_in.requests[1:]] == [
        "Bearer jwt-1",
        "Bearer rt_1",
        "Bearer jwt-2",
    ]
    kept = contexts_file.load(config).contexts["here"]
    assert (kept.token, kept.refresh_token, kept.expires_at) == ("jwt-2", "rt_2", "2026-03-03T12:00:00Z")


def test_a_session_that_cannot_be_renewed_asks_for_a_login(logged_in: FakeApi, heroctl: Run) -> None:
    logged_in.act("POST", "/v1/auth/refresh", refusal(401, "token_expired", "the session is over"))
    logged_in.act("GET", "/v1/jobs", refusal(401, "token_expired", "the token has expired"))
    result = heroctl("job", "list")
    assert (result.code, f"heroctl login {logged_in.address}" in result.err) == (1, True)


def test_contexts_are_listed_without_tokens_and_chosen_by_name(logged_in: FakeApi, heroctl: Run) -> None:
    heroctl("login", logged_in.address, "-u", "bob", "--password-stdin", "--context", "other", "-n", "shop", stdin="x")
    assert heroctl("context", "list").out == (
        "CURRENT\tNAME\tADDRESS\tUSER\tNAMESPACE\n"
        f"\there\t{logged_in.address}\tadmin\t\n"
        f"*\tother\t{logged_in.address}\tbob\tshop\n"
    )
    assert heroctl("context", "use", "here").code == 0
    current = [row["name"] for row in json.loads(heroctl("context", "list", "-o", "json").out) if row["current"]]
    assert current == ["here"]
    result = heroctl("context", "use", "nowhere")
    assert (result.code, "there is: here, other" in result.err) == (1, True)
    assert heroctl("context", "remove", "here").code == 0
    assert heroctl("context", "list", "-o", "name").out == "other\n"


def test_a_file_with_other_settings_is_not_overwritten(heroctl: Run, api: FakeApi, config: Path) -> None:
    config.parent.mkdir()
    config.write_text('[api]\nlisten = "127.0.0.1:8080"\n')
    api.act("POST", "/v1/auth/login", Reply(200, GRANT))
    result = heroctl("login", api.address, "--token-stdin", stdin="ht_x\n")
    assert (result.code, "holds other settings too (api)" in result.err) == (1, True)
    assert "[api]" in config.read_text()


@pytest.mark.parametrize("text", ["current = ", "current = 5", "\x00", "[contexts.a]\ntoken = 'x'"])
def test_a_broken_file_is_named(heroctl: Run, config: Path, text: str) -> None:
    config.parent.mkdir()
    config.write_text(text)
    result = heroctl("job", "list")
    assert (result.code, f"{config} is not a file of contexts" in result.err) == (1, True)


# ── what options, variables and contexts come to ─────────────────────────────────────────────────────────────────────

KNOWN = Contexts("a", {"a": Context("https://a", "ta", namespace="na"), "b": Context("https://b", "tb")})


@pytest.mark.parametrize(
    ("access", "environ", "expected"),
    [
        (Scope(), {}, ("https://a", "ta", "a", "na")),
        (Scope(context="b"), {}, ("https://b", "tb", "b", None)),
        (Scope(), {"HEROCTL_CONTEXT": "b"}, ("https://b", "tb", "b", None)),
        (Scope(), {"HEROCTL_ADDR": "https://b"}, ("https://b", "tb", "b", "na")),
        (Scope(), {"HEROCTL_ADDR": "https://c"}, ("https://c", "", "", "na")),
        (Scope(), {"HEROCTL_ADDR": "https://c", "HEROCTL_TOKEN": "t"}, ("https://c", "t", "HEROCTL_TOKEN", "na")),
        (Scope(context="b"), {"HEROCTL_ADDR": "https://c", "HEROCTL_TOKEN": "t"}, ("https://b", "tb", "b", None)),
        (Scope(address="https://c", token="t"), {"HEROCTL_TOKEN": "x"}, ("https://c", "t", "--token", "na")),
        (Scope(address="https://c"), {}, ("https://c", "", "", "na")),
        (Scope(namespace="n"), {"HEROCTL_NAMESPACE": "m"}, ("https://a", "ta", "a", "n")),
    ],
)
def test_a_flag_wins_over_a_variable_over_the_context(
    access: Scope, environ: dict[str, str], expected: tuple[str, str, str, str | None]
) -> None:
    target = resolve(access, environ, KNOWN)
    assert (target.address, target.token, target.origin, target.namespace) == expected


def test_an_unknown_context_is_said() -> None:
    with pytest.raises(Fault, match="there is no context 'x'"):
        resolve(Scope(context="x"), {}, KNOWN)


@pytest.mark.parametrize(
    ("given_", "complete"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost"),
        ("[::1]:80", "http://[::1]:80"),
        ("manage.example.com", "https://manage.example.com"),
        ("10.0.0.1:8080", "https://10.0.0.1:8080"),
        ("HTTPS://Manage.example.com/v1/", "https://Manage.example.com"),
        ("https://example.com/heroctl/", "https://example.com/heroctl"),
    ],
)
def test_addresses_are_completed(given_: str, complete: str) -> None:
    assert normalise(given_) == complete
    assert normalise(complete) == complete


texts = st.text(st.characters(codec="utf-8"), max_size=20)
made = st.builds(Context, texts, texts, texts, texts, texts)


@given(st.dictionaries(texts, made, max_size=3))
def test_any_text_survives_the_file(tmp_path_factory: pytest.TempPathFactory, contexts: dict[str, Context]) -> None:
    place = tmp_path_factory.mktemp("contexts") / "config.toml"
    with contexts_file.changing(place) as kept:
        kept.update(contexts)
    loaded = contexts_file.load(place).contexts
    assert msgspec.to_builtins(loaded) == msgspec.to_builtins(contexts)


# ── renewing early, and logging out ──────────────────────────────────────────────────────────────────────────────────


def ends_in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def ending(heroctl: Run, api: FakeApi) -> FakeApi:
    """Logged in, with a token that ends within minutes."""
    api.act("POST", "/v1/auth/login", Reply(200, {**GRANT, "expires_at": ends_in(300)}))
    words = ("login", "--url", api.address, "--user", "admin", "--password-stdin", "--context", "here")
    assert heroctl(*words, stdin="secret\n").code == 0
    api.page("/v1/jobs", [])
    return api


def test_a_token_is_renewed_by_itself_before_its_end_and_nothing_rotates(
    ending: FakeApi, heroctl: Run, config: Path
) -> None:
    ending.act("POST", "/v1/auth/refresh", Reply(200, {"token": "jwt-2", "expires_at": ends_in(86_400)}))
    for _ in range(2):
        assert heroctl("job", "list").code == 0
    sent = [(request.path, request.headers.get("Authorization")) for request in ending.requests[1:]]
    assert sent == [("/v1/auth/refresh", "Bearer jwt-1"), *[("/v1/jobs", "Bearer jwt-2")] * 2]
    kept = contexts_file.load(config).contexts["here"]
    assert (kept.token, kept.refresh_token) == ("jwt-2", "rt_1")


def test_where_it_cannot_be_renewed_early_it_serves_to_its_end(ending: FakeApi, heroctl: Run) -> None:
    ending.act("POST", "/v1/auth/refresh", refusal(401, "token_invalid", "no"))
    assert heroctl("job", "list").code == 0
    assert ending.asked("GET", "/v1/jobs")[0].headers["Authorization"] == "Bearer jwt-1"


def test_many_at_once_renew_once(ending: FakeApi, config: Path) -> None:
    ending.act("POST", "/v1/auth/refresh", Reply(200, {"token": "jwt-2", "expires_at": ends_in(86_400)}))
    command = [sys.executable, "-P", "-m", "heroctl.cli", "job", "list"]
    environ = {**os.environ, "HEROCTL_CONTEXTS": str(config)}
    started = [subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) for _ in range(6)]
    assert [each.wait(60) for each in started] == [0] * 6
    assert len(ending.asked("POST", "/v1/auth/refresh")) == 1
    assert {request.headers["Authorization"] for request in ending.asked("GET", "/v1/jobs")} == {"Bearer jwt-2"}


def test_logout_ends_the_session_and_keeps_the_address(logged_in: FakeApi, heroctl: Run, config: Path) -> None:
    logged_in.act("POST", "/v1/auth/logout", Reply(200, {"session": "ended"}))
    assert heroctl("logout").code == 0
    assert logged_in.requests[-1].headers["Authorization"] == "Bearer jwt-1"
    assert contexts_file.load(config).contexts["here"] == Context(logged_in.address, username="admin")
    again = heroctl("logout")
    assert (again.code, "nobody is logged in to here" in again.err) == (1, True)


def test_logout_of_a_token_that_ran_out_ends_its_session_too(logged_in: FakeApi, heroctl: Run) -> None:
    expired = refusal(401, "token_expired", "the token has expired")
    logged_in.act("POST", "/v1/auth/logout", expired, Reply(200, {"session": "ended"}))
    logged_in.act("POST", "/v1/auth/refresh", Reply(200, {**GRANT, "token": "jwt-2"}))
    assert heroctl("logout").code == 0
    sent = [request.headers["Authorization"] for request in logged_in.requests[1:]]
    assert sent == ["Bearer jwt-1", "Bearer rt_1", "Bearer jwt-2"]


def test_logout_that_reaches_nobody_forgets_nothing(logged_in: FakeApi, heroctl: Run, config: Path) -> None:
    logged_in.act("POST", "/v1/auth/logout", refusal(500, "internal", "oh"))
    assert heroctl("logout").code == 1
    assert contexts_file.load(config).contexts["here"].token == "jwt-1"


def test_logout_of_an_acl_token_only_forgets_it(heroctl: Run, api: FakeApi, config: Path) -> None:
    api.act("POST", "/v1/auth/login", Reply(200, GRANT))
    heroctl("login", api.address, "--token-stdin", "--context", "ci", stdin="ht_secret\n")
    result = heroctl("logout", "--context", "ci")
    assert (result.code, "forgot the ACL token" in result.err) == (0, True)
    assert not api.asked("POST", "/v1/auth/logout")
    assert "ht_secret" not in config.read_text()


def test_a_context_is_shown_without_its_token_and_deleted(logged_in: FakeApi, heroctl: Run) -> None:
    shown = heroctl("context", "show")
    assert shown.out == (
        f"Name\there\nAddress\t{logged_in.address}\nUser\tadmin\nLogin\tsession\nToken ends\t2026-03-02T12:00:00Z\n"
    )
    assert heroctl("context", "show", "nowhere").code == 1
    assert heroctl("context", "delete", "here").code == 0
    assert heroctl("context", "show").code == 1


def test_a_password_is_never_taken_from_the_command_line(heroctl: Run, api: FakeApi) -> None:
    for flag in ("--password", "--token", "--acl-token"):
        assert heroctl("login", api.address, "--user", "admin", flag, "secret").code == 1
    assert not api.requests
