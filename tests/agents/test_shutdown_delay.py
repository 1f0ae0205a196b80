"""Out of the traffic first: said to be stopping at once, and asked to end `shutdown_delay` later."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.fake_runtime import Script
from agents.step import Signal, Wait
from agents.sync import Dismissed
from heroctl.domain.duration import Duration
from tests.agents.control import refusal
from tests.agents.rig import Rig, alloc, stopped
from tests.agents.world import WEB, World, assigned

SLOW = replace(WEB, shutdown_delay=Duration.of(20))


def leaving() -> World:
    """One that runs, and is to stop from now on."""
    world = World(assigned(SLOW))
    world.settle()
    world.names()
    world.now += 60
    world.wanted = assigned(SLOW, wanted="stop")
    return world


def test_what_is_to_stop_says_so_at_once_and_is_asked_to_end_after_the_delay() -> None:
    world = leaving()
    world.stubborn = True
    began = world.now
    assert world.settle() == Wait(began + 20)
    assert (world.record.phase, world.only.state, world.names()) == ("stopping", "running", [])
    world.now = began + 19.9
    assert world.settle() == Wait(began + 20)
    world.now = began + 20
    assert world.once() == Signal("c1", "SIGTERM")
    assert world.settle() == Wait(began + 25)  # its time to end begins with the signal
    world.now = began + 25
    world.settle()
    assert (world.record.phase, world.record.exit_code) == ("complete", 137)


def test_a_crash_ends_the_delay() -> None:
    world = leaving()
    world.settle()
    world.now += 1
    world.exit(3)
    assert world.settle() == Wait()
    assert (world.record.phase, world.record.exit_code, world.containers) == ("complete", 3, {})
    assert world.record.failed_attempt == 0


def test_an_agent_that_was_killed_in_the_delay_goes_on_with_what_is_left_of_it() -> None:
    world = leaving()
    began = world.now
    world.once()
    world.now += 15
    world.kill_agent()
    assert world.settle() == Wait(began + 20)
    world.now += 30
    world.kill_agent()
    assert world.once() == Signal("c1", "SIGTERM")


def test_an_agent_that_lost_its_files_in_the_delay_begins_it_anew() -> None:
    world = leaving()
    world.once()
    world.now += 15
    world.lose_files()
    world.wanted = assigned(SLOW, wanted="stop", seen=1)
    assert world.settle() == Wait(world.now + 20)
    assert (world.record.phase, world.record.attempt) == ("stopping", 1)


def test_what_is_wanted_again_in_the_delay_runs_on_and_a_later_stop_has_all_of_it() -> None:
    world = leaving()
    world.once()
    world.now += 15
    world.wanted = assigned(SLOW)
    assert world.settle() == Wait()
    assert (world.record.phase, world.record.attempt, world.names()) == ("running", 2, [])
    world.now += 100
    world.wanted = assigned(SLOW, wanted="stop")
    assert world.settle() == Wait(world.now + 20)


def test_one_whose_content_is_another_leaves_the_traffic_first_and_a_copy_that_never_was_in_it_does_not() -> None:
    world = World(assigned(SLOW))
    world.settle()
    world.add(attempt=1)
    assert world.settle() == Wait()
    assert world.only.id == "c1"
    world.wanted = assigned(SLOW, digest="d2")
    assert world.settle() == Wait(world.now + 20)
    assert world.record.phase == "stopping"
    world.rest()
    assert (world.record.phase, world.only.digest) == ("running", "d2")


def test_what_does_not_run_has_no_traffic_to_wait_for() -> None:
    world = World(assigned(SLOW))
    world.settle()
    world.exit(1)
    world.settle()
    world.wanted = assigned(SLOW, wanted="stop")
    assert world.settle() == Wait()
    assert world.record.phase == "complete"


# ── as others see it ─────────────────────────────────────────────────────────────────────────────────────────────────


async def departing(node: Rig) -> None:
    """Have one that runs be wanted stopped, and heard of as stopping."""
    node.control.want(alloc("a", SLOW))
    node.start()
    await node.until(node.control.is_phase("a", "running"), what="running")
    node.control.want(stopped(alloc("a", SLOW)))
    await node.until(node.control.is_phase("a", "stopping"), what="stopping")


def signals(node: Rig) -> int:
    return sum(call.startswith("signal") for call in node.runtime.calls)


async def test_a_stop_is_told_at_once_and_carried_out_after_the_delay(node: Rig) -> None:
    await departing(node)
    assert (node.control.seen["a"].health, signals(node)) == ("unknown", 0)
    await node.pass_time(15)
    assert (node.states(), signals(node)) == ({"a": "running"}, 0)
    await node.until(node.control.is_phase("a", "complete"), what="complete", most=10)


async def test_an_agent_that_was_killed_in_the_delay_goes_on_with_what_is_left(node: Rig) -> None:
    await departing(node)
    await node.clock.advance(10)
    await node.kill()
    node.start()
    await node.pass_time(5)
    assert (node.states(), node.control.phase("a"), signals(node)) == ({"a": "running"}, (1, "stopping"), 0)
    await node.until(node.control.is_phase("a", "complete"), what="complete", most=8)


async def test_a_crash_in_the_delay_ends_it_and_is_no_failure(node: Rig) -> None:
    await departing(node)
    node.runtime.end(next(iter(node.ids())), 3)
    await node.until(node.control.is_phase("a", "complete"), what="complete", most=3)
    assert (node.control.seen["a"].exit_code, node.control.seen["a"].failed_attempt) == (3, 0)


async def test_in_dev_mode_the_delay_has_what_time_there_is(node: Rig) -> None:
    node.halt = True
    node.control.want(alloc("a", SLOW))
    node.start()
    await node.until(node.control.is_phase("a", "running"), what="running")
    asked = node.clock.now()
    await node.stop()
    assert node.states() == {}
    assert 1.5 <= node.clock.now() - asked <= 6


async def test_a_removed_node_gives_each_the_time_that_its_task_says(node: Rig) -> None:
    node.runtime.scripts["shop:2"] = Script(stop_takes=None)
    deaf = replace(WEB, image="shop:2", kill_timeout=Duration.of(30))
    node.control.want(alloc("a"), alloc("b", SLOW), alloc("c", deaf))
    node.start()
    await node.until(lambda: len(node.states()) == 3)
    node.control.fault = lambda _: refusal(410, "node_removed")
    await node.until(lambda: set(node.states()) == {"b", "c"}, what="the end of the first", most=10)
    await node.clock.advance(12)
    assert node.states() == {"b": "running", "c": "running"}
    await node.until(lambda: set(node.states()) == {"c"}, what="the end of the second", most=10)
    await node.kill()
    node.start()
    await node.clock.advance(3)
    assert node.states() == {"c": "running"}
    assert node.running is not None
    await node.until(node.running.done, what="the end")
    with pytest.raises(Dismissed):
        await node.running
    node.running = None
    assert (node.states(), list((node.folder / "allocs").iterdir())) == ({}, [])
