"""What agents ask: joining, sessions, syncs. Nothing is forgotten or repeated, and nothing said out of ignorance."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventstore.log import LogUnavailable
from heroctl.domain.events import AllocFailed, AllocReported, AllocStopping
from tests.api.rig import Asking, Reply, Rig
from tests.api.specs import join, open_session, place, submit
from tests.waiting import eventually


class Agent:
    """An agent's side of the wire."""

    def __init__(self, api: Rig, node: str, token: str, session: Reply) -> None:
        self.api = api
        self.node = node
        self.token = token
        self.session = session.body["session"]
        self.incarnation = session.body["incarnation"]
        self.seq = 0

    def ask(self, **more: Any) -> Asking:  # noqa: ANN401 - fields of a sync
        """Send a sync with the next number, unless another is given."""
        self.seq += 1
        body = {"session": self.session, "seq": self.seq, "incarnation": self.incarnation, **more}
        return self.api.ask("POST", "/v1/agent/sync", body, token=self.token)

    async def sync(self, **more: Any) -> Reply:  # noqa: ANN401 - fields of a sync
        """Sync, and let the second pass after which beats are written."""
        asking = self.ask(**more)
        await eventually(lambda: asking.task.done() or self.api.parts.pulse._written is not None)
        await self.api.parts.pulse.write()
        return await asking.reply()

    async def measured(self, values: dict[str, float], alloc: str = "", age: float = 0.0) -> Reply:
        """Tell what the node or an allocation of it uses."""
        taken = [{"age": age, "samples": [{"values": values, "alloc": alloc}]}]
        return await self.api.post("/v1/agent/samples", {"session": self.session, "taken": taken}, token=self.token)


async def agent(api: Rig, name: str = "node-1") -> Agent:
    """Let a server join and its agent open a session."""
    node, token = await join(api, name)
    session = await open_session(api, token)
    assert session.status == 200, session.body
    return Agent(api, node, token, session)


def said(alloc: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a report
    return {"alloc": alloc, "attempt": 1, "phase": "running", "health": "healthy", "ports": {"http": 20_001}, **more}


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_joins_once_with_a_token(api: Rig) -> None:
    made = await api.post("/v1/cluster/join-tokens", {"ttl": "10m"})
    assert made.status == 201
    assert made.body.keys() == {"id", "token", "expires_at"}
    assert made.body["expires_at"] == "2026-09-21T14:23:20Z"
    joined = await api.post("/v1/nodes/join", {"token": made.body["token"], "name": "server-2"}, token="")
    assert joined.status == 201
    assert joined.body.keys() == {"id", "name", "token", "cluster"}
    assert joined.body["token"].startswith(f"hn_{joined.body['id']}_")
    assert joined.body["cluster"] == api.parts.view.state.cluster
    again = await api.post("/v1/nodes/join", {"token": made.body["token"], "name": "server-3"}, token="")
    assert (again.status, again.error) == (401, "join_token_invalid")
    assert [node["name"] for node in (await api.get("/v1/nodes")).body] == ["server-2"]


async def test_of_two_who_join_at_once_with_one_token_one_does(api: Rig) -> None:
    token = (await api.post("/v1/cluster/join-tokens")).body["token"]
    replies = await asyncio.gather(
        *(api.post("/v1/nodes/join", {"token": token, "name": f"n{number}"}, token="") for number in range(4))
    )
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409]
    assert len(api.parts.view.state.nodes) == 1


async def test_a_nodes_name_is_taken_once(api: Rig) -> None:
    await join(api)
    token = (await api.post("/v1/cluster/join-tokens")).body["token"]
    reply = await api.post("/v1/nodes/join", {"token": token, "name": "node-1"}, token="")
    assert (reply.status, reply.error) == (409, "node_exists")
    assert (await api.post("/v1/nodes/join", {"token": token, "name": "node-2"}, token="")).status == 201


