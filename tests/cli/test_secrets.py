"""`heroctl secret`: what it sends, where a value comes from and goes to, and that nobody else sees one."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest

from heroctl.cli.__main__ import run
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request, refusal

VALUE: Final = "s3nh@-forte"
MADE: Final = Reply(201, {"name": "db", "namespace": "default", "version": 1, "index": 7}, 7)


def version(number: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a shape
    return {
        "version": number,
        "action": "update",
        "of": None,
        "by": "user:admin",
        "created_at": "2026-03-01T12:00:00.000Z",
        "index": number,
        **more,
    }


def shown(value: bytes, encoding: str | None = None) -> Reply:
    text = base64.b64encode(value).decode() if encoding else value.decode()
    return Reply(200, {"name": "db", "namespace": "default", "version": 1, "value": text, "encoding": encoding}, 7)


def sent(api: FakeApi) -> bytes:
    [asked] = api.asked("POST", "/v1/secrets")
    body = asked.json()
    assert (body["name"], body["encoding"]) == ("db", "base64")
    return base64.b64decode(body["value"])


def test_a_value_comes_from_stdin_or_a_file_just_as_it_is(heroctl_here: Run, api: FakeApi, tmp_path: Path) -> None:
    api.act("POST", "/v1/secrets", MADE, MADE)
    result = heroctl_here("secret", "create", "db", "--from-stdin", stdin=VALUE)
    assert result == (0, "", "secret db is made\n")
    assert sent(api) == VALUE.encode()
    raw = b"\xff\0\n" + VALUE.encode()
    (tmp_path / "key").write_bytes(raw)
    api.requests.clear()
    assert heroctl_here("secret", "create", "db", "--from-file", str(tmp_path / "key"), "-n", "shop").code == 0
    assert sent(api) == raw
    assert api.requests[-1].query == {"namespace": "shop"}


def test_a_line_break_at_the_end_is_kept_and_told(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/secrets", MADE)
    result = heroctl_here("secret", "create", "db", "--from-stdin", stdin=f"{VALUE}\n")
    assert "the value ends with a line break" in result.err
    assert sent(api) == f"{VALUE}\n".encode()


def test_a_literal_is_taken_and_its_help_warns(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/secrets", Reply(200, {"name": "db", "version": 4}, 7))
    assert heroctl_here("secret", "create", "db", "--from-literal", "-x").err == "secret db is at version 4\n"
    assert sent(api) == b"-x"
    assert "others on this machine can read it" in " ".join(heroctl_here("secret", "create", "--help").out.split())


def test_somebody_at_a_terminal_is_asked_twice(
    heroctl_here: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.act("POST", "/v1/secrets", MADE)
    answers = [VALUE, "other", VALUE, VALUE]
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    assert "two different values" in heroctl_here("secret", "create", "db", typed=True).err
    assert heroctl_here("secret", "create", "db", typed=True).code == 0
    assert sent(api) == VALUE.encode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is no terminal to ask for the value on"),
        (("--from-stdin", "--from-literal", "x"), "a value comes from one place"),
        (("--from-file", "/nothing/here"), "cannot be read: No such file"),
    ],
)
def test_without_a_value_nothing_is_sent(heroctl_here: Run, api: FakeApi, words: tuple[str, ...], said: str) -> None:
    result = heroctl_here("secret", "create", "db", *words)
    assert (result.code, said in result.err, api.requests) == (1, True, [])


def test_what_is_too_large_is_not_sent(heroctl_here: Run, api: FakeApi) -> None:
    result = heroctl_here("secret", "create", "db", "--from-stdin", stdin="x" * ((64 << 10) + 1))
    assert (result.code, "at most 65536 bytes" in result.err, api.requests) == (1, True, [])


@pytest.mark.parametrize("value", [VALUE.encode(), b"two\nlines\n", b""])
def test_get_prints_the_bare_value_into_a_pipe(heroctl_here: Run, api: FakeApi, value: bytes) -> None:
    api.act("GET", "/v1/secrets/db", shown(value))
    assert heroctl_here("secret", "get", "db") == (0, value.decode(), "")


@pytest.mark.usefixtures("config")
def test_get_gives_binary_back_byte_for_byte(
    api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEROCTL_ADDR", api.address)
    monkeypatch.setenv("HEROCTL_TOKEN", "ht_test")
    api.act("GET", "/v1/secrets/db", shown(b"\xff\0\n\x1b[2J", "base64"))
    assert run(("secret", "get", "db", "--version", "3")) == 0
    assert capfdbinary.readouterr().out == b"\xff\0\n\x1b[2J"
    assert api.requests[-1].query == {"version": "3"}


def test_get_steers_no_terminal(heroctl_here: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    api.act("GET", "/v1/secrets/db", shown(b"\x1b[2Jx"), shown(b"plain"))
    refused = heroctl_here("secret", "get", "db")
    assert (refused.code, refused.out) == (1, "")
    assert "heroctl secret get db > FILE" in refused.err
    assert heroctl_here("secret", "get", "db").out == "plain\n"


def test_lists_have_names_and_numbers(heroctl_here: Run, api: FakeApi) -> None:
    item = {"name": "db", "namespace": "default", "version": 3, "versions": 2, "updated_at": "2026-03-01T12:00:00Z"}
    api.page("/v1/secrets", [item])
    assert heroctl_here("secret", "list").out.splitlines() == [
        "NAME\tNAMESPACE\tVERSION\tKEPT\tUPDATED",
        "db\tdefault\t3\t2\t2026-03-01T12:00:00Z",
    ]
    assert heroctl_here("secret", "list", "-o", "name").out == "db\n"


def test_describe_tells_versions_and_who_uses_it(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/secrets/db/versions", [version(2, action="rollback", of=1), version(1, action="create")])
    api.page("/v1/secrets/db/jobs", [{"job": "web", "namespace": "default", "version": 5, "secret_version": 1}])
    told = heroctl_here("secret", "describe", "db").out
    assert "2\trollback of 1\tuser:admin\t2026-03-01T12:00:00Z" in told
    assert "web\t5\t1\tan earlier one" in told
    whole = json.loads(heroctl_here("secret", "describe", "db", "-o", "json").out)
    assert (whole["name"], whole["jobs"][0]["job"], whole["versions"][0]["of"]) == ("db", "web", 1)
    assert heroctl_here("secret", "history", "db", "-o", "name").out == "2\n1\n"


def test_describe_does_without_jobs_that_one_may_not_list(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/secrets/db/versions", [version(1)])
    api.act("GET", "/v1/secrets/db/jobs", refusal(403, "forbidden", "you may not"))
    assert "no job that is to run" in heroctl_here("secret", "describe", "db").out


def test_rollback_and_delete(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/secrets/db/rollback", Reply(200, {"version": 4}, 9), Reply(200, {"version": 5}, 9))
    assert heroctl_here("secret", "rollback", "db", "2").err == "secret db is at version 4, which repeats version 2\n"
    assert "which repeats the version before" in heroctl_here("secret", "rollback", "db").err
    assert [asked.json() for asked in api.asked("POST", "/v1/secrets/db/rollback")] == [{"version": 2}, {}]
    pinned = refusal(409, "secret_pinned", "secret 'db' is used by web: change or stop these first")
    api.act("DELETE", "/v1/secrets/db", pinned, Reply(200, {"index": 9, "name": "db"}, 9))
    refused = heroctl_here("secret", "delete", "db")
    assert (refused.code, "used by web" in refused.err) == (1, True)
    assert "next: who needs it: heroctl secret describe NAME" in refused.err
    assert heroctl_here("secret", "delete", "db", "--force").err == "secret db is deleted, with all its versions\n"
    assert [asked.query for asked in api.asked("DELETE", "/v1/secrets/db")] == [{}, {"force": "true"}]


def test_rekey_goes_on_until_it_is_done_and_says_which_keys_may_go(heroctl_here: Run, api: FakeApi) -> None:
    def told(rewrapped: int, left: int, *unneeded: dict[str, Any]) -> Reply:
        body = {"key": "k2", "rewrapped": rewrapped, "left": left, "lost": 0, "done": not left, "unneeded": unneeded}
        return Reply(200, body, 9)

    lost = refusal(409, "already_done", "this was done before")
    steps = [told(100, 50), lost, told(50, 0, {"id": "k1", "position": 1}, {"id": "k0", "position": None})]
    keys: list[str] = []

    def step(request: Request) -> Reply:
        keys.append(request.headers["Idempotency-Key"])
        return steps.pop(0)

    api.act("POST", "/v1/secrets/rekey", step)
    result = heroctl_here("secret", "rekey")
    assert (result.code, len(set(keys))) == (0, 3)
    assert result.err.splitlines() == [
        "100 values are sealed anew, 50 are left",
        "all values are sealed with key k2; 150 were sealed anew",
        "needed no more, but for backups of before: k1, key 1 of this API's",
        "needed no more, but for backups of before: k0, a key that this API has not",
    ]


def test_an_api_without_a_key_is_not_waited_for(heroctl_here: Run, api: FakeApi) -> None:
    message = "this api has no master key for secrets: give it one by --secrets-key-file"
    api.act("POST", "/v1/secrets", refusal(503, "secrets_not_configured", message, retry_after="300"))
    result = heroctl_here("secret", "create", "db", "--from-literal", "x")
    assert (result.code, message in result.err, len(api.requests)) == (1, True, 1)
