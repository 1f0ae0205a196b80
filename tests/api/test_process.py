"""The api as a process: starting, serving under load, ending in time, and living with parts that are away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest
import redis

from eventstore.migrate import migrate
from heroctl.domain.assignment import ring_stream
from tests import servers
from tests.api.process import Api, api, watch
from tests.api.specs import spec
from tests.e2e.parts import Part
from tests.waiting import eventually, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def made(tmp_path: Path, postgres_dsn: str, redis_url: str) -> Iterator[Api]:
    with api(tmp_path, postgres_dsn, redis_url) as running:
        yield running


def _connections(made: Api) -> list[str]:
    lines = Path(f"/proc/{made.part.pid}/net/tcp").read_text().splitlines()[1:]
    port = f":{made.port:04X}"
    return [line for line in lines if line.split()[1].endswith(port) and line.split()[3] == "01"]


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sigterm_under_a_thousand_long_polls_answers_them_all_and_ends_within_five_seconds(made: Api) -> None:
    index = made.ask("POST", "/v1/jobs", spec(), status=201)["index"]
    watchers = await watch(made, f"/v1/jobs/web?index={index}&wait=10m", 1000)
    idle = await watch(made, "/v1/health/live", 20)
    await asyncio.gather(*(watcher.answered.wait() for watcher in idle))
    until(lambda: made.ask("GET", "/v1/health/live")["status"] == "ok")
    began = time.monotonic()
    code = await asyncio.to_thread(made.part.stop, 10)
    took = time.monotonic() - began
    assert code == 0, made.part.tail()
    assert took < 5, took
    await asyncio.gather(*(watcher.closed.wait() for watcher in watchers))
    assert {watcher.status for watcher in watchers} == {200}
    assert made.said("draining")["waiters"] > 0


async def test_a_client_that_leaves_frees_its_waiter(made: Api) -> None:
    index = made.ask("POST", "/v1/jobs", spec(), status=201)["index"]
    watchers = await watch(made, f"/v1/jobs/web?index={index}&wait=10m", 300)
    made.ask("GET", "/v1/health/live")
    for watcher in watchers[:250]:
        watcher.reset()
    await eventually(lambda: len(_connections(made)) < 60, what="the end of the connections")
    for _ in range(50):
        made.ask("GET", "/v1/health/live")
    await asyncio.to_thread(made.part.stop, 10)
    assert made.said("draining")["waiters"] == 50


async def test_the_process_says_goodbye(made: Api, tmp_path: Path, postgres_dsn: str) -> None:
    with api(tmp_path, postgres_dsn) as other:
        until(lambda: len(other.ask("GET", "/v1/cluster/peers")) == 2)
        await asyncio.to_thread(made.part.stop, 10)
        until(lambda: len(other.ask("GET", "/v1/cluster/peers")) == 1)


@pytest.mark.parametrize("away", ["before", "never"])
def test_a_process_that_cannot_reach_its_database_waits_and_can_be_ended(tmp_path: Path, away: str) -> None:
    with servers.postgres(shared_buffers="32MB") as database:
        with api(tmp_path, database.dsn()) as first:
            first.part.stop(10)
        database.stop()
        with api_starting(tmp_path, database.dsn()) as second:
            until(lambda: second.part.log.exists() and "database_away" in second.part.tail(), timeout=20)
            if away == "never":
                assert second.part.stop(5) == 0
            else:
                database.start()
                until(second._ready, timeout=20)


def test_a_process_that_may_not_migrate_waits_for_who_may(tmp_path: Path, postgres_dsn: str) -> None:
    role = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        try:
            with api_starting(tmp_path, postgres_dsn.replace("postgres@", f"{role}@")) as made:
                until(lambda: made.part.log.exists() and "python -m eventstore migrate" in made.part.tail(), timeout=20)
                migrate(postgres_dsn, application=role)
                until(made._ready, timeout=20)
        finally:
            admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def api_starting(folder: Path, dsn: str) -> _Starting:
    return _Starting(folder, dsn)


class _Starting:
    """An api process that is started and not waited for."""

    def __init__(self, folder: Path, dsn: str) -> None:
        port = servers.free_port()
        flags = ("--dsn", dsn, "--listen", f"127.0.0.1:{port}")
        self._api = Api(Part("api-late", "api", flags, folder), port, folder / "password")

    def __enter__(self) -> Api:
        self._api.part.start()
        return self._api

    def __exit__(self, *_: object) -> None:
        self._api.close()


def test_an_address_is_not_shared_in_silence(made: Api, postgres_dsn: str) -> None:
    second = [sys.executable, "-m", "api", "--dsn", postgres_dsn, "--listen", f"127.0.0.1:{made.port}"]
    ended = subprocess.run(second, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"--listen 127.0.0.1:{made.port}: Address already in use\n"


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_health_answers_while_thousands_wait(made: Api) -> None:
    """More open requests than granian lets in by default."""
    index = made.ask("POST", "/v1/jobs", spec(), status=201)["index"]
    watchers = await watch(made, f"/v1/jobs/web?index={index}&wait=10m", 3000)
    began = time.monotonic()
    assert made.ask("GET", "/v1/health/live") == {"status": "ok"}
    assert made.ask("GET", "/v1/health/ready") == {"status": "ok"}
    assert time.monotonic() - began < 5
    made.ask("POST", "/v1/jobs", spec(meta={"a": "b"}))
    async with asyncio.timeout(30):
        await asyncio.gather(*(watcher.answered.wait() for watcher in watchers))
    assert {watcher.status for watcher in watchers} == {200}
    for watcher in watchers:
        watcher.reset()


# ── what is no request ───────────────────────────────────────────────────────────────────────────────────────────────

NO_REQUESTS = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /v1/jobs HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * 600_000 + b"\r\n\r\n",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /v1/jobs/%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/jobs/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/jobs/\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET //v1/../jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET http://other/v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: <x>\r\nConnection: close\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


def test_bytes_that_are_no_request_do_no_harm(made: Api) -> None:
    head = made.ask("GET", "/v1/cluster/status")["index"]
    for raw in NO_REQUESTS:
        with socket.create_connection(("127.0.0.1", made.port), timeout=10) as connection:
            heard = b""
            with contextlib.suppress(OSError):  # it may hang up on us
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65_536):
                    heard += part
        assert b" 500 " not in heard.partition(b"\r\n")[0], (raw[:60], heard[:300])
        assert b"Traceback" not in heard
    assert made.part.runs
    until(lambda: made.ask("GET", "/v1/cluster/status")["index"] == head)
    assert '"event": "request failed"' not in made.part.log.read_text()


# ── more than one ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_one_process_is_told_the_others_know(made: Api, tmp_path: Path, postgres_dsn: str) -> None:
    with api(tmp_path, postgres_dsn) as other:
        assert other.ask("GET", "/v1/jobs", token=made.token) == []
        index = made.ask("POST", "/v1/jobs", spec(), status=201)["index"]
        [watcher] = await watch(other, f"/v1/jobs/web?index={index}&wait=1m", 1, {"X-HeroCtl-Index": str(index)})
        made.ask("POST", "/v1/jobs", spec(meta={"a": "b"}))
        async with asyncio.timeout(10):
            await watcher.answered.wait()
        assert (watcher.status, b'"version":2' in watcher.heard) == (200, True)
        token = other.login()
        assert made.ask("GET", "/v1/jobs", token=token)
        other.ask("POST", "/v1/auth/logout", token=token)
        until(lambda: _status(made, token) == 401, timeout=5)
        made.ask("POST", "/v1/acl/tokens", {"name": "ci", "roles": ["viewer"]}, status=201)
        secret = made.ask("POST", "/v1/acl/tokens", {"name": "ci", "roles": ["viewer"]}, status=201)["secret"]
        assert _status(other, secret) == 200
        made.ask("DELETE", f"/v1/acl/tokens/{secret.split('_')[1]}")
        until(lambda: _status(other, secret) == 401, timeout=5)


def _status(made: Api, token: str) -> int:
    return httpx2.get(f"{made.url}/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code


def test_the_password_is_written_once_for_its_owner_alone(made: Api, tmp_path: Path, postgres_dsn: str) -> None:
    assert stat.S_IMODE(made.password_file.stat().st_mode) == 0o600
    password = made.password
    assert len(password) >= 20
    assert password not in made.part.log.read_text()
    with api(tmp_path, postgres_dsn) as other:
        assert other.password == password


def test_a_password_may_be_given(tmp_path: Path, postgres_dsn: str) -> None:
    (tmp_path / "password").write_text("chosen-by-hand\n")
    with api(tmp_path, postgres_dsn) as made:
        assert made.password == "chosen-by-hand"


# ── parts that are away ──────────────────────────────────────────────────────────────────────────────────────────────


def test_reads_go_on_while_postgres_is_away(tmp_path: Path) -> None:
    with servers.postgres(shared_buffers="32MB") as database, api(tmp_path, database.dsn()) as made:
        made.ask("POST", "/v1/jobs", spec(), status=201)
        database.kill()
        until(lambda: made.ask("GET", "/v1/health/ready") == {"status": "degraded"}, timeout=30)
        [job] = made.ask("GET", "/v1/jobs")
        assert job["name"] == "web"
        refused = made.ask("POST", "/v1/jobs", spec("other"), status=503)
        assert refused["error"] == "log_unavailable"
        assert made.ask("GET", "/v1/cluster/status")["health"] == "down"
        database.start()
        until(lambda: made.ask("GET", "/v1/health/ready") == {"status": "ok"}, timeout=30)
        made.ask("POST", "/v1/jobs", spec("other"), status=201)


def test_an_agent_gets_a_redis_user_for_its_own_keys_and_again_when_it_asks(made: Api, redis_url: str) -> None:
    join = made.ask("POST", "/v1/cluster/join-tokens", status=201)["token"]
    node = made.ask("POST", "/v1/nodes/join", {"token": join, "name": "node-1"}, status=201, token="")
    session = made.ask("POST", "/v1/agent/session", SESSION, token=node["token"])
    access = session["redis"]
    assert access["stream"] == ring_stream(node["id"])
    admin = redis.Redis.from_url(redis_url, decode_responses=True)
    admin.xadd(access["stream"], {"ring": "1"})
    newest = str(admin.xadd(access["stream"], {"ring": "2"}))
    _may_its_own_and_nothing_else(access, node["id"])
    sync = {"session": session["session"], "seq": 1, "doorbell": "0-1"}
    assert made.ask("POST", "/v1/agent/sync", sync, token=node["token"])["doorbell"] == newest
    servers.flush(redis_url)
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(redis_url, username=access["username"], password=access["password"]).ping()
    again = made.ask("POST", "/v1/agent/sync", sync | {"seq": 2, "need_redis": True}, token=node["token"])
    assert again["doorbell"] == "0-0", "the stream was flushed"
    _may_its_own_and_nothing_else(again["redis"], node["id"])
    admin.close()


SESSION = {
    "boot_id": "b",
    "inventory": {"reports": [], "unknown": []},
    "capacity": {"cpu": 1.0, "memory": 1, "disk": 1},
    "drivers": {},
    "address": "127.0.0.1",
}


def _may_its_own_and_nothing_else(access: dict[str, str], node: str) -> None:
    with redis.Redis.from_url(access["url"], username=access["username"], password=access["password"]) as own:
        own.ping()
        own.xread({access["stream"]: "0"})
        own.xadd(f"heroctl:logs:{node}:a1", {"line": "x"}, maxlen=100)
        own.expire(f"heroctl:logs:{node}:a1", 60)
        for forbidden in (
            lambda: own.xread({ring_stream("other"): "0"}),
            lambda: own.xadd(access["stream"], {"ring": "x"}),
            lambda: own.xread({f"heroctl:logs:{node}:a1": "0"}),
            lambda: own.xadd("heroctl:logs:other:a1", {"line": "x"}),
            lambda: own.delete(access["stream"]),
            own.flushall,
            own.acl_list,
            lambda: own.keys("*"),
            lambda: own.config_get("*"),
            lambda: own.publish("x", "y"),
            lambda: own.eval("return 1", 0),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()


def test_without_redis_agents_are_told_none(tmp_path: Path, postgres_dsn: str) -> None:
    gone = f"redis://127.0.0.1:{servers.free_port()}/0"
    with api(tmp_path, postgres_dsn, gone) as made:
        join = made.ask("POST", "/v1/cluster/join-tokens", status=201)["token"]
        node = made.ask("POST", "/v1/nodes/join", {"token": join, "name": "node-1"}, status=201, token="")
        session = made.ask("POST", "/v1/agent/session", SESSION, token=node["token"])
        assert session["redis"] is None
        sync = {"session": session["session"], "seq": 1, "doorbell": "0-1", "need_redis": True}
        reply = made.ask("POST", "/v1/agent/sync", sync, token=node["token"])
        assert (reply["redis"], reply["doorbell"]) == (None, "")


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_certificate_is_served_without_a_restart(tmp_path: Path, postgres_dsn: str) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    _certificate(cert, key, "one")
    with api(tmp_path, postgres_dsn, "", "--tls-cert", str(cert), "--tls-key", str(key)) as made:
        assert b"one" in _served(made)
        _certificate(cert, key, "two")
        until(lambda: b"two" in _served(made), timeout=20, what="the new certificate")
        assert made.ask("GET", "/v1/jobs") == []
        assert made.part.stop(5) == 0


def _certificate(cert: Path, key: Path, name: str) -> None:
    files = ["-keyout", str(key), "-out", str(cert)]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *kind, *files, "-subj", f"/CN={name}"], check=True, capture_output=True)


def _served(made: Api) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", made.port)))


def test_log_lines_are_json_and_hold_no_secret(made: Api) -> None:
    made.ask("POST", "/v1/auth/login", {"username": "admin", "password": "wrong-secret"}, status=401)
    made.ask("GET", "/v1/jobs")
    made.part.stop(10)
    text = made.part.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"serving", "request", "draining"} <= {line["event"] for line in lines}
    for secret in (made.token, made.password, "wrong-secret"):
        assert secret not in text
