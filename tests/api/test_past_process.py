"""The past and the proof over real processes: children that come, are killed, give their memory back and go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import psycopg
import pytest

from api.past import Historians
from api.questions import Question
from eventstore.database import Database
from eventstore.log import Append
from eventstore.migrate import migrate
from eventstore.postgres import open_log
from heroctl.domain.errors import NotFound, Unavailable
from tests.api.process import Api, api
from tests.api.specs import spec
from tests.eventstore.samples import stopped
from tests.waiting import eventually, until


def children(pid: int, word: str = "api.historian") -> list[int]:
    """Name the children of a process that run this."""
    listed = [(task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    found = [int(child) for some in listed for child in some]
    return [child for child in found if word in Path(f"/proc/{child}/cmdline").read_text()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_api_answers_what_was_and_proves_its_log(postgres_dsn: str, tmp_path: Path) -> None:
    with api(tmp_path, postgres_dsn) as made:
        index = made.ask("POST", "/v1/jobs", spec("web"), status=201)["index"]
        made.ask("DELETE", "/v1/jobs/web")
        made.ask("GET", "/v1/jobs/web", status=404)
        assert made.ask("GET", f"/v1/jobs/web?at={index}")["name"] == "web"
        assert made.ask("GET", f"/v1/jobs?at={index - 1}") == []
        assert made.ask("GET", f"/v1/jobs/web?at={index - 1}", status=404)["error"] == "job_not_found"
        [child] = children(made.part.pid)
        os.kill(child, signal.SIGKILL)
        until(lambda: not lives(child))
        assert len(made.ask("GET", f"/v1/deployments?at={index}")) == 1
        assert _proof(made)["ok"]
        with psycopg.connect(postgres_dsn, autocommit=True) as admin:
            admin.execute("UPDATE heroctl.events SET data = data || ' ' WHERE index = %s", [index])
        verdict = _proof(made)
        assert (verdict["ok"], verdict["index"], verdict["code"]) == (False, index, "changed")
        [child] = children(made.part.pid)
        made.part.stop()
        until(lambda: not lives(child), what="the child's end")
        assert "Traceback" not in made.part.log.read_text()


def _proof(made: Api) -> dict[str, object]:
    reply = made._client.get("/v1/log/verify", headers={"Authorization": f"Bearer {made.token}"})
    assert reply.status_code == 200
    return dict(json.loads(reply.text.splitlines()[-1]))


def test_a_child_goes_with_a_parent_that_was_killed(postgres_dsn: str, tmp_path: Path) -> None:
    with api(tmp_path, postgres_dsn) as made:
        made.ask("GET", "/v1/jobs?at=1")
        [child] = children(made.part.pid)
        made.part.kill9()
        until(lambda: not lives(child), what="the child's end")


@pytest.fixture
def filled(postgres_dsn: str) -> str:
    """A log of a hundred events."""

    async def fill() -> None:
        async with Database(postgres_dsn) as database, open_log(database) as log:
            for number in range(99):
                await log.append(Append((stopped(number),)))

    migrate(postgres_dsn)
    asyncio.run(fill())
    return postgres_dsn


def nodes(index: int) -> Question:
    return Question("api.nodes.listing", {}, {}, (), index)


async def test_a_child_that_nobody_asks_gives_its_memory_back(filled: str) -> None:
    async with Historians(filled, idle=0.05) as historians:
        assert await historians.tell(nodes(50)) == b"[]"
        [child] = children(os.getpid())
        await eventually(lambda: not lives(child))
        assert await historians.tell(nodes(99)) == b"[]"


async def test_there_are_no_more_children_than_were_allowed(filled: str) -> None:
    """Forward, backward and at once; and each is asked again rather than another started."""
    async with Historians(filled, most=2) as historians:
        indexes = [7, 93, 12, 64, 100, 1, 50, 51]
        assert await asyncio.gather(*(historians.tell(nodes(index)) for index in indexes)) == [b"[]"] * len(indexes)
        assert len(children(os.getpid())) == 2
    assert children(os.getpid()) == []


async def test_a_refusal_of_a_child_is_the_answer_and_a_caller_who_left_costs_only_the_child(filled: str) -> None:
    async with Historians(filled) as historians:
        with pytest.raises(NotFound, match="at index 9: node 'x'"):
            await historians.tell(Question("api.nodes.detail", {"id": "x"}, {}, (), 9))
        [child] = children(os.getpid())
        os.kill(child, signal.SIGSTOP)
        asking = asyncio.create_task(historians.tell(nodes(20)))
        await eventually(lambda: bool(historians._busy))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await eventually(lambda: not lives(child))
        assert await historians.tell(nodes(20)) == b"[]"


async def test_a_child_that_dies_while_it_is_asked_is_told(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At rest it is replaced in silence; a new one that ends at once would end again."""
    async with Historians(filled) as historians:
        await historians.tell(nodes(20))
        os.kill(children(os.getpid())[0], signal.SIGKILL)
        assert await historians.tell(nodes(30)) == b"[]"
    monkeypatch.setattr("sys.executable", "/bin/false")
    async with Historians(filled) as historians:
        with pytest.raises(Unavailable) as refused:
            await historians.tell(nodes(20))
        assert refused.value.code == "past_failed"


async def test_a_broken_log_has_no_past_beyond_the_fault(filled: str) -> None:
    with psycopg.connect(filled, autocommit=True) as admin:
        admin.execute("UPDATE heroctl.events SET data = data || ' ' WHERE index = 50")
    async with Historians(filled) as historians:
        assert await historians.tell(nodes(49)) == b"[]"
        with pytest.raises(Unavailable, match="heroctl log verify") as refused:
            await historians.tell(nodes(60))
        assert refused.value.code == "log_broken"
        assert await historians.tell(nodes(49)) == b"[]"