async def test_a_join_token_that_is_none_or_too_old_is_refused(api: Rig) -> None:
    token = (await api.post("/v1/cluster/join-tokens", {"ttl": "1h"})).body["token"]
    for bad in ("", "hj_", token[:-1] + ("1" if token.endswith("0") else "0"), token.replace("hj_", "ht_"), api.token):
        reply = await api.post("/v1/nodes/join", {"token": bad, "name": "n"}, token="")
        assert (reply.status, reply.error) == (401, "join_token_invalid"), bad
    api.clock.now += 3600
    assert (await api.post("/v1/nodes/join", {"token": token, "name": "n"}, token="")).error == "join_token_invalid"


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_is_told_who_it_is_and_how_often_to_beat(api: Rig) -> None:
    node, token = await join(api)
    reply = await open_session(api, token)
    state = api.parts.view.state
    assert reply.body == {
        "cluster": state.cluster,
        "node": node,
        "name": "node-1",
        "session": state.nodes[node].session,
        "incarnation": state.incarnation,
        "index": reply.body["session"],
        "every": 2.0,
        "redis": None,
    }


async def test_an_older_session_is_replaced_and_told_so(api: Rig) -> None:
    first = await agent(api)
    await open_session(api, first.token)
    reply = await first.sync()
    assert (reply.status, reply.error) == (409, "session_replaced")


async def test_another_machine_is_refused_while_the_first_beats(api: Rig) -> None:
    first = await agent(api)
    await first.sync()
    await api.parts.pulse.look()
    await first.sync()
    await api.parts.pulse.look()
    clone = await open_session(api, first.token, boot="boot-2")
    assert (clone.status, clone.error) == (409, "node_in_use")
    assert (await open_session(api, first.token, boot="boot-1")).status == 200, "the same machine may start again"


async def test_another_machine_may_come_when_the_first_is_silent(api: Rig) -> None:
    first = await agent(api)
    for _ in range(2):
        await first.sync()
        await api.parts.pulse.look()
    await api.pass_(11)
    assert (await open_session(api, first.token, boot="boot-2")).status == 200


async def test_an_inventory_is_taken_in_the_same_append(api: Rig) -> None:
    first = await agent(api)
    await submit(api)
    alloc = await place(api, first.node)
    inventory = {"reports": [said(alloc)], "unknown": ["c0ffee"]}
    reply = await open_session(api, first.token, inventory=inventory)
    state = api.parts.view.state
    assert state.allocs[alloc].phase == "running"
    assert state.nodes[first.node].unknown == ("c0ffee",)
    assert reply.index == state.index
    assert reply.body["session"] == reply.index - 2
    assert state.nodes[first.node].session == reply.body["session"]


async def test_a_removed_node_hears_410_and_nothing_else(api: Rig) -> None:
    first = await agent(api)
    assert (await api.do("DELETE", "/v1/nodes/node-1")).status == 200
    for reply in (await first.sync(), await open_session(api, first.token)):
        assert (reply.status, reply.error) == (410, "node_removed")


