"""The contract at length: ten thousand requests that chance drew, each operation done twenty times, each status met."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from api.codes import known
from api.refusals import codes_of
from api.routes import ROUTES
from api.row import Row
from tests import servers
from tests.api import recipes
from tests.api.fuzz import Fuzz, filled
from tests.api.process import Api, api
from tests.api.test_contract_fuzz import FAST

EXAMPLES: Final = 175  # of each operation
TIMES: Final = 20
TINY: Final = [word for who in ("user", "service", "admin", "node", "address") for word in (f"--limit-{who}", "1")]
LONG: Final = {"X-Long": "x" * 33_000, "If-None-Match": '"none"'}  # so that no page that is ready answers first
AHEAD: Final = {"X-HeroCtl-Index": str(10**15)}

# What no request brings about: faults of the server, of the wire, and of an upgrade that goes on; and two ids that
# begin with the same four letters.
UNASKED: Final = frozenset(
    {"internal", "upgrade_incomplete", "body_cut_off", "draining", "starting", "outdated", "behind", "ambiguous_id"}
)

# What needs another world, or another moment: tests of their own bring these about, or they are races.
ELSEWHERE: Final = frozenset(
    {
        "POST /v1/acl/keys/rotate: 409",  # where the keys are lines of a file
        "POST /v1/namespaces: 404",  # deleted while it is being made
        "GET /v1/secrets/{name}: 409",  # sealed with a key that was lost
        "GET /v1/log/verify: 409",  # while the log is being checked
        "GET /v1/agent/exec/{id}: 404",  # over a WebSocket
        "POST /v1/agent/session: 404",  # a node that was never there, and yet has a token
        *(f"POST /v1/agent/{of}: 404" for of in ("sync", "secrets", "services", "samples", "logs")),  # the same
        "POST /v1/agent/session: 409",  # while another machine beats in its name
    }
)


class World:
    """A database that can be killed, an api over it, and one that lets each caller ask once."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.postgres = stack.enter_context(servers.postgres())
        redis = stack.enter_context(servers.redis(folder / "redis"))
        self.api: Api = stack.enter_context(api(folder, self.postgres.dsn(), redis.url, *FAST))
        self.fuzz = recipes.seeded(self.api, self.postgres.dsn())
        self._folder = folder
        self._stack = stack

    def slow(self) -> str:
        """Start an api that lets each caller ask once a minute; return its URL."""
        (self._folder / "slow").mkdir()
        shutil.copy(self.api.password_file, self._folder / "slow")
        known = {"json": {"password": self.api.password}}  # chance may have given admin another
        assert self.fuzz.ask("PUT", "/v1/acl/users/admin/password", **known).status_code == 200
        made: Api = self._stack.enter_context(api(self._folder / "slow", self.postgres.dsn(), "", *TINY))
        return made.url


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def path_of(row: Row) -> str:
    return filled(row, "nothing-there") if "{" in row.path else row.path


def token_of(fuzz: Fuzz, row: Row) -> str:
    return {"public": "", "node": fuzz.node, "user": fuzz.token}[row.access.kind]


def unmet(fuzz: Fuzz) -> list[str]:
    """List the documented statuses that a request could bring about, and none has."""
    return [
        f"{row.method} {row.path}: {status}"
        for row in ROUTES
        for status in sorted({known(code).kind.status for code in codes_of(row) - UNASKED})
        if not fuzz.answers[f"{row.method} {row.path}", status]
    ]


def reuse_keys(fuzz: Fuzz) -> None:
    """Send a key again with another request."""
    for row in ROUTES:
        if "idempotency_key_reused" in codes_of(row):
            key = {"Idempotency-Key": recipes.new("key")}
            sent = recipes.succeed(fuzz, row, headers=key).request
            token = str(sent.headers["Authorization"]).removeprefix("Bearer ")
            body = (sent.body.encode() if isinstance(sent.body, str) else sent.body or b"") + b" "
            if b'"dry_run": true' in body:
                continue  # it writes nothing, so that there is nothing to write once
            again = fuzz.ask(row.method, str(sent.path_url), headers=key, token=token, data=body)
            assert again.status_code in (401, 409), again.text


def exceed(fuzz: Fuzz, url: str) -> None:
    """Ask where one may ask once."""
    patient, fuzz.url = fuzz.url, url
    for row in ROUTES:
        if "rate_limited" in codes_of(row):
            replies = (fuzz.ask(row.method, path_of(row), token=token_of(fuzz, row)) for _ in range(3))
            assert any(reply.status_code == 429 for reply in replies), row.path
    fuzz.url = patient


async def drip(fuzz: Fuzz, port: int) -> None:
    """Begin a body on each route that takes one, and send no more."""
    rows = [row for row in ROUTES if "body_timeout" in codes_of(row)]
    for row, status in zip(rows, await asyncio.gather(*(_drip(fuzz, row, port) for row in rows)), strict=True):
        fuzz.answers[f"{row.method} {row.path}", status] += 1


async def _drip(fuzz: Fuzz, row: Row, port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{row.method} {path_of(row)} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    token = token_of(fuzz, row)
    writer.write((head + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n{").encode())
    try:
        async with asyncio.timeout(40):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()


def without_database(world: World) -> None:
    """Ask for what only the database could tell, while it is away."""
    world.postgres.kill()
    fuzz = world.fuzz

    def ask(row: Row) -> int:
        return fuzz.ask(row.method, path_of(row), headers=AHEAD, token=token_of(fuzz, row)).status_code

    rows = [row for row in ROUTES if "log_unavailable" in codes_of(row)]
    with ThreadPoolExecutor(len(rows)) as threads:
        assert set(threads.map(ask, rows)) == {503}


@pytest.mark.timeout(1200)
def test_ten_thousand_requests_and_every_status(world: World) -> None:
    fuzz = world.fuzz
    removed = recipes.each_once(fuzz, TIMES)
    fuzz.all(EXAMPLES)
    assert fuzz.asked >= 10_000
    assert [f"{label}: {count}" for label, count in fuzz.successes().items() if count < TIMES] == []
    for row in ROUTES:
        long = fuzz.ask(row.method, path_of(row), headers=LONG, token=token_of(fuzz, row))
        assert long.status_code == 431, row.path
    reuse_keys(fuzz)
    recipes.conflicts(fuzz, removed)
    asyncio.run(drip(fuzz, world.api.port))
    exceed(fuzz, world.slow())
    without_database(world)
    print(f"{fuzz.asked} requests, statuses {sorted({status for _, status in fuzz.answers})}")
    assert set(unmet(fuzz)) - ELSEWHERE == set()
