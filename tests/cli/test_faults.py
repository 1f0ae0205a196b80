"""Every way not to get an answer says what happened and what to do next, in one line each."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path

import pytest

from heroctl.cli.faults import Caller, refused
from tests import house
from tests.cli.certificate import make
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal
from tests.servers import free_port


def errors(result_err: str) -> str:
    assert "Traceback" not in result_err
    return result_err


def test_nobody_listens(heroctl: Run) -> None:
    port = free_port()
    result = heroctl("job", "list", "--address", f"127.0.0.1:{port}")
    assert result.code == 1
    assert errors(result.err) == (
        f"error: nothing listens at http://127.0.0.1:{port} (connection refused)\n"
        "  next: start a cluster on this machine: heroctl dev\n"
        "  next: or name another: heroctl login ADDR (--address, HEROCTL_ADDR or the context)\n"
    )


def test_no_cluster_is_chosen(heroctl: Run) -> None:
    result = heroctl("job", "list")
    assert (result.code, result.err.splitlines()[0]) == (1, "error: no cluster is chosen")


def test_a_name_that_nobody_knows(heroctl: Run) -> None:
    result = heroctl("job", "list", "--address", "https://nowhere.invalid")
    assert (result.code, "the name nowhere.invalid cannot be resolved" in errors(result.err)) == (1, True)


@pytest.mark.parametrize("address", ["ftp://x", "http://", "https://user:pw@host", ":80", "http://a b"])
def test_no_address_at_all(heroctl: Run, address: str) -> None:
    result = heroctl("job", "list", "--address", address)
    assert (result.code, "is no address of an API" in errors(result.err)) == (1, True)


def test_a_missing_job(heroctl_here: Run, api: FakeApi) -> None:
    api.answer("/v1/jobs/foo", refusal(404, "job_not_found", "job 'foo' does not exist"))
    assert heroctl_here("job", "status", "foo") == (
        1,
        "",
        """\
error: job 'foo' does not exist
  code: job_not_found (HTTP 404)
  request: req_test
  next: see what there is: heroctl job list
""",
    )


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            refusal(403, "forbidden", "this needs job:purge"),
            "next: see what you may: heroctl acl self; ask an admin for a role that allows this",
        ),
        (
            refusal(409, "index_conflict", "it moved"),
            "next: somebody was faster: heroctl job plan FILE, then decide again",
        ),
        (refusal(500, "internal", "it broke"), "next: report it with the request id"),
        (
            Reply(200, raw=b"<html>", headers={"Content-Type": "text/html"}),
            "not as a HeroCtl API (HTTP 200, text/html)",
        ),
        (Reply(502, raw=b"bad gateway", headers={"Content-Type": "text/plain"}), "a proxy in front of the API"),
        (Reply(301, raw=b"", headers={"Location": "https://elsewhere/"}), "it sends us to https://elsewhere/"),
        (Reply(200, raw=b'{"name": 1'), "cannot be read"),
        (Reply(200, {"jobs": []}), "cannot be read"),
    ],
)
def test_what_an_answer_means(heroctl_here: Run, api: FakeApi, reply: Reply, said: str) -> None:
    api.answer("/v1/jobs", reply)
    result = heroctl_here("job", "list")
    assert (result.code, result.out) == (1, "")
    assert said in errors(result.err)


def test_401_names_where_the_token_came_from(heroctl_here: Run, heroctl: Run, api: FakeApi, config: Path) -> None:
    api.answer("/v1/jobs", refusal(401, "token_invalid", "send a valid token"))
    assert "the token in HEROCTL_TOKEN is wrong, expired or revoked" in heroctl_here("job", "list").err
    assert "the token in --token is wrong" in heroctl_here("job", "list", "--token", "x").err
    config.parent.mkdir()
    config.write_text(f'current = "c"\n[contexts.c]\naddress = "{api.address}"\ntoken = "old"\n')
    result = heroctl("job", "list", "--context", "c")
    assert f"the session of context c is over: heroctl login {api.address}" in result.err
    config.write_text(f'current = "c"\n[contexts.c]\naddress = "{api.address}"\n')
    assert f"log in first: heroctl login {api.address}" in heroctl("job", "list", "--context", "c").err


def test_plain_http_where_tls_was_expected(heroctl: Run, api: FakeApi) -> None:
    address = api.address.replace("http://", "https://")
    result = heroctl("job", "list", "--address", address)
    assert result.code == 1
    assert f"if it speaks plain HTTP: heroctl login {api.address}" in errors(result.err)


def test_a_certificate_that_nobody_vouches_for(heroctl: Run, tls_server: tuple[str, Path]) -> None:
    address, authority = tls_server
    result = heroctl("job", "list", "--address", address)
    assert result.code == 1
    assert "is not trusted" in errors(result.err)
    assert f"heroctl login {address} --ca-cert FILE" in result.err
    trusted = heroctl("job", "list", "--address", address, "--ca-cert", str(authority))
    assert trusted.out == "NAME\tNAMESPACE\tSTATUS\tVERSION\tHEALTHY\tDEPLOYMENT\tUPDATED\n"


def test_a_ca_file_that_is_none(heroctl: Run, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    result = heroctl("job", "list", "--address", "https://127.0.0.1:1", "--ca-cert", str(tmp_path / "ca.pem"))
    assert (result.code, "is no PEM file of certificates" in errors(result.err)) == (1, True)


def test_a_server_that_hangs_up(heroctl: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = heroctl("job", "list", "--address", f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert (result.code, "broke" in errors(result.err), "if it speaks TLS" in result.err) == (1, True, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("job", "lst"), 'Did you mean "list"?'),
        (("job", "run"), "FILE requires an argument"),
        (("job", "list", "--colour"), "Unknown option"),
        (("job", "list", "-o", "xml"), "Choose from"),
        (("jobs",), 'Did you mean "job"?'),
    ],
)
def test_bad_usage_is_1_with_a_hint(heroctl: Run, words: tuple[str, ...], said: str) -> None:
    result = heroctl(*words)
    assert (result.code, result.out) == (1, "")
    assert said in errors(result.err)
    assert "--help" in result.err


@pytest.fixture
def tls_server(api: FakeApi, tmp_path: Path) -> tuple[str, Path]:
    """The fake API behind a certificate of its own making."""
    certificate = make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    api.page("/v1/jobs", [])
    api.wrap(context)
    return api.address.replace("http://", "https://"), certificate


def test_every_refusal_of_the_api_says_what_to_do_next() -> None:
    for status in (400, 401, 403, 404, 405, 408, 409, 410, 413, 422, 429, 500, 502, 503, 504):
        body = json.dumps({"error": "something", "message": "no"}).encode()
        assert refused(status, body, Caller("https://there")).hints, status


def test_everything_that_goes_wrong_here_says_what_to_do_next() -> None:
    bare = [
        f"{house.name(file)}:{call.lineno}"
        for file in sorted((house.ROOT / "heroctl" / "cli").glob("*.py"))
        for call, called in house.calls(file)
        if called.rpartition(".")[2] in ("Fault", "Unreachable")
        and not any(word.arg == "hints" for word in call.keywords)
    ]
    assert bare == []
