"""What an agent does by itself when nobody answers, and with what nobody named."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.container import Container
from agents.record import Record
from agents.silence import SHORT, patient, released
from agents.step import Wish
from heroctl.domain.disconnect import DOWN_AND_GIVEN_UP, stops_after
from heroctl.domain.duration import Duration
from heroctl.domain.lifecycle import DISCONNECTED
from heroctl.domain.spec import OnDisconnect
from tests.agents.rig import WEB, Rig, alloc

ALONE = replace(WEB, on_disconnect=OnDisconnect(Duration.of(60), "stop"))
MOMENT = 0.95 * 78 - 5 - 2  # seconds after its last answered beat


def cut(node: Rig) -> None:
    """Let nobody answer any more."""

    def fail(_: str) -> httpx2.Response | None:
        raise httpx2.ConnectError("no way there")

    node.control.fault = fail


async def _run_alone(node: Rig) -> None:
    node.control.want(alloc("alone", ALONE), alloc("other"))
    node.start()
    both = ("alone", "other")
    await node.until(lambda: all(node.control.is_phase(name, "running")() for name in both), what="running")
    await node.pass_time(4)


# ── decided ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(0, 500), st.floats(0, 500))
def test_it_is_stopped_from_that_moment_on_and_not_before(heard_at: float, now: float) -> None:
    wish = patient(Wish("run", alloc("a", ALONE), "i1"), Record("a"), heard_at, now)
    moment = stops_after(ALONE) or 0.0
    assert moment == pytest.approx(MOMENT)
    if now >= heard_at + moment:
        assert (wish.wanted, wish.reason) == ("stop", DISCONNECTED)
    else:
        assert (wish.wanted, wish.until) == ("run", heard_at + moment)


def test_others_are_not_concerned() -> None:
    for wish in (Wish("run", alloc("a")), Wish("keep"), Wish("stop", alloc("a", ALONE, wanted="stop"))):
        assert patient(wish, Record("a"), 0.0, 10_000.0) is wish
        assert patient(wish, Record("a"), None, 10_000.0) is wish


def test_what_has_begun_to_stop_ends_though_somebody_answers_again() -> None:
    ending = Record("a", 1, "stopping", reason=DISCONNECTED)
    for heard_at in (99.0, None):
        assert patient(Wish("run", alloc("a", ALONE)), ending, heard_at, 100.0).wanted == "stop"


# ── done ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_stops_by_itself_before_another_can_run_and_never_runs_again(node: Rig) -> None:
    await _run_alone(node)
    cut(node)
    heard = node.clock.now()
    await node.clock.advance(MOMENT - 5)
    assert node.states() == {"alone": "running", "other": "running"}
    await node.until(lambda: node.states() == {"other": "running"}, most=DOWN_AND_GIVEN_UP + 60, what="its end")
    assert node.clock.now() < heard + DOWN_AND_GIVEN_UP + 60
    node.control.fault = lambda _: None
    await node.until(node.control.is_phase("alone", "complete"), what="word of it")
    assert node.control.seen["alone"].reason == DISCONNECTED
    await node.pass_time(120)
    assert node.states() == {"other": "running"}


async def test_whoever_is_heard_stops_nothing(node: Rig) -> None:
    await _run_alone(node)
    for _ in range(4):
        cut(node)
        await node.clock.advance(MOMENT - 12)
        node.control.fault = lambda _: None
        await node.pass_time(5)
    assert node.states() == {"alone": "running", "other": "running"}


async def test_an_agent_that_is_killed_meanwhile_remembers_when_it_was_heard(node: Rig) -> None:
    await _run_alone(node)
    cut(node)
    heard = node.clock.now()
    await node.clock.advance(30)
    await node.kill()
    node.start()
    await node.clock.advance(MOMENT - 45)
    assert node.states() == {"alone": "running", "other": "running"}
    await node.until(lambda: node.states() == {"other": "running"}, most=60, what="its end")
    assert node.clock.now() < heard + DOWN_AND_GIVEN_UP + 60


async def test_after_a_boot_nothing_is_begun_before_somebody_answers(node: Rig) -> None:
    """It may have been placed elsewhere since."""
    await _run_alone(node)
    cut(node)
    await node.kill()
    node.runtime.containers.clear()
    node.boot = "boot2"
    node.start()
    await node.clock.advance(30)
    assert node.states() == {"other": "running"}
    node.control.fault = lambda _: None
    await node.until(lambda: node.states().get("alone") == "running", what="its next attempt")


# ── what nobody named ────────────────────────────────────────────────────────────────────────────────────────────────


def _container(name: str) -> Container:
    return Container(id=f"{name:0<64}", alloc="a", digest="d1", attempt=1, state="running")


@pytest.mark.parametrize(
    ("held", "allowed", "told", "goes"),
    [
        (None, ["c1"], ["c1"], False),  # nobody has looked yet
        ([], ["c1"], ["c1"], False),
        (["c1"], ["c1"], ["c1"], True),
        (["c1"], ["c1"], [], False),
        (["c1"], [], ["c1"], False),
        (["c1", "c2"], ["c1"], ["c1", "c2"], False),  # not half of it
        (["c1", "c2"], ["c1", "c2"], ["c1", "c2"], True),
    ],
)
def test_only_what_was_told_and_let_go_of_is_stopped(
    held: list[str] | None,
    allowed: list[str],
    told: list[str],
    goes: bool,  # noqa: FBT001 - a table
) -> None:
    containers = None if held is None else [_container(name) for name in held]

    def short(names: list[str]) -> list[str]:
        return [_container(name).id[:SHORT] for name in names]

    assert released(short(allowed), short(told), {"a": containers}) == (frozenset({"a"}) if goes else frozenset())


async def _restored(node: Rig) -> str:
    """Run two, and let a history begin in which one of them was never named; return that one's container."""
    node.control.want(alloc("a"), alloc("b"))
    node.start()
    await node.until(lambda: node.control.is_phase("b", "running")() and node.control.is_phase("a", "running")())
    node.control.restore("i2", 3, alloc("b", seen=1))
    await node.until(lambda: bool(node.control.sessions[-1].inventory.unknown), what="word of the unknown one")
    [unknown] = node.control.sessions[-1].inventory.unknown
    assert node.runtime.containers[unknown].alloc == "a"
    return unknown


async def test_an_operator_lets_go_of_it_and_it_is_stopped(node: Rig) -> None:
    unknown = await _restored(node)
    await node.pass_time(600)
    assert node.states() == {"a": "running", "b": "running"}
    node.control.release = [unknown]
    await node.until(lambda: node.states() == {"b": "running"}, what="its end")
    await node.until(lambda: not node.control.sessions[-1].inventory.unknown, what="word that it is gone")


async def test_what_is_named_is_not_stopped_whatever_is_let_go_of(node: Rig) -> None:
    await _restored(node)
    node.control.release = sorted(node.ids())
    await node.until(lambda: node.states() == {"b": "running"}, what="the end of the unknown one")
    await node.pass_time(60)
    assert node.states() == {"b": "running"}


async def test_what_was_let_go_of_in_another_history_is_kept(node: Rig) -> None:
    """Not before this agent has told of it in the present one."""
    node.control.want(alloc("a"), alloc("b"))
    node.start()
    await node.until(lambda: node.control.is_phase("b", "running")() and node.control.is_phase("a", "running")())
    node.control.release = sorted(node.ids())
    await node.pass_time(10)
    assert node.states() == {"a": "running", "b": "running"}
