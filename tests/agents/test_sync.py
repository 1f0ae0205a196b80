"""The one route for state, word by word: numbers, repetition, other apis, long polls, rings."""

from __future__ import annotations

import time

import httpx2
import msgspec
import pytest
from msgspec.structs import replace

from agents.client import Client
from agents.desired import Told
from agents.fake_runtime import Script
from agents.journal import Journal
from agents.sync import PASSING
from heroctl.domain.assignment import Ring, SyncRequest
from tests.agents.control import refusal
from tests.agents.rig import WEB, Rig, alloc, stopped


async def started(node: Rig, *names: str) -> None:
    node.control.want(*(alloc(name) for name in names))
    node.start()
    await node.until(lambda: all(node.control.is_phase(name, "running")() for name in names), what="running")


def fails(node: Rig, times: int, answer: httpx2.Response | None = None) -> None:
    """Let so many requests fail: by an answer, or by none."""
    left = times

    def fault(_: str) -> httpx2.Response | None:
        nonlocal left
        if left <= 0:
            return None
        left -= 1
        if answer is not None:
            return answer
        raise httpx2.ConnectError("nobody there")

    node.control.fault = fault


async def test_it_beats_every_two_seconds_with_numbers_in_order(node: Rig) -> None:
    node.control.want(alloc("a"))
    node.start()
    await node.pass_time(20)
    numbers = [sync.seq for sync in node.control.syncs]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 9 <= len([sync for sync in node.control.syncs if not sync.reports]) <= 16
    assert {sync.session for sync in node.control.syncs} == {10}


async def test_it_tells_how_far_its_clock_is_ahead_of_what_it_heard(node: Rig) -> None:
    node.control.want(alloc("a"))
    node.start()
    await node.pass_time(6)
    assert {sync.skew for sync in node.control.syncs} == {None}, "this api does not say what time it is"
    for behind in (40_000, -7_000):
        node.control.time = lambda behind=behind: round(time.time() * 1000) - behind  # type: ignore[misc] # this round's
        await node.pass_time(6)
        assert node.control.syncs[-1].skew == pytest.approx(behind, abs=2_000)


async def test_the_first_sync_of_a_session_asks_for_everything_and_the_next_for_what_changed(node: Rig) -> None:
    await started(node, "a")
    first = node.control.syncs[0]
    assert (first.index, first.incarnation, first.mark) == (0, "", None)
    await node.pass_time(4)
    assert (node.control.syncs[-1].index, node.control.syncs[-1].incarnation) == (1, "i1")
    await node.kill()
    node.control.syncs.clear()
    node.start()
    await node.until(lambda: node.control.syncs, what="a sync of the next agent")
    assert (node.control.syncs[0].index, node.control.syncs[0].incarnation) == (0, "i1")


async def test_it_says_by_its_newest_mark_which_history_it_was_told(node: Rig) -> None:
    await started(node, "a")
    await node.pass_time(4)
    assert node.control.syncs[-1].mark == node.control.mark
    node.control.beyond = 7
    await node.pass_time(4)
    assert node.control.syncs[-1].mark == node.control.mark, "though nothing changed for this node"
    node.control.want(alloc("b"))
    await node.until(lambda: "b" in node.states(), what="the next one")
    told, node.control.beyond = node.control.mark, 9
    await node.pass_time(4)
    await node.kill()
    node.control.syncs.clear()
    node.start()
    await node.until(lambda: node.control.syncs, what="a sync of the next agent")
    for said in (node.control.sessions[-1], node.control.syncs[0]):
        assert (said.incarnation, said.mark) == ("i1", told), "what it was told with the assignment is on its disk"


