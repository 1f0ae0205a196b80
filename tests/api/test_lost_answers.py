"""Answers that never came: the client asks again with its key, and gets what it should have got, from whomever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.process import Api, api
from tests.api.specs import spec
from tests.eventstore.proxy import Proxy
from tests.waiting import eventually, until

pytestmark = pytest.mark.timeout(120)


async def _post(made: Api, key: str, body: object, path: str = "/v1/jobs") -> httpx2.Response:
    headers = {"Authorization": f"Bearer {made.token}", "Idempotency-Key": key}

    def post() -> httpx2.Response:
        with httpx2.Client(base_url=made.url, timeout=30) as client:
            return client.post(path, json=body, headers=headers)

    return await asyncio.to_thread(post)


def _job(made: Api, name: str) -> Any:  # noqa: ANN401 - JSON
    return next((job for job in made.ask("GET", "/v1/jobs") if job["name"] == name), None)


async def test_answer_lost_after_the_commit_is_got_from_another_process(tmp_path: Path, postgres_dsn: str) -> None:
    """503, and yet it happened: whoever is asked again, in whichever life, tells of that one version."""
    async with Proxy(postgres_dsn).serve() as proxy, contextlib.AsyncExitStack() as stack:
        cut_off = await asyncio.to_thread(stack.enter_context, api(tmp_path, proxy.dsn))
        other = await asyncio.to_thread(stack.enter_context, api(tmp_path, postgres_dsn))
        assert (await _post(cut_off, "before", spec("before"))).status_code == 201
        proxy.lose_replies = proxy.refuse = True
        asking = asyncio.create_task(_post(cut_off, "k", spec()))
        await eventually(lambda: asyncio.to_thread(_job, other, "web"), what="the commit")
        again = await _post(other, "k", spec())
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
        lost = await asking
        assert (lost.status_code, lost.json()["error"]) == (503, "log_unavailable")
        assert int(lost.headers["retry-after"]) > 0
        proxy.lose_replies = proxy.refuse = False
        await eventually(lambda: asyncio.to_thread(_job, cut_off, "web"), timeout=30)
        answers = [await _post(cut_off, "k", spec())]
        await asyncio.to_thread(cut_off.part.kill9)
        await asyncio.to_thread(cut_off.start)
        answers.append(await _post(cut_off, "k", spec()))
        for answer in answers:
            assert (answer.status_code, answer.headers["idempotency-replayed"]) == (201, "true")
            assert answer.json() == again.json()
        versions = await asyncio.to_thread(other.ask, "GET", "/v1/jobs/web/versions")
        assert [version["version"] for version in versions] == [1]
        assert (await _post(other, "k", spec(meta={"a": "b"}))).json()["error"] == "idempotency_key_reused"


async def test_many_at_once_on_two_processes_are_one(tmp_path: Path, postgres_dsn: str) -> None:
    """A client that does not wait for its answers; each of its calls without a key would make another token."""
    token = {"name": "ci", "roles": ["viewer"]}
    with api(tmp_path, postgres_dsn) as one, api(tmp_path, postgres_dsn) as two:

        async def at_once(path: str, body: object, keys: Sequence[str]) -> list[httpx2.Response]:
            each = zip(keys, (one, two) * len(keys), strict=False)
            return await asyncio.gather(*(_post(made, key, body, path) for key, made in each))

        made = await at_once("/v1/acl/tokens", token, ["k"] * 16)
        assert sorted(answer.status_code for answer in made) == [201] + [409] * 15
        assert {answer.json()["error"] for answer in made if answer.status_code == 409} == {"already_done"}
        assert len(one.ask("GET", "/v1/acl/tokens")) == 1
        assert {answer.status_code for answer in await at_once("/v1/acl/tokens", token, "0123456789")} == {201}
        until(lambda: len(one.ask("GET", "/v1/acl/tokens")) == 11)
        one.ask("POST", "/v1/jobs", spec(), status=201)
        until(lambda: _job(two, "web"))
        answers = await at_once("/v1/jobs", spec(meta={"a": "b"}), ["k"] * 16)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert [answer.headers.get("idempotency-replayed") for answer in answers].count(None) == 1
        assert len(one.ask("GET", "/v1/jobs/web/versions")) == 2
