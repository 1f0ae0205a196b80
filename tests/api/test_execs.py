"""Commands in allocations at the front door: who may, who comes, and what ends them; agents are played by the test."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from api.socket import BROKEN, NORMAL, REFUSED
from eventstore import codec
from heroctl.domain.events import AllocExecEnded, AllocExecRequested
from heroctl.domain.execs import STDIN, STDOUT, Eof, Exit, Fault, Start, Started, data, text
from tests.api.rig import Rig
from tests.api.specs import place, runs, submit
from tests.api.test_agent import Agent, agent
from tests.waiting import eventually


class Peer:
    """One end of a WebSocket: what it says, and what it is told."""

    def __init__(self, api: Rig, path: str, token: str, **headers: str) -> None:
        self.told: list[str | bytes] = []
        self.code = 0
        self.status = 0
        self.refusal: dict[str, Any] = {}
        self._says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._says.put_nowait({"type": "websocket.connect"})
        sent = {"host": "test", "authorization": f"Bearer {token}", **headers}
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": b"", "subprotocols": [],
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("192.0.2.7", 4711), "server": ("test", 80), "state": {},
        }  # fmt: skip
        self.task = asyncio.get_running_loop().create_task(api.app(scope, self._says.get, self._hear))

    def say(self, message: str | bytes) -> None:
        self._says.put_nowait({"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message})

    def leave(self) -> None:
        self._says.put_nowait({"type": "websocket.disconnect", "code": 1005})

    async def _hear(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "websocket.send":
                self.told.append(message.get("text") or message["bytes"])
            case "websocket.close":
                self.code = message["code"]
            case "websocket.http.response.start":
                self.status = message["status"]
            case "websocket.http.response.body":
                self.refusal = msgspec.json.decode(message["body"])
            case _:
                assert message["type"] == "websocket.accept"

    async def last(self) -> Exit | Fault:
        """Wait for the end, and give what was told of it."""
        async with asyncio.timeout(20):
            await self.task
        assert isinstance(self.told[-1], str)
        return msgspec.json.decode(self.told[-1], type=Exit | Fault)


@pytest.fixture
async def node(api: Rig) -> Agent:
    made = await agent(api)
    await submit(api)
    return made


@pytest.fixture
async def alloc(api: Rig, node: Agent) -> str:
    found = await place(api, node.node)
    await runs(api, node.node, found)
    return found


def begun(api: Rig, alloc: str, *words: str, token: str = "") -> Peer:
    peer = Peer(api, f"/v1/allocations/{alloc}/exec", token or api.token)
    peer.say(text(Start(words or ("sh",))))
    return peer


async def wished(api: Rig, alloc: str) -> str:
    """Wait until the agent is told that it is wanted; give the ticket."""
    execs = await eventually(lambda: api.parts.view.state.allocs[alloc].execs, what="a command")
    return str(execs[-1].id)


async def come(api: Rig, alloc: str, node: Agent) -> Peer:
    return Peer(api, f"/v1/agent/exec/{await wished(api, alloc)}", node.token)


async def written(api: Rig, kind: type[Any]) -> list[Any]:
    return [each.event for each in codec.records(await api.log.page(0, 1000)) if isinstance(each.event, kind)]


async def test_an_agent_comes_and_what_is_said_passes(api: Rig, node: Agent, alloc: str) -> None:
    caller = begun(api, alloc, "echo", "hi")
    runner = await come(api, alloc, node)
    await eventually(lambda: runner.told == [text(Start(("echo", "hi")))], what="what to run")
    for message in (text(Started()), data(STDOUT, b"hi\n"), text(Exit(0))):
        runner.say(message)
    assert await caller.last() == Exit(0)
    assert (caller.told, caller.code) == ([text(Started()), data(STDOUT, b"hi\n"), text(Exit(0))], NORMAL)
    assert api.parts.view.state.allocs[alloc].execs == ()
    await asyncio.wait_for(runner.task, 10)


async def test_a_node_that_does_not_come_is_told_of(api: Rig, alloc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.execs.COME", 0.05)
    caller = begun(api, alloc)
    end = await caller.last()
    assert isinstance(end, Fault)
    assert (end.error, caller.code) == ("node_silent", REFUSED)


async def test_a_caller_who_leaves_before_the_agent_comes_is_not_waited_for(api: Rig, node: Agent, alloc: str) -> None:
    caller = begun(api, alloc)
    ticket = await wished(api, alloc)
    caller.say(text(Eof()))
    caller.leave()
    await asyncio.wait_for(caller.task, 10)
    [ended] = await written(api, AllocExecEnded)
    assert (ended.exec, ended.reason) == (ticket, "exec_left")
    late = Peer(api, f"/v1/agent/exec/{ticket}", node.token)
    await asyncio.wait_for(late.task, 10)
    assert late.status == 404


async def test_what_is_typed_before_the_agent_comes_is_passed_on(api: Rig, node: Agent, alloc: str) -> None:
    caller = begun(api, alloc, "cat")
    typed = [data(STDIN, b"%d" % number) for number in range(20)]
    for each in typed:
        caller.say(each)
    runner = await come(api, alloc, node)
    await eventually(lambda: runner.told == [text(Start(("cat",))), *typed], what="what was typed")
    runner.say(text(Exit(0)))
    assert await caller.last() == Exit(0)


async def test_the_agent_of_another_node_and_one_that_is_late_find_nobody(
    api: Rig, node: Agent, alloc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.execs.COME", 0.5)
    other = await agent(api, "node-2")
    caller = begun(api, alloc)
    ticket = await wished(api, alloc)
    stranger = Peer(api, f"/v1/agent/exec/{ticket}", other.token)
    await asyncio.wait_for(stranger.task, 10)
    assert (stranger.status, stranger.refusal["error"]) == (404, "exec_not_found")
    await caller.last()
    late = Peer(api, f"/v1/agent/exec/{ticket}", node.token)
    await asyncio.wait_for(late.task, 10)
    assert late.status == 404


@pytest.mark.parametrize("bound", ["exec_idle", "exec_longest"])
async def test_what_takes_too_long_is_ended(api: Rig, node: Agent, alloc: str, bound: str) -> None:
    api.parts.bounds = msgspec.structs.replace(api.parts.bounds, **{bound: 0.05})
    caller = begun(api, alloc)
    runner = await come(api, alloc, node)
    end = await caller.last()
    assert isinstance(end, Fault)
    assert end.error == "exec_timeout"
    await asyncio.wait_for(runner.task, 10)


async def test_an_agent_that_goes_is_told_of(api: Rig, node: Agent, alloc: str) -> None:
    caller = begun(api, alloc)
    runner = await come(api, alloc, node)
    await eventually(lambda: runner.told, what="what to run")
    runner.leave()
    end = await caller.last()
    assert isinstance(end, Fault)
    assert (end.error, caller.code) == ("exec_lost", BROKEN)


async def test_both_are_written_down(api: Rig, node: Agent, alloc: str) -> None:
    caller = begun(api, alloc, "cat", "/etc/passwd")
    runner = await come(api, alloc, node)
    runner.say(data(STDOUT, b"root"))
    runner.say(text(Exit(3)))
    await caller.last()
    [request], [ended] = await written(api, AllocExecRequested), await written(api, AllocExecEnded)
    assert request.command == ("cat", "/etc/passwd")
    assert (ended.exec, ended.exit_code, ended.sent) == (request.exec, 3, 4)


async def test_a_command_beside_a_process_takes_the_right_to_run_processes(api: Rig, node: Agent) -> None:
    rules = [{"resource": "alloc", "namespace": "*", "capabilities": ["read", "exec"]}]
    await api.post("/v1/acl/policies", {"name": "exec-only", "rules": rules})
    await api.post("/v1/acl/roles", {"name": "exec-only", "policies": ["exec-only"]})
    token = await api.role("exec-only")
    process = {"name": "app", "driver": "process", "command": ["sleep", "1"], "count": 1}
    await api.post("/v1/jobs", {"job": "proc", "tasks": [process]})
    of_container, of_process = await place(api, node.node), await place(api, node.node, "proc")
    for each in (of_container, of_process):
        await runs(api, node.node, each)
    refused = begun(api, of_process, token=token)
    await asyncio.wait_for(refused.task, 10)
    assert (refused.status, refused.refusal["error"]) == (403, "forbidden")
    caller = begun(api, of_container, token=token)
    runner = await come(api, of_container, node)
    runner.say(text(Exit(0)))
    assert await caller.last() == Exit(0)


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null"])
async def test_pages_in_browsers_get_none(api: Rig, alloc: str, origin: str) -> None:
    page = Peer(api, f"/v1/allocations/{alloc}/exec", api.token, origin=origin)
    await asyncio.wait_for(page.task, 10)
    assert (page.status, page.refusal["error"]) == (403, "browser_refused")


async def test_no_other_route_speaks_so(api: Rig) -> None:
    peer = Peer(api, "/v1/jobs", api.token)
    await asyncio.wait_for(peer.task, 10)
    assert (peer.status, peer.refusal["error"]) == (400, "invalid_request")
