"""Who may what, over real processes: the command line from a user to a deploy token, and rights that end elsewhere."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
import pytest

from heroctl.cli.__main__ import run
from tests.api.process import Api, api
from tests.api.specs import spec
from tests.waiting import until

SOON: Final = 5.0  # seconds in which every process knows


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def one(tmp_path: Path, postgres_dsn: str) -> Iterator[Api]:
    (tmp_path / "one").mkdir()
    with api(tmp_path / "one", postgres_dsn) as started:
        yield started


@pytest.fixture
def heroctl(one: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command against a real api, as its admin or with another `token`."""
    monkeypatch.setenv("HEROCTL_CONTEXTS", str(tmp_path / "contexts.toml"))
    monkeypatch.setenv("HEROCTL_ADDR", one.url)

    def go(*words: str, stdin: str = "", token: str = "") -> Said:
        monkeypatch.setenv("HEROCTL_TOKEN", token or one.token)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfd.readouterr()
        code = run(words)
        return Said(code, *capfd.readouterr())

    return go


POLICY: Final = """\
description: deploys of the shop
rules:
  - {resource: job, namespace: "shop-*", capabilities: [read, submit, scale]}
  - {resource: secret, namespace: "*", capabilities: []}
"""


def test_a_cluster_is_given_to_others_by_the_command_line(heroctl: Run, tmp_path: Path) -> None:
    def done(*words: str, stdin: str = "", token: str = "") -> Said:
        said = heroctl(*words, stdin=stdin, token=token)
        assert said.code == 0, said
        return said

    done("namespace", "create", "shop-a", "--description", "the first shop")
    assert done("namespace", "list", "-o", "name").out == "default\nshop-a\n"
    (tmp_path / "shop.yaml").write_text(POLICY)
    done("acl", "policy", "create", "shop", str(tmp_path / "shop.yaml"))
    assert "none: denied" in done("acl", "policy", "show", "shop").out
    done("acl", "policy", "update", "shop", "-", stdin=POLICY)
    done("acl", "role", "create", "shop-ci", "--policy", "shop")
    done("acl", "role", "update", "shop-ci", "--policy", "shop", "--policy", "viewer")
    assert "shop,viewer" in done("acl", "role", "show", "shop-ci").out
    made = done(
        "acl", "user", "create", "zoe", "--role", "shop-ci", "-n", "shop-a", "--password-stdin",
        stdin="a long enough one\n",
    )  # fmt: skip
    assert "user zoe is made: shop-ci in shop-a" in made.err
    assert "shop-ci" in done("acl", "user", "list").out
    done("acl", "user", "update", "zoe", "-n", "shop-*")
    token = done(
        "acl", "token", "create", "ci", "--role", "deployer", "-n", "shop-a", "--job", "web-*",
        "--kind", "service", "--ttl", "90d",
    )  # fmt: skip
    secret = token.out.strip()
    assert secret.startswith("ht_")
    assert secret not in token.err
    mine = done("acl", "self", token=secret).out
    assert "job:submit\tshop-a, jobs web-*" in mine
    [identity] = done("acl", "token", "list", "-o", "name").out.split()
    assert "deployer" in done("acl", "token", "show", identity).out
    refused = heroctl("acl", "user", "list", token=secret)
    assert refused.code == 1
    assert "heroctl acl self" in refused.err
    job = json.dumps(spec("web-a", {"count": 0}, namespace="shop-a"))
    assert heroctl("job", "run", "-", "--detach", stdin=job, token=secret).code == 0
    elsewhere = heroctl("job", "run", "-", "--detach", stdin=job.replace("shop-a", "default"), token=secret)
    assert "namespace_not_found" in elsewhere.err
    for words, hint in (
        (("namespace", "delete", "shop-a"), "remove its jobs first"),
        (("acl", "role", "delete", "shop-ci"), "heroctl acl user update"),
        (("acl", "policy", "delete", "shop"), "heroctl acl role update"),
        (("acl", "user", "delete", "admin"), "make another admin first"),
        (("acl", "user", "show", "nobody"), "heroctl acl user list"),
    ):
        said = heroctl(*words)
        assert said.code == 1
        assert hint in said.err, said
    done("acl", "user", "password", "zoe", "--password-stdin", stdin="another long one\n")
    done("acl", "token", "delete", identity)
    assert heroctl("acl", "self", token=secret).code == 1
    done("acl", "user", "delete", "zoe")
    done("acl", "role", "delete", "shop-ci")
    done("acl", "policy", "delete", "shop")
    assert heroctl("acl", "user", "create", "x", "--role", "viewer", "--password-stdin", stdin="").code == 1
    assert heroctl("acl", "user", "create", "x", "--password-stdin", stdin="a long enough one\n").code == 1


def test_ones_own_password_is_changed_on_the_command_line(heroctl: Run, one: Api) -> None:
    both = f"{one.password}\nanother long one\n"
    assert heroctl("acl", "password", "--password-stdin", stdin="not it\nanother long one\n").code == 1
    assert heroctl("acl", "password", "--password-stdin", stdin=both).code == 0
    one.ask("POST", "/v1/auth/login", {"username": "admin", "password": "another long one"}, token="")


def test_what_ends_on_one_process_ends_on_the_other_within_seconds(one: Api, tmp_path: Path, postgres_dsn: str) -> None:
    """A role that changes, a token that goes: the long poll that is open elsewhere ends, and says why."""
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "password").write_text(one.password)
    with api(tmp_path / "two", postgres_dsn) as two:
        rules = [{"resource": "job", "namespace": "*", "capabilities": ["read"]}]
        one.ask("POST", "/v1/acl/policies", {"name": "reader", "rules": rules}, status=201)
        one.ask("POST", "/v1/acl/roles", {"name": "reader", "policies": ["reader"]}, status=201)
        body = {"name": "t", "roles": ["reader"], "kind": "service"}
        made = one.ask("POST", "/v1/acl/tokens", body, status=201)
        ended = _polls(two, made["secret"])
        began = time.monotonic()
        one.ask("PUT", "/v1/acl/policies/reader", {"rules": []})
        assert ended()["error"] == "forbidden"
        assert time.monotonic() - began < SOON
        one.ask("PUT", "/v1/acl/policies/reader", {"rules": rules})
        until(lambda: _status(two, made["secret"]) == 200, timeout=SOON)
        ended = _polls(two, made["secret"])
        began = time.monotonic()
        one.ask("DELETE", f"/v1/acl/tokens/{made['id']}")
        assert ended()["error"] == "token_invalid"
        assert time.monotonic() - began < SOON
        assert _status(two, made["secret"]) == 401


def _polls(where: Api, token: str) -> Callable[[], Any]:
    """Begin a long poll; what is returned waits for its answer."""
    answer: list[Any] = []
    index = where.index("/v1/jobs")

    def ask() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{where.url}/v1/jobs?index={index}&wait=5m"
        answer.append(httpx2.get(url, headers=headers, timeout=60).json())

    assert _status(where, token) == 200
    thread = threading.Thread(target=ask)
    thread.start()

    def ended() -> Any:  # noqa: ANN401 - JSON
        thread.join(60)
        return answer[0]

    return ended


def _status(where: Api, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(f"{where.url}/v1/jobs", headers=headers, timeout=30).status_code
