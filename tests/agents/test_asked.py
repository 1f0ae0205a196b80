"""What users ask of an allocation that runs, told as scenes: to begin anew, to be sent signals."""

from __future__ import annotations

from msgspec.structs import replace

from agents.asked import INTERRUPTED, TOO_LATE
from agents.record import report
from agents.step import step
from heroctl.domain.assignment import Report, Signalled, SignalWish
from tests.agents.world import NODE, World, assigned


def running() -> World:
    world = World(assigned())
    world.settle()
    world.names()
    return world


def report_of(world: World) -> Report:
    return report(world.record, world.now, address="10.0.0.1", health="healthy", healthy_since=world.now - 2, said="")


def asked(world: World, **more: object) -> None:
    assert world.wanted is not None
    world.wanted = replace(world.wanted, seen_attempt=world.record.attempt, **more)


def test_a_restart_ends_the_attempt_and_begins_another_that_is_no_failure() -> None:
    world = running()
    asked(world, restart=1)
    world.settle()
    assert world.names() == ["signal", "remove", "start"]
    assert (world.record.phase, world.record.attempt, world.record.failed_attempt) == ("running", 2, 0)
    assert report_of(world).restarts == 0
    world.rest()
    assert world.names() == [], "once"


def test_a_restart_gives_the_workload_its_time_to_end() -> None:
    world = running()
    world.stubborn = True
    asked(world, restart=1)
    wait = world.settle()
    assert (world.names(), world.record.phase) == (["signal"], "stopping")
    assert wait.until == world.now + 5
    world.kill_agent()
    world.rest()
    assert (world.record.phase, world.record.attempt) == ("running", 2)


def test_a_restart_ends_the_wait_before_the_next_attempt() -> None:
    world = running()
    world.exit(1)
    world.settle()
    asked(world, restart=1)
    world.settle()
    assert (world.record.phase, world.record.attempt) == ("running", 2)


def test_an_attempt_that_ended_by_itself_meanwhile_is_not_ended_twice() -> None:
    world = running()
    world.exit(1)
    world.rest()
    asked(world, restart=1)
    world.names()
    world.rest()
    assert (world.names(), world.record.attempt) == ([], 2)


def test_a_signal_is_sent_once_and_told_of() -> None:
    world = running()
    asked(world, signals=(SignalWish(1, 1, "SIGHUP"), SignalWish(2, 1, "SIGUSR1")))
    world.settle()
    assert (world.names(), world.arrived) == (["deliver", "deliver"], [1, 2])
    assert report_of(world).signalled == [Signalled(1), Signalled(2)]
    world.kill_agent()
    world.settle()
    assert world.names() == []


def test_an_agent_killed_as_it_sends_a_signal_says_so_and_does_not_send_it_again() -> None:
    world = running()
    asked(world, signals=(SignalWish(1, 1, "SIGHUP"),))
    assert world.containers is not None
    decided = step(world.wish, world.record, list(world.containers.values()), world.now, NODE)
    world.keep(decided.record)
    world.kill_agent()
    world.settle()
    assert world.names() == []
    assert report_of(world).signalled == [Signalled(1, INTERRUPTED)]


def test_a_signal_to_an_attempt_that_is_over_is_not_sent_to_the_next_one() -> None:
    world = running()
    world.exit(1)
    asked(world, signals=(SignalWish(1, 1, "SIGHUP"),))
    world.rest()
    assert (world.arrived, report_of(world).signalled) == ([], [Signalled(1, TOO_LATE)])
