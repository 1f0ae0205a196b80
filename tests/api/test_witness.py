"""What agents were told is in the log, or it is not the log that they were told of: nobody else may remember."""

from __future__ import annotations

import pytest

from eventstore.log import PAGE, Row
from eventstore.tail import Tail
from eventstore.view import fold
from heroctl.domain.state import State
from tests.api.rig import Rig
from tests.api.specs import open_session, place, submit
from tests.api.test_agent import agent


@pytest.mark.parametrize("anew", [True, False])
async def test_an_agent_that_was_told_more_than_there_is_bears_witness(api: Rig, anew: bool) -> None:  # noqa: FBT001 - both ways
    """The log is an older copy, and every process began on it: it gets another name, once, and agents all of it."""
    first, second = await agent(api), await agent(api, "node-2")
    before, more = api.parts.view.state.incarnation, api.parts.view.index + 40
    if anew:
        assert (await open_session(api, first.token, incarnation=before, index=more)).status == 200
    else:
        reply = await first.sync(index=more)
        assert reply.body["incarnation"] != before
        assert reply.body["complete"] == []
    after = api.parts.view.state.incarnation
    assert after != before
    assert (await second.sync(index=more)).body["incarnation"] == after
    assert (await second.sync(index=more, incarnation="another")).body["incarnation"] == after


async def outgrown(api: Rig, told: int) -> None:
    """Put the older copy that ends at an index in the log's place, for processes that never knew more."""
    view = api.parts.view
    async with view.still():
        api.log.lose(told)
        view.state, view._tail, view._known = State(), Tail(api.log), 0
        async for records in view._tail.pages():
            fold(view.state, records)
    for number in range(40):
        await api.post("/v1/nodes/node-1/eligibility", {"eligible": bool(number % 2)})


@pytest.mark.parametrize("anew", [True, False])
async def test_a_copy_that_has_gone_further_than_its_agents_were_told_is_told_by_their_marks(
    api: Rig,
    anew: bool,  # noqa: FBT001 - both ways
) -> None:
    first, second = await agent(api), await agent(api, "node-2")
    copied, before = api.parts.view.index, api.parts.view.state.incarnation
    await submit(api)
    await place(api, first.node)
    told = (await first.sync()).body
    assert told["mark"]["index"] == told["state_index"] == api.parts.view.index
    held = {"index": told["index"], "mark": told["mark"]}
    await outgrown(api, copied)
    assert api.parts.view.index > told["state_index"]
    assert (await second.sync(index=1)).body["incarnation"] == before, "who says no more than an index cannot tell"
    if anew:
        assert (await open_session(api, first.token, incarnation=before, **held)).status == 200
    else:
        reply = await first.sync(**held)
        assert reply.body["incarnation"] != before
        assert reply.body["complete"] == []
    after = api.parts.view.state.incarnation
    assert after != before
    assert (await second.sync(**held)).body["incarnation"] == after, "once"


async def test_who_asks_for_everything_is_a_witness_too(api: Rig) -> None:
    """What rang was of the copy and did not fit: the agent asks for all of it, and would drop what is not named."""
    first = await agent(api)
    copied, before = api.parts.view.index, api.parts.view.state.incarnation
    await submit(api)
    await place(api, first.node)
    told = (await first.sync()).body
    await outgrown(api, copied)
    assert (await first.sync(index=0, mark=told["mark"])).body["incarnation"] != before


async def test_marks_of_this_history_cost_no_question(api: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await agent(api)
    begun = (await first.sync()).body
    asked: list[int] = []
    page = api.log.page

    async def counted(after: int, events: int = PAGE) -> list[Row]:
        asked.append(events)
        return await page(after, events)

    monkeypatch.setattr(api.log, "page", counted)
    told = begun
    for _ in range(20):
        told = (await first.sync()).body
        await submit(api)
        assert (await first.sync(index=told["index"], mark=told["mark"])).body["complete"] is None
        assert (await first.sync(index=told["index"], mark=begun["mark"])).body["complete"] is None
    assert 1 not in asked
    monkeypatch.setattr(api.parts.view._tail, "_ends", {})
    again = await first.sync(index=told["index"], mark=begun["mark"])
    assert (again.body["complete"], asked[-1]) == (None, 1), "who was away for long: one row"


async def test_a_mark_that_the_log_does_not_reach_back_to_is_believed(api: Rig) -> None:
    first = await agent(api)
    told = (await first.sync()).body
    for _ in range(3):
        await submit(api)
    api.log.compact(told["mark"]["index"] + 1)
    api.parts.view._tail._ends.clear()
    reply = await first.sync(index=told["index"], mark=told["mark"])
    assert (reply.body["incarnation"], reply.body["complete"]) == (told["incarnation"], None)
