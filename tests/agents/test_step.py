"""The life of an allocation on its node, told as scenes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.record import Record, report, restored
from agents.step import Fault, Signal, Start, Wait, Wish, step
from heroctl.domain.assignment import Report
from heroctl.domain.duration import Duration
from heroctl.domain.spec import Port, Restart
from tests.agents.world import NODE, WEB, World, assigned


def running() -> World:
    world = World(assigned())
    world.settle()
    world.names()
    return world


# ── begin ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wanted_allocation_gets_its_ports_and_runs() -> None:
    world = World(assigned())
    assert world.settle() == Wait()
    assert world.names() == ["reserve", "start"]
    assert (world.record.phase, world.record.attempt, world.record.container) == ("running", 1, "c1")
    assert world.record.ports == {"http": 20_000}


def test_an_image_that_is_not_here_is_pulled_first() -> None:
    world = World(assigned(replace(WEB, image="far:1", ports={})))
    world.settle()
    assert world.names() == ["start", "pull", "start"]
    assert world.record.phase == "running"


def test_an_image_that_is_nowhere_fails_the_allocation_at_once() -> None:
    world = World(assigned())
    world.faults[1] = Fault("final", "image_missing", "no such image: shop:1")
    assert world.settle() == Wait()
    assert (world.record.phase, world.record.reason, world.record.failed_attempt) == ("failed", "image_missing", 1)


def test_a_dynamic_port_that_is_taken_is_replaced_and_the_new_one_kept() -> None:
    world = World(assigned())
    world.faults[1] = Fault("port", "port_in_use", "20000 is in use", 20_000)
    for _ in range(3):
        world.once()
    del world.faults[1]
    world.settle()
    assert (world.record.phase, world.record.ports) == ("running", {"http": 20_001})
    world.exit(1)
    world.rest()
    assert (world.record.attempt, world.record.ports) == (2, {"http": 20_001})


def test_a_fixed_port_that_is_taken_fails_the_allocation() -> None:
    world = World(assigned(replace(WEB, ports={"http": Port(80, 80)})))
    world.faults[1] = Fault("port", "port_in_use", "80 is in use", 80)
    world.settle()
    assert (world.record.phase, world.record.reason) == ("failed", "port_in_use")


def test_ports_that_stay_taken_end_the_search() -> None:
    world = World(assigned())
    world.faults[1] = Fault("port", "port_in_use")
    world.settle(most=100)
    assert (world.record.phase, world.record.reason) == ("failed", "port_in_use")


def test_a_reference_that_means_nothing_fails_the_allocation_and_says_which() -> None:
    world = World(assigned(replace(WEB, ports={}, env={"A": "${node.labels.rack}"})))
    world.settle()
    assert (world.record.phase, world.record.reason) == ("failed", "unknown_reference")
    assert "${node.labels.rack}" in world.record.message
    assert world.names() == []


# ── restarts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [0, 1])
def test_a_service_that_exits_is_begun_again_after_the_delay_also_after_exit_code_0(code: int) -> None:
    world = running()
    world.exit(code)
    wait = world.settle()
    assert (world.record.phase, world.record.exit_code, world.record.failed_attempt) == ("ended", code, 1)
    assert wait.until is not None
    assert 10 <= wait.until - world.now <= 12.5
    world.now = wait.until
    world.settle()
    assert world.names() == ["remove", "start"]
    assert (world.record.phase, world.record.attempt) == ("running", 2)
    assert report_of(world).restarts == 1


def test_restarts_spent_within_the_interval_fail_the_allocation() -> None:
    world = running()
    for _ in range(2):
        world.exit(3)
        world.rest()
    world.exit(4)
    world.rest()
    assert (world.record.phase, world.record.attempt) == ("failed", 3)
    assert (world.record.exit_code, world.record.failed_attempt, world.record.reason) == (4, 3, "exited")
    assert world.containers == {}


def test_restarts_outside_of_the_interval_are_forgotten() -> None:
    world = running()
    for _ in range(6):
        world.now += 601
        world.exit(1)
        world.rest()
    assert (world.record.phase, world.record.attempt) == ("running", 7)


def test_mode_delay_waits_for_the_interval_and_goes_on() -> None:
    policy = Restart(attempts=1, interval=Duration.of(100), delay=Duration.of(1), mode="delay")
    world = World(assigned(replace(WEB, restart=policy)))
    world.settle()
    world.exit(1)
    world.rest()
    begun = world.record.begun[0]
    world.exit(1)
    assert world.settle().until == pytest.approx(begun + 100)
    world.rest()
    assert (world.record.phase, world.record.attempt) == ("running", 3)


def test_mode_delay_without_attempts_waits_for_the_whole_interval() -> None:
    policy = Restart(attempts=0, interval=Duration.of(100), delay=Duration.of(1), mode="delay")
    world = World(assigned(replace(WEB, restart=policy)))
    world.settle()
    world.exit(1)
    assert world.settle().until == world.now + 100


def test_no_attempts_in_mode_fail_means_the_first_exit_is_final() -> None:
    world = World(assigned(replace(WEB, restart=Restart(attempts=0))))
    world.settle()
    world.exit(0)
    world.settle()
    assert world.record.phase == "failed"


def test_a_changed_policy_acts_in_place() -> None:
    world = running()
    world.wanted = assigned(replace(WEB, restart=Restart(attempts=0)), index=2)
    assert world.settle() == Wait()
    assert world.names() == []
    world.exit(1)
    world.settle()
    assert world.record.phase == "failed"


def test_a_start_that_fails_uses_up_an_attempt() -> None:
    world = World(assigned())
    world.faults = {number: Fault("attempt", "start_failed", "no such program") for number in (1, 2, 3)}
    world.rest()
    assert (world.record.phase, world.record.attempt, world.record.reason) == ("failed", 3, "start_failed")


def test_the_delay_differs_between_allocations_and_attempts_but_never_for_the_same() -> None:
    def delay(alloc: str, attempt: int) -> float | None:
        record = Record(alloc, attempt=attempt, phase="running", container="gone")
        decided = step(Wish("run", assigned()), record, [], 0.0, NODE).action
        assert isinstance(decided, Wait)
        return decided.until

    assert len({delay(alloc, attempt) for alloc in "abcdef" for attempt in (1, 2, 3)}) > 15
    assert delay("a", 1) == delay("a", 1)


def test_out_of_memory_is_said() -> None:
    world = running()
    world.exit(137, oom=True)
    world.settle()
    assert (world.record.oom, world.record.reason) == (True, "oom")
    assert "256MB" in world.record.message


def test_a_container_that_someone_removed_is_a_failed_attempt() -> None:
    world = running()
    world.containers = {}
    world.settle()
    assert (world.record.phase, world.record.reason, world.record.failed_attempt) == ("ended", "container_gone", 1)


# ── stop ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stop_asks_first_and_is_complete_when_the_container_has_ended() -> None:
    world = running()
    world.wanted = assigned(replace(WEB, stop_signal="SIGINT"), wanted="stop")
    assert world.once() == Signal("c1", "SIGINT")
    assert world.record.phase == "stopping"
    world.settle()
    assert (world.record.phase, world.record.exit_code) == ("complete", 143)
    assert world.names() == ["signal", "remove"]


def test_one_that_does_not_listen_is_killed_after_the_timeout() -> None:
    world = running()
    world.stubborn = True
    world.wanted = assigned(wanted="stop")
    wait = world.settle()
    assert wait.until == world.now + 5
    world.now += 4.9
    assert world.settle().until == wait.until
    world.now += 0.1
    assert world.once() == Signal("c1", "SIGKILL")
    world.settle()
    assert (world.record.phase, world.record.exit_code) == ("complete", 137)


def test_a_kill_that_does_nothing_is_repeated() -> None:
    world = running()
    world.wanted = assigned(wanted="stop")
    record = replace(world.record, phase="stopping", ending="c1", ending_at=world.now - 6, killed_at=world.now - 1)
    again = step(world.wish, record, [world.only], world.now, NODE)
    assert again.action == Wait(world.now + 9)
    assert step(world.wish, record, [world.only], world.now + 9, NODE).action == Signal("c1", "SIGKILL")


def test_a_stop_before_anything_began_is_complete_at_once() -> None:
    world = World(assigned(wanted="stop"))
    assert world.settle() == Wait()
    assert (world.record.phase, world.names()) == ("complete", [])


def test_a_stop_while_waiting_to_restart_is_complete() -> None:
    world = running()
    world.exit(1)
    world.settle()
    world.wanted = assigned(wanted="stop")
    world.settle()
    assert (world.record.phase, world.containers) == ("complete", {})
    assert world.record.failed_attempt == 1


# ── again ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_that_was_killed_adopts_what_runs() -> None:
    world = running()
    world.kill_agent()
    assert world.settle() == Wait()
    assert (world.names(), world.record.attempt, world.record.container) == ([], 1, "c1")


def test_an_agent_that_lost_its_files_adopts_by_labels_and_keeps_the_ports() -> None:
    world = running()
    world.lose_files()
    world.wanted = assigned(seen=1)
    assert world.settle() == Wait()
    assert world.names() == []
    assert (world.record.phase, world.record.attempt, world.record.ports) == ("running", 1, {"http": 20_000})


def test_a_fresh_container_after_lost_files_is_numbered_above_what_was_seen() -> None:
    world = World(assigned(seen=7))
    world.settle()
    assert world.record.attempt == 8


def test_old_files_lead_to_no_number_that_was_used_before() -> None:
    world = World(assigned(seen=4))
    world.keep(Record("alloc1", attempt=1, phase="starting"))
    world.settle()
    assert (world.record.phase, world.record.attempt) == ("running", 5)


def test_an_adopted_container_is_never_reported_below_what_was_seen() -> None:
    world = World(assigned(seen=4))
    world.add(attempt=2)
    world.settle()
    assert (world.record.phase, world.record.attempt, world.names()) == ("running", 5, [])


def test_a_container_that_ended_while_the_agent_was_away_is_a_failed_attempt() -> None:
    world = running()
    world.exit(3)
    world.lose_files()
    world.wanted = assigned(seen=1)
    world.settle()
    assert (world.record.phase, world.record.attempt, world.record.exit_code) == ("ended", 1, 3)


def test_another_content_is_replaced_as_one_asks_first() -> None:
    world = running()
    world.wanted = assigned(digest="d2")
    world.settle()
    assert world.names() == ["signal", "remove", "start"]
    assert (world.record.phase, world.record.attempt, world.only.digest) == ("running", 2, "d2")
    assert (world.record.failed_attempt, report_of(world).restarts) == (0, 0)


def test_a_container_that_somebody_ended_and_started_again_is_another_attempt() -> None:
    world = running()
    world.now += 60
    world.containers = {"c1": replace(world.only, run="2026-01-01T00:00:00Z", started_at=world.now)}
    assert world.settle() == Wait()
    assert (world.names(), world.record.phase, world.record.attempt) == ([], "running", 2)
    assert (world.record.started_at, report_of(world).restarts) == (world.now, 0)
    world.kill_agent()
    assert world.settle() == Wait()
    assert world.record.attempt == 2


def test_a_second_container_of_the_same_allocation_goes_and_the_first_stays() -> None:
    world = running()
    world.add(attempt=1)
    world.settle()
    assert (world.only.id, world.record.attempt, world.record.phase) == ("c1", 1, "running")


def test_a_container_made_but_not_started_is_made_again_as_the_same_attempt() -> None:
    world = World(assigned())
    world.once()
    world.once()
    world.containers = {}
    world.add(state="created")
    world.kill_agent()
    world.settle()
    assert (world.only.attempt, world.only.state, world.record.attempt) == (1, "running", 1)


def test_workloads_that_ended_with_their_agent_are_begun_again_at_once_and_not_counted() -> None:
    world = running()
    world.end_with_workloads()
    assert world.settle() == Wait()
    assert (world.record.phase, world.record.attempt, world.record.failed_attempt) == ("running", 2, 0)


def test_what_a_restored_log_wants_again_is_taken_up_again() -> None:
    world = running()
    world.stubborn = True
    world.wanted = assigned(wanted="stop")
    world.settle()
    world.wanted = assigned()
    world.settle()
    assert (world.record.phase, world.record.attempt, world.only.state) == ("running", 2, "running")


def test_times_of_a_boot_that_is_over_are_moved_to_this_one() -> None:
    record = Record("a", started_at=50.0, begun=(40.0,), not_before=60.0, stopping_at=54.0, ending="c1", ending_at=55.0)
    moved = restored(record, -45.0)
    assert (moved.started_at, moved.begun, moved.not_before, moved.ending) == (5.0, (-5.0,), 15.0, "")
    assert moved.stopping_at == 9.0


# ── ignorance ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_done_while_the_runtime_cannot_say_what_there_is() -> None:
    world = running()
    world.containers = None
    world.wanted = assigned(wanted="stop")
    assert world.settle() == Wait()
    assert world.record.phase == "running"


def test_nothing_is_done_for_what_nobody_names() -> None:
    world = running()
    world.wanted = None
    world.exit(1)
    assert world.settle() == Wait()
    assert world.names() == []


def report_of(world: World) -> Report:
    return report(world.record, world.now, address="10.0.0.1", health="healthy", healthy_since=world.now - 2, said="")


def test_a_report_holds_elapsed_times_and_short_prose() -> None:
    world = running()
    world.now += 5
    told = report(world.record, world.now, address="10.0.0.1", health="healthy", healthy_since=world.now - 2, said="")
    assert (told.running_for, told.healthy_for, told.health, told.address) == (5.0, 2.0, "healthy", "10.0.0.1")
    long = replace(world.record, message="é" * 2000)
    assert len(report(long, 0.0, address="", health="unknown", healthy_since=None, said="").message.encode()) <= 1024


def test_a_description_leaves_nothing_to_choose() -> None:
    world = World(assigned())
    world.settle()
    (start,) = [action for action in world.done if isinstance(action, Start)]
    assert start.description.name == "shop.web.0.alloc1.1"
    assert [(port.name, port.container, port.host) for port in start.description.ports] == [("http", 8080, 20_000)]