async def test_out_of_ignorance_nothing_is_said(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await agent(api)
    monkeypatch.setattr(api.parts.view, "started", False)
    for reply in (await first.sync(), await open_session(api, first.token)):
        assert (reply.status, reply.error) == (503, "starting")


# ── syncs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_assignment_is_complete_first_and_then_what_changed(api: Rig) -> None:
    first = await agent(api)
    await submit(api)
    alloc = await place(api, first.node)
    whole = (await first.sync()).body
    assert [assigned["id"] for assigned in whole["complete"]] == [alloc]
    assert whole["changed"] == []
    [assigned] = whole["complete"]
    assert (assigned["wanted"], assigned["job"], assigned["node"], assigned["slot"]) == ("run", "web", "node-1", 0)
    assert assigned["spec"]["command"] == ["sleep", "9"]
    assert assigned["spec"]["kill_timeout"] == "5s"
    same = (await first.sync(index=whole["index"])).body
    assert (same["complete"], same["changed"], same["index"]) == (None, [], whole["index"])
    await api.decide(AllocStopping(alloc, "default", "web", "requested"))
    news = (await first.sync(index=whole["index"])).body
    assert [(each["id"], each["wanted"]) for each in news["changed"]] == [(alloc, "stop")]
    assert news["index"] > whole["index"]


async def test_another_incarnation_gets_it_all(api: Rig) -> None:
    first = await agent(api)
    index = (await first.sync()).body["index"]
    assert (await first.sync(index=index)).body["complete"] is None
    assert (await first.sync(index=index, incarnation="another")).body["complete"] == []


async def test_reports_become_events_and_each_has_its_outcome(api: Rig) -> None:
    first = await agent(api)
    second = await agent(api, "node-2")
    await submit(api)
    ours, theirs = await place(api, first.node), await place(api, second.node, n=2)
    reply = await first.sync(reports=[said(ours), said(theirs), said("none"), said(ours, phase="pending")])
    assert reply.body["results"] == ["ok", "foreign", "unknown", "ok"]
    shown = (await api.get(f"/v1/allocations/{ours}")).body
    assert (shown["status"], shown["ports"]["http"]["host"]) == ("running", 20_001)
    assert (await api.get(f"/v1/allocations/{theirs}")).body["status"] == "pending"
    assert (await first.sync(reports=[said(ours, phase="pending")])).body["results"] == ["old"]


async def test_a_sync_sent_again_has_the_same_answer_and_no_other_event(api: Rig) -> None:
    first = await agent(api)
    await submit(api)
    alloc = await place(api, first.node)
    report = said(alloc, phase="failed", health="unknown", exit_code=3, failed_attempt=1, reason="exited")
    before = await first.sync(reports=[report], seq=7)
    head = (await api.log.head()).index
    again = await first.sync(reports=[report], seq=7)
    assert again.body["results"] == before.body["results"] == ["ok"]
    assert (await api.log.head()).index == head
    elsewhere = await Agent.sync(_restarted(api, first), reports=[report], seq=7)
    assert elsewhere.body["results"] == ["old"], "another api does not know the number, and takes nothing twice"
    assert (await api.log.head()).index == head


def _restarted(api: Rig, known: Agent) -> Agent:
    api.parts.synced.clear()
    return known


async def test_a_failure_is_told_once(api: Rig) -> None:
    first = await agent(api)
    await submit(api)
    alloc = await place(api, first.node)
    for _ in range(3):
        report = said(alloc, attempt=2, phase="starting", failed_attempt=1, reason="exited", exit_code=1)
        await first.sync(reports=[report])
    events = [record.event async for records in api.log.read(0) for record in records]
    assert sum(isinstance(event, AllocFailed) for event in events) == 1
    assert sum(isinstance(event, AllocReported) for event in events) == 1


async def test_a_beat_without_reports_is_answered_once_it_is_written(api: Rig) -> None:
    first = await agent(api)
    asking = first.ask()
    await eventually(lambda: api.parts.pulse._written is not None)
    await asyncio.sleep(0)
    assert not asking.task.done()
    assert await api.beats.read() == {}
    await api.parts.pulse.write()
    assert (await asking.reply()).status == 200
    beat = (await api.beats.read())[first.node]
    assert (beat.session, beat.count) == (first.session, 1)


async def test_reports_are_answered_at_their_append(api: Rig) -> None:
    first = await agent(api)
    await submit(api)
    alloc = await place(api, first.node)
    reply = await first.ask(reports=[said(alloc)]).reply()
    assert reply.body["results"] == ["ok"]
    assert await api.beats.read() == {}


async def test_many_beats_are_one_statement(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = [await agent(api, f"node-{number}") for number in range(5)]
    written: list[int] = []
    write = api.beats.write

    async def counted(beats: dict[str, Any]) -> None:
        written.append(len(beats))
        await write(beats)

    monkeypatch.setattr(api.beats, "write", counted)
    asking = [each.ask(applied=4) for each in agents]
    await eventually(lambda: len(api.parts.pulse._pending) == 5)
    await api.parts.pulse.write()
    assert [(await each.reply()).status for each in asking] == [200] * 5
    assert written == [5]
    assert {beat.applied for beat in (await api.beats.read()).values()} == {4}
    await api.parts.pulse.write()
    assert written == [5], "nothing new, nothing written"


async def test_a_beat_that_cannot_be_written_is_no_beat(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await agent(api)

    async def away(_: object) -> None:
        raise LogUnavailable("away")

    monkeypatch.setattr(api.beats, "write", away)
    reply = await first.sync()
    assert (reply.status, reply.error) == (503, "log_unavailable")


async def test_a_sync_waits_for_the_index_its_agent_has_seen(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await agent(api)
    reached: list[int] = []
    head = await api.log.head()

    async def never(index: int, _seconds: float) -> bool:
        reached.append(index)
        return False

    ahead = type(head)(head.index + 5, *[getattr(head, name) for name in head.__struct_fields__[1:]])

    async def later() -> object:
        return ahead

    monkeypatch.setattr(api.parts.view, "reached", never)
    monkeypatch.setattr(api.parts.view, "head", later)
    reply = await first.sync(state_index=head.index + 5)
    assert (reply.status, reply.error, reached) == (503, "behind", [head.index + 5])


async def test_an_agent_without_a_doorbell_may_wait_for_news(api: Rig) -> None:
    first = await agent(api)
    await submit(api)
    index = (await first.sync()).body["index"]
    asking = first.ask(index=index, wait=30.0)
    await eventually(lambda: api.parts.pulse._written is not None)
    await api.parts.pulse.write()
    await api.waiting(1)
    alloc = await place(api, first.node)
    news = (await asking.reply()).body
    assert [each["id"] for each in news["changed"]] == [alloc]
    asking = first.ask(index=news["index"], wait=30.0)
    await eventually(lambda: api.parts.pulse._written is not None)
    await api.parts.pulse.write()
    await api.waiting(1)
    api.parts.waiters.drain()
    assert (await asking.reply()).body["changed"] == []


async def test_a_newer_agent_may_say_more(api: Rig) -> None:
    node, token = await join(api)
    session = await open_session(api, token, colour="blue")
    assert session.status == 200
    first = Agent(api, node, token, session)
    assert (await first.sync(mood="good")).status == 200


@pytest.mark.parametrize("content", [b"", b"{}", b"[", b"\xff", b"[" * 100_000, b'{"session": "x", "seq": 1}'])
async def test_what_is_no_sync_is_refused(api: Rig, content: bytes) -> None:
    first = await agent(api)
    head = (await api.log.head()).index
    for path in ("/v1/agent/sync", "/v1/agent/session"):
        reply = await api.post(path, content, token=first.token)
        assert (reply.status, reply.error) == (400, "invalid_body")
    assert (await api.log.head()).index == head


async def test_nodes_show_what_their_agents_measured_and_when_they_beat(api: Rig) -> None:
    first = await agent(api)
    shown = (await api.get("/v1/nodes/node-1")).body
    assert shown["last_seen_s"] is None
    assert shown["cpu"] == {"total": 4.0, "reserved": 0.0, "used": 0}
    for _ in range(2):
        await first.sync()
        await api.parts.pulse.look()
    await first.measured({"cpu": 1.5, "memory": 2e9, "disk": 1e9})
    api.clock.ticks += 3
    shown = (await api.get("/v1/nodes/node-1")).body
    assert shown["last_seen_s"] == 3
    assert (shown["cpu"]["used"], shown["ram"]["used"], shown["disk"]["used"]) == (1.5, 2e9, 1e9)


async def test_a_great_cluster_beats_more_slowly(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await agent(api)
    nodes = api.parts.view.state.nodes
    for number in range(4999):
        nodes[f"x{number}"] = nodes[first.node]
    assert (await first.sync()).body["every"] == 5.0
