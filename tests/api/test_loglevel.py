"""The level of the processes' logs, changed while they run; and the line of each request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from heroctl import logs
from heroctl.domain.cluster_settings import cluster_settings
from tests.api.rig import Rig
from tests.api.specs import INVENTORY, join, open_session, place, submit
from tests.waiting import eventually

PATH = "/v1/cluster/loglevel"
NONE = {"level": None, "api": None, "reconciler": None, "agent": None}


@pytest.fixture(autouse=True)
def own() -> Iterator[None]:
    """Whatever a test asks for, the next one begins as ever."""
    yield
    logs.follow("")


def levels(api: Rig) -> dict[str, str]:
    return {role: cluster_settings(api.parts.view.state).level_of(role) for role in ("api", "reconciler", "agent")}


async def test_all_follow_or_one_role_and_all_go_back(api: Rig) -> None:
    assert (await api.get(PATH)).body == {**NONE, "index": 0}
    done = await api.do("PUT", PATH, {"level": "debug", "role": "agent"})
    assert (done.status, done.body) == (200, {**NONE, "agent": "debug", "index": done.index})
    assert levels(api) == {"api": "", "reconciler": "", "agent": "debug"}
    every = await api.do("PUT", PATH, {"level": "warning"})
    assert every.body == {**NONE, "level": "warning", "index": every.index}, "also those of that role"
    assert set(levels(api).values()) == {"warning"}
    await api.do("PUT", PATH, {"level": "error", "role": "api"})
    assert levels(api) == {"api": "error", "reconciler": "warning", "agent": "warning"}
    assert (await api.do("PUT", PATH, {"level": None})).body["level"] is None
    assert set(levels(api).values()) == {""}


async def test_this_process_follows_and_a_new_one_begins_so(api: Rig) -> None:
    await api.do("PUT", PATH, {"level": "error", "role": "reconciler"})
    assert logs.level() == "info"
    await api.do("PUT", PATH, {"level": "debug", "role": "api"})
    assert logs.level() == "debug"
    await api.do("PUT", PATH, {"level": None, "role": "api"})
    assert logs.level() == "info"


async def test_an_agent_is_told_with_its_next_sync(api: Rig) -> None:
    _, token = await join(api)
    session = (await open_session(api, token)).body["session"]
    await api.do("PUT", PATH, {"level": "debug", "role": "agent"})
    asking = api.ask("POST", "/v1/agent/sync", {"session": session, "seq": 1}, token=token)
    await eventually(lambda: api.parts.pulse._written is not None)
    await api.parts.pulse.write()
    assert (await asking.reply()).body["log_level"] == "debug"


async def test_a_long_poll_hears_of_it(api: Rig) -> None:
    before = await api.get(PATH)
    waiting = asyncio.create_task(api.get(f"{PATH}?index={before.index}&wait=30s"))
    await api.waiting(1)
    await api.do("PUT", PATH, {"level": "warning"})
    assert (await waiting).body["level"] == "warning"


@pytest.mark.parametrize(
    "body", [{}, {"level": "loud"}, {"level": 1}, {"level": "info", "role": "node"}, {"role": "api"}]
)
async def test_what_there_is_not_is_refused(api: Rig, body: object) -> None:
    assert (await api.do("PUT", PATH, body)).status == 400


async def test_what_is_so_already_is_no_event(api: Rig) -> None:
    done = await api.do("PUT", PATH, {"level": "debug"})
    assert (await api.do("PUT", PATH, {"level": "debug"})).index == done.index


# ── a line for each request ──────────────────────────────────────────────────────────────────────────────────────────


async def written(api: Rig) -> list[dict[str, Any]]:
    """Give the lines since the last time."""
    api.app._log.flush()
    found = [json.loads(line) for lines in api.lines for line in lines.splitlines()]
    api.lines.clear()
    return found


async def test_a_line_says_who_asked_what_and_what_it_was_about(api: Rig) -> None:
    node, token = await join(api)
    await open_session(api, token, inventory=INVENTORY)
    await submit(api)
    alloc = await place(api, node)
    await written(api)
    posted = await api.post("/v1/jobs/web/scale", {"count": 2}, headers={"X-Request-Id": "req_mine"})
    [line] = await written(api)
    assert line.pop("timestamp")
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "req_mine",
        "method": "POST",
        "path": "/v1/jobs/web/scale",
        "status": 200,
        "actor": "user:admin",
        "client": "192.0.2.7",
        "namespace": "default",
        "job": "web",
        "index": posted.index,
    }
    await submit(api, "other")
    stopped = await api.post(f"/v1/allocations/{alloc}/stop")
    await api.get("/v1/jobs/web?index=0")
    submitted, stop, get = await written(api)
    assert (submitted["namespace"], submitted["job"]) == ("default", "other"), "it stood in the body"
    assert (stop["alloc"], stop["job"], stop["index"]) == (alloc, "web", stopped.index)
    assert (get["job"], get["namespace"]) == ("web", "default")


async def test_what_went_wrong_is_louder(api: Rig) -> None:
    api.log.away = True
    await api.post("/v1/jobs", {"job": "web", "tasks": [{"name": "a", "image": "a:1", "command": ["x"]}]})
    [*_, line] = await written(api)
    assert (line["status"], line["level"]) == (503, "warning")


async def test_below_the_level_no_line_is_made(api: Rig) -> None:
    await api.do("PUT", PATH, {"level": "warning", "role": "api"})
    await written(api)
    await api.get("/v1/jobs")
    assert await written(api) == []


async def test_a_token_in_a_path_is_masked(api: Rig) -> None:
    await api.get("/v1/jobs/ht_a1b2c3d4e5f60718_9e1d")
    [*_, line] = await written(api)
    assert (line["path"], line["status"]) == ("/v1/jobs/***", 404)