async def test_a_mark_that_moves_alone_is_not_written(node: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so with every event of the cluster, and each write waits for the disk."""
    node.control.marks = False
    await started(node, "a")
    await node.pass_time(4)
    written: list[Told] = []
    hold = Journal.hold

    async def seen(journal: Journal, told: Told, heard_at: float | None = None) -> None:
        written.append(told)
        await hold(journal, told, heard_at)

    monkeypatch.setattr(Journal, "hold", seen)
    node.control.marks = True
    await node.pass_time(4)
    assert [told.mark for told in written] == [node.control.mark], "the first of an api that gives any"
    for beyond in range(1, 9):
        node.control.beyond = beyond
        await node.pass_time(4)
    assert len(written) == 1


async def test_a_lost_answer_makes_it_ask_the_same_again(node: Rig) -> None:
    await started(node, "a")
    node.control.lose = 3
    node.control.want(stopped(alloc("a")))
    await node.until(node.control.is_phase("a", "complete"), what="complete")
    await node.pass_time(5)
    repeated = [one for one in node.control.syncs if [two.seq for two in node.control.syncs].count(one.seq) > 1]
    assert len({msgspec.json.encode(one) for one in repeated}) == len({one.seq for one in repeated}) >= 1
    assert len(repeated) >= 4
    phases = [report.phase for report in node.control.history if report.alloc == "a"]
    assert phases == sorted(phases, key=["starting", "running", "stopping", "complete"].index)


async def test_what_was_not_answered_goes_to_another_api(node: Rig) -> None:
    node.urls = ("http://api-1", "http://api-2/")
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "running"), what="running")
    assert set(node.control.hosts) == {"api-1"}
    fails(node, 1)
    await node.pass_time(5)
    assert node.control.hosts[-1] == "api-2"
    fails(node, 1, refusal(503, "starting"))
    await node.pass_time(5)
    assert node.control.hosts[-1] == "api-1"


async def test_it_says_which_index_of_the_log_it_has_seen_and_who_it_is(node: Rig) -> None:
    await started(node, "a")
    await node.pass_time(4)
    header = node.control.headers[-1]
    assert header["Authorization"] == "Bearer hn_secret"
    assert header["X-HeroCtl-Index"] == str(1000 + node.control.index)
    assert node.control.syncs[-1].state_index == 1000 + node.control.index


async def test_an_unknown_conflict_leads_to_a_new_session_with_all_there_is(node: Rig) -> None:
    await started(node, "a")
    fails(node, 1, refusal(409, "session_unknown"))
    await node.until(lambda: len(node.control.sessions) == 2, what="a new session")
    assert [one.alloc for one in node.control.sessions[-1].inventory.reports] == ["a"]
    await node.pass_time(5)
    assert node.control.syncs[-1].session == 20


async def test_without_a_doorbell_it_always_waits_for_something_newer(node: Rig) -> None:
    await started(node, "a")
    await node.pass_time(10)
    assert node.control.syncs[-1].wait == 2.0
    node.control.want(alloc("b"))
    await node.until(lambda: "b" in node.states(), step=0.0, what="the next one, at once")


async def test_what_happens_while_it_waits_is_told_at_once(node: Rig) -> None:
    await started(node, "a")
    await node.pass_time(10)
    before = node.clock.now()
    node.runtime.end(next(iter(node.ids())), 1)
    await node.until(node.control.is_phase("a", "ended"), step=0.0, what="the report")
    assert node.clock.now() == before


async def test_a_report_that_no_api_can_read_costs_only_itself(node: Rig) -> None:
    await started(node, "a", "b", "c")
    inner = node.control.transport

    async def picky(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("sync"):
            sync = msgspec.json.decode(request.content, type=SyncRequest)
            if any(report.alloc == "b" and report.phase != "running" for report in sync.reports):
                return refusal(400, "invalid_body")
        return await inner.handle_async_request(request)

    assert node.agent is not None
    client: Client = node.agent.sync._client
    client._http._transport = httpx2.MockTransport(picky)
    node.control.want(stopped(alloc("a")), stopped(alloc("b")), stopped(alloc("c")))
    await node.until(node.control.is_phase("a", "complete"), what="a")
    await node.until(node.control.is_phase("c", "complete"), what="c")
    assert node.control.phase("b") == (1, "running")
    assert node.states() == {}


async def test_a_ring_acts_before_the_next_beat_and_one_that_does_not_fit_pulls(node: Rig) -> None:
    await started(node, "a")
    await node.pass_time(4)
    agent = node.agent
    assert agent is not None
    node.control.index += 1
    new = msgspec.structs.replace(alloc("b"), index=node.control.index)
    node.control.wanted["b"] = new
    agent._rang(Ring("i1", node.control.index, node.control.index - 1, [new], node.control.mark))
    assert agent.held() == Told("i1", node.control.index, node.control.mark)
    await node.until(lambda: "b" in node.states(), step=0.0, what="what was rung for")
    node.control.index += 5
    third = msgspec.structs.replace(alloc("c"), index=node.control.index)
    node.control.wanted["c"] = third
    agent._rang(Ring("i1", node.control.index, node.control.index - 1, [third]))
    assert "c" not in agent.workers
    await node.until(lambda: "c" in node.states(), step=0.0, what="what was pulled")
    agent._rang(None)
    await node.pass_time(2)


async def test_a_report_on_what_a_ring_brought_says_that_the_api_must_know_of_it(node: Rig) -> None:
    """An api whose view is behind the ring would call the allocation unknown, and the report would be lost."""
    await started(node, "a")
    agent = node.agent
    assert agent is not None
    before, node.control.index = node.control.index, 5000
    new = msgspec.structs.replace(alloc("b"), index=5000)
    node.control.wanted["b"] = new
    agent._rang(Ring("i1", 5000, before, [new]))

    def told() -> list[int]:
        return [sync.state_index for sync in node.control.syncs for report in sync.reports if report.alloc == "b"]

    await node.until(lambda: bool(told()), step=0.0, what="a report on it")
    assert min(told()) >= 5000


def said(node: Rig) -> list[list[tuple[str, str]]]:
    """List what was reported, request by request."""
    return [[(one.alloc, one.phase) for one in sync.reports] for sync in node.control.syncs if sync.reports]


async def test_what_passes_at_once_is_reported_with_what_follows(node: Rig) -> None:
    """Several that begin, and end, together are told of together, and of no phase that was over by then."""
    await started(node, "a", "b", "c")
    assert said(node) == [[("a", "running"), ("b", "running"), ("c", "running")]]
    node.control.want(*(stopped(alloc(name)) for name in "abc"))
    await node.until(lambda: all(node.control.is_phase(name, "complete")() for name in "abc"), what="the end of all")
    assert said(node)[1:] == [[("a", "complete"), ("b", "complete"), ("c", "complete")]]


async def test_what_takes_its_time_is_reported_all_the_same(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(start_takes=3.0, stop_takes=2.0)
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "starting"), step=0.01, what="starting")
    began = node.clock.now()
    await node.until(node.control.is_phase("a", "running"), step=0.01, what="running")
    assert node.clock.now() - began > 2.5, "it was told of at once, not when it was over"
    node.control.want(stopped(alloc("a")))
    await node.until(node.control.is_phase("a", "stopping"), step=0.01, what="stopping")
    assert said(node) == [[("a", "starting")], [("a", "running")], [("a", "stopping")]]


async def test_nobody_waits_for_one_that_takes_its_time(node: Rig) -> None:
    node.runtime.scripts["slow:1"] = Script(start_takes=60.0)
    node.control.want(alloc("a"), alloc("slow", replace(WEB, image="slow:1")))
    node.start()
    before = node.clock.now()
    await node.until(node.control.is_phase("a", "running"), step=0.005, what="the quick one")
    assert node.clock.now() - before <= 2 * PASSING
    assert said(node)[-1] == [("a", "running"), ("slow", "starting")]


async def test_many_reports_go_in_pieces(node: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.sync.FULL", 3)
    names = [f"a{number}" for number in range(10)]
    await started(node, *names)
    assert max(len(sync.reports) for sync in node.control.syncs) <= 3
