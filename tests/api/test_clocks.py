"""Whose clock is off: each process and node tells, and the cluster's status says who, by how much and which way."""

from __future__ import annotations

from typing import Any

from eventstore.members import Present
from heroctl.domain.events import NodeDown, NodeUp
from heroctl.domain.records import Member
from tests.api.rig import EPOCH, Rig
from tests.api.specs import join, open_session
from tests.waiting import eventually


async def clocks(api: Rig) -> str:
    """Look at everything, and give what the check says; nothing: that all is well."""
    await api.parts.pulse.look()
    api.clock.ticks += 2
    checks = (await api.get("/v1/cluster/status")).body["checks"]
    [check] = [each for each in checks if each["name"] == "clocks"]
    assert check["ok"] == (not check["message"])
    return str(check["message"])


async def beat(api: Rig, token: str, session: int, seq: int, **more: object) -> dict[str, Any]:
    """Beat as a node's agent, and give the answer."""
    body = {"session": session, "seq": seq, **more}
    asking = api.ask("POST", "/v1/agent/sync", body, token=token)
    await eventually(lambda: asking.task.done() or api.parts.pulse._written is not None)
    await api.parts.pulse.write()
    reply = await asking.reply()
    assert reply.status == 200, reply.body
    return dict(reply.body)


async def test_who_is_off_is_told_with_the_side(api: Rig) -> None:
    await api.parts.pulse.renew()
    assert await clocks(api) == ""
    for skew, said in ((1_999, ""), (2_000, "reconciler-1 is 2 s ahead"), (-61_000, "reconciler-1 is 61 s behind")):
        api.members.ahead = lambda skew=skew: skew  # type: ignore[misc] # this round's
        await api.members.renew(Present(Member("reconciler-1", "reconciler", "192.0.2.2", "1.2.3")))
        assert await clocks(api) == (f"by the database's clock: {said}" if said else "")
        [_, peer] = (await api.get("/v1/cluster/peers")).body
        assert peer["clock_skew_ms"] == skew
    api.members.ahead = lambda: None
    await api.members.renew(Present(Member("reconciler-1", "reconciler", "192.0.2.2", "1.2.3")))
    assert await clocks(api) == "", "what is not known yet is not wrong"


async def test_an_agents_clock_is_held_to_the_databases_and_not_to_the_apis(api: Rig) -> None:
    node, token = await join(api)
    session = (await open_session(api, token)).body["session"]
    await api.decide(NodeUp(node, "node-1"))
    assert (await beat(api, token, session, 1))["time"] == 0, "it has not looked at the database's clock yet"
    api.members.ahead = lambda: 1_500
    await api.parts.pulse.renew()
    await api.parts.pulse.look()
    assert (await beat(api, token, session, 2))["time"] == int(EPOCH * 1000) - 1_500
    assert await clocks(api) == ""
    await beat(api, token, session, 3, skew=-4_400)
    assert await clocks(api) == "by the database's clock: node node-1 is 4 s behind"
    await api.decide(NodeDown(node, "node-1", 13.0))
    assert await clocks(api) == "", "of a node that is down nobody knows"


async def test_whatever_numbers_an_agent_sends_its_beat_harms_no_other(api: Rig) -> None:
    _, token = await join(api)
    session = (await open_session(api, token)).body["session"]
    for seq, skew in enumerate((1 << 70, -(1 << 70)), 1):
        await beat(api, token, session, seq, skew=skew)
        assert abs(next(iter((await api.beats.read()).values())).skew or 0) == 1 << 40
    await beat(api, token, session, 1 << 70, applied=1 << 70)
    [last] = (await api.beats.read()).values()
    assert (last.count, last.applied) == (1 << 40, 1 << 40), "what the database takes of it"
