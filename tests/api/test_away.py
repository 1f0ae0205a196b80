"""Without the log: what is still answered, for how long, and what is refused at once."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from api import write
from eventstore.log import LogUnavailable
from tests.api.rig import PASSWORD, Rig
from tests.api.specs import spec


async def test_who_waits_is_not_told_what_is_too_old(api: Rig) -> None:
    """The log went away while they waited: after ten minutes nobody is told anything but how healthy this is."""
    page = await api.get("/v1/jobs")
    waiting = api.ask("GET", f"/v1/jobs?index={page.index}&wait=200ms")
    await api.waiting(1)
    api.log.away = True
    api.clock.ticks += 601
    reply = await waiting.reply()
    assert (reply.status, reply.error) == (503, "log_unavailable")


async def test_after_half_a_minute_without_the_log_only_known_tokens_are_good(api: Rig) -> None:
    """A token that was never seen here may have been deleted meanwhile, and nobody could tell."""
    viewer = await api.role("viewer")
    login = await api.post("/v1/auth/login", {"username": "admin", "password": PASSWORD}, token="")
    assert (await api.get("/v1/jobs", token=viewer)).status == 200
    api.log.away = True
    api.clock.ticks += 31
    assert (await api.get("/v1/jobs", token=viewer)).status == 200
    unseen = await api.get("/v1/jobs", token=login.body["token"])
    assert (unseen.status, unseen.error) == (503, "log_unavailable")
    assert int(unseen.headers["retry-after"]) >= 1
    for method, path, body in (("POST", "/v1/acl/tokens", {"name": "x", "roles": []}), ("POST", "/v1/jobs", spec())):
        refused = await api.do(method, path, body)
        assert (refused.status, refused.error) == (503, "log_unavailable")
    api.log.away = False
    await api.pass_(0.1)
    assert (await api.get("/v1/jobs", token=login.body["token"])).status == 200


async def test_a_log_known_to_be_away_is_not_waited_for(api: Rig) -> None:
    """The line of those who write to one job does not grow."""
    api.clock.ticks += 6
    reply = await api.post("/v1/jobs", spec())
    assert (reply.status, reply.error) == (503, "log_unavailable")
    await api.pass_(0)
    assert (await api.post("/v1/jobs", spec())).status == 201


async def test_nobody_stands_in_line_for_long(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "TURN", 0.05)
    over = asyncio.Event()

    async def stuck(append: object) -> None:
        await over.wait()
        raise LogUnavailable("away")

    monkeypatch.setattr(api.log, "append", stuck)
    posts = [asyncio.create_task(api.post("/v1/jobs", spec())) for _ in range(21)]
    behind = [await reply for reply in islice(asyncio.as_completed(posts), 20)]
    assert {(reply.status, reply.error) for reply in behind} == {(503, "busy")}
    over.set()
    [first] = [reply for reply in await asyncio.gather(*posts) if reply not in behind]
    assert first.error == "log_unavailable"
