"""No secret stands anywhere but sealed: a marked value lives a whole life, and everything is searched for it.

And that the search finds what is there: a leak is planted in each kind of place, and found.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import httpx2
import msgspec
import psycopg
import pytest
from redis import Redis

from api.routes import ROUTES
from eventstore.database import Database
from eventstore.log import Append
from eventstore.postgres import open_log
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from eventstore.view import View
from heroctl.domain.events import NamespaceCreated
from heroctl.domain.logs import FIELD, Batch, Line, log_key
from tests.api import canary
from tests.api.canary import Places, found, marked
from tests.api.process import Api, api
from tests.api.specs import spec
from tests.waiting import until

NAME: Final = "canary"


@pytest.fixture
def made(tmp_path: Path, postgres_dsn: str, redis_url: str) -> Iterator[Api]:
    with api(tmp_path, postgres_dsn, redis_url) as started:
        yield started


@pytest.fixture
def answers(made: Api) -> Iterator[Answers]:
    asking = Answers(made)
    yield asking
    asking.close()


class Answers:
    """All that the api says, each answer kept, beside those that are to hold the value."""

    def __init__(self, made: Api) -> None:
        self._made = made
        self._client = httpx2.Client(base_url=made.url, headers={"Authorization": f"Bearer {made.token}"}, timeout=30)
        self.places: Places = {}

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, body: object = None, *, kept: bool = True) -> httpx2.Response:
        reply = self._client.request(method, path, json=body)
        assert reply.status_code < 500, reply.text
        if kept:
            head = "".join(f"{name}: {value}\n" for name, value in reply.headers.items()).encode()
            self.places[f"answer {len(self.places)} to {method} {path}"] = head + reply.content
        return reply

    def everything(self) -> None:
        """Ask for all that can be read without naming a thing, and for what there is of the secret."""
        paths = [row.path for row in ROUTES if row.method == "GET" and "{" not in row.path]
        named = [f"/v1/secrets/{NAME}/versions", f"/v1/secrets/{NAME}/jobs", "/v1/jobs/web", "/v1/jobs/web/versions"]
        for path in (*paths, *named):
            self.ask("GET", path)


class Stores(NamedTuple):
    """Where the cluster keeps things."""

    dsn: str
    redis_url: str


@pytest.fixture
def stores(postgres_dsn: str, redis_url: str) -> Stores:
    return Stores(postgres_dsn, redis_url)


Gather = Callable[[], Places]


@pytest.fixture
def gather(answers: Answers, stores: Stores, tmp_path: Path) -> Gather:
    """Gather all places, as they are now."""

    def all_places() -> Places:
        answers.everything()
        asyncio.run(snapshot(stores.dsn))
        return {
            **canary.of_database(stores.dsn),
            **canary.of_redis(stores.redis_url),
            **canary.of_files(tmp_path),
            **canary.of_arguments(),
            **answers.places,
        }

    return all_places


async def snapshot(dsn: str) -> None:
    """Keep the state as the maker would."""
    async with Database(dsn) as database, open_log(database) as log:
        view = View(log)
        await view.catch_up()
        await Snapshots(PostgresShelf(database), log).keep(view.state, view.position, "1.2.3")


def of_command_line(made: Api, value: bytes) -> Places:
    """Write a value by the command line, and look at its arguments while it waits for it."""
    words = [sys.executable, "-m", "heroctl.cli", "secret", "create", NAME, "--from-stdin"]
    environ = {"HEROCTL_ADDR": made.url, "HEROCTL_TOKEN": made.token, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ
    ) as process:
        assert process.stdin is not None
        process.stdin.write(value[:5])
        process.stdin.flush()
        until(lambda: b"--from-stdin" in canary.of_arguments([process.pid])[f"process {process.pid}"], what="its words")
        places = canary.of_arguments([process.pid])
        said, _ = process.communicate(value[5:], timeout=60)
    assert process.returncode == 0, said
    return {"what the command line said": said, **{f"{name}, a command line": held for name, held in places.items()}}


def test_a_secret_stands_nowhere_but_sealed(made: Api, answers: Answers, gather: Gather, stores: Stores) -> None:
    values = [marked() for _ in range(4)]
    first, second, third, wrong = values
    path = f"/v1/secrets/{NAME}"

    def holds(value: bytes, query: str = "") -> None:
        assert answers.ask("GET", f"{path}{query}", kept=False).json()["value"].encode() == value

    assert answers.ask("POST", "/v1/secrets", {"name": NAME, "value": first.decode()}).status_code == 201
    answers.ask("POST", "/v1/secrets", {"name": NAME, "value": first.decode()})
    said = of_command_line(made, second)
    third64 = base64.b64encode(third).decode()
    assert answers.ask("POST", "/v1/secrets", {"name": NAME, "value": third64, "encoding": "base64"}).is_success
    holds(third)
    holds(first, "?version=1")
    assert answers.ask("POST", f"{path}/rollback", {"version": 2}).is_success
    holds(second)
    assert answers.ask("POST", "/v1/jobs", spec(task={"env": {"PASSWORD": f"${{secret.{NAME}}}"}})).status_code == 201
    assert answers.ask("POST", "/v1/secrets/rekey", {}).json()["done"]
    for mistake in (  # values in requests that are refused
        {"name": "no name", "value": wrong.decode()},
        {"name": NAME, "value": wrong.decode(), "encoding": "base64"},
        {"name": NAME, "value": wrong.decode(), "more": 1},
        {"name": NAME, "value": [wrong.decode()]},
        {"name": NAME, "value": wrong.decode() * 3000},
    ):
        assert answers.ask("POST", "/v1/secrets", mistake).status_code == 400
    assert answers.ask("POST", "/v1/secrets?check_index=1", {"name": NAME, "value": wrong.decode()}).status_code == 409
    answers.ask("POST", "/v1/secrets?namespace=nowhere", {"name": NAME, "value": wrong.decode()})

    for deleted in (False, True):
        places = {**said, **gather()}
        for value in values:
            assert found(value, places) == []
        assert (NAME.encode() in places["table events"]) is True, "its name is no secret"
        with psycopg.connect(stores.dsn) as connection:
            rows = connection.execute("SELECT count(*) FROM heroctl.vault WHERE kind = 'secret'").fetchone()
        assert rows == ((0,) if deleted else (4,)), "sealed, or gone"
        answers.ask("DELETE", f"{path}?force=true")


@pytest.mark.parametrize(
    "at", ["table", "event", "audit", "snapshot", "redis", "log line", "workload", "answer", "arguments"]
)
def test_a_leak_is_found_wherever_it_is(made: Api, answers: Answers, gather: Gather, stores: Stores, at: str) -> None:
    """A value that was planted in one place is found there; else to find none would prove nothing."""
    value = marked()
    text = value.decode()
    with psycopg.connect(stores.dsn) as connection, Redis.from_url(stores.redis_url) as redis:
        match at:
            case "table":
                connection.execute("INSERT INTO heroctl.vault VALUES ('leak', 'secret', %s)", [base64.b64encode(value)])
                connection.commit()
                expected = "table vault: base64+0"
            case "event" | "snapshot":
                asyncio.run(_append(stores.dsn, text))
                expected = "table events: json" if at == "event" else "snapshot "
            case "audit":
                made.ask("POST", "/v1/auth/login", {"username": text, "password": "x"}, status=401, token="")
                until(lambda: connection.execute("SELECT 1 FROM heroctl.refusals").fetchone(), what="a refusal")
                expected = "table refusals: plain"
            case "redis":
                redis.hset("heroctl:leak", mapping={"value": value.hex()})
                expected = "key heroctl:leak: hex"
            case "workload":
                batch = Batch("default", "web", "app", "c1", 1, [Line(1, text)])
                redis.xadd(log_key("n1", "leakleak"), {FIELD: msgspec.json.encode(batch)})
                answers.ask("GET", "/v1/logs/leakleak")
                said = found(value, answers.places)
                assert [each for each in said if "GET /v1/logs/leakleak: json" in each], said
                expected = "key heroctl:logs:n1:leakleak: json"
            case "log line":
                with made.part.log.open("ab") as log:
                    log.write(b'{"path": "/v1/' + canary.forms(value)["url"] + b'"}\n')
                expected = f"file {made.part.log}: url"
            case "answer":
                answers.ask("POST", "/v1/namespaces", {"name": "leak", "description": text})
                expected = "answer 0 to POST /v1/namespaces: json"
            case _:
                words = [sys.executable, "-c", "input()", text]
                with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
                    places = gather()
                assert f"process {process.pid}: plain" in found(value, places)
                return
        places = gather()
    assert any(each.startswith(expected) for each in found(value, places)), found(value, places)


async def _append(dsn: str, text: str) -> None:
    async with Database(dsn) as database, open_log(database) as log:
        await log.append(Append((NamespaceCreated("leak", text),)))
