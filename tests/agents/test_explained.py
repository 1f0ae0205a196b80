"""Why a replica failed, or is not healthy: what its reports say of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.fake_runtime import Script
from agents.record import report
from heroctl.domain import lifecycle
from heroctl.domain.assignment import Report
from heroctl.domain.duration import Duration
from heroctl.domain.spec import Health
from tests.agents.rig import WEB, Rig, alloc
from tests.agents.world import World, assigned


def test_a_report_says_why_a_check_says_no_and_nothing_of_health_once_it_does_not_run() -> None:
    world = World(assigned())
    world.settle()

    def told(health: lifecycle.Health) -> Report:
        return report(world.record, world.now, address="", health=health, healthy_since=None, said="got 500")

    assert (told("unhealthy").reason, told("unhealthy").message) == ("unhealthy", "got 500")
    assert (told("unknown").reason, told("unknown").message) == ("", "got 500")
    world.exit(1)
    world.settle()
    after = told("unhealthy")
    assert (after.reason, after.health, after.running_for) == ("exited", "unknown", None)


def test_the_last_that_it_said_stands_below_what_happened() -> None:
    world = World(assigned())
    world.settle()
    world.exit(3)
    world.containers = {"c1": replace(world.only, output="Traceback:\nKeyError: 'x'")}
    world.settle()
    assert world.record.message == "exited with code 3\nTraceback:\nKeyError: 'x'"


async def started(node: Rig) -> None:
    """Have one run."""
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "running"), what="running")


async def test_the_last_that_a_replica_said_is_told_with_its_end(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(says="starting\nno DATABASE_URL\n")
    await started(node)
    node.runtime.end(next(iter(node.ids())), 3)
    await node.until(node.control.is_phase("a", "ended"), what="ended")
    assert node.control.seen["a"].message == "exited with code 3\nstarting\nno DATABASE_URL"


async def test_the_last_that_a_replica_said_is_told_though_it_ended_while_no_agent_was_there(node: Rig) -> None:
    node.runtime.scripts["shop:1"] = Script(says="x" * 5000)
    await started(node)
    await node.kill()
    node.runtime.end(next(iter(node.ids())), 3)
    node.start()
    await node.until(node.control.is_phase("a", "ended"), what="ended")
    message = node.control.seen["a"].message
    assert message.startswith("exited with code 3\nxxx")
    assert len(message.encode()) <= 1024


async def test_a_late_crash_begins_the_time_of_health_anew(node: Rig) -> None:
    check = Health(http="/", interval=Duration.of(1), retries=2, start_period=Duration.of(0))
    node.control.want(alloc("a", replace(WEB, health=check)))
    node.start()
    await node.until(lambda: "a" in node.control.seen and node.control.seen["a"].health == "healthy")
    await node.pass_time(60)
    node.runtime.end(next(iter(node.ids())), 1)
    await node.until(lambda: node.control.phase("a") == (2, "running"), what="the second attempt")
    await node.until(lambda: node.control.seen["a"].health == "healthy", what="healthy again")
    assert (node.control.seen["a"].healthy_for or 0.0) <= 0.5


async def test_a_container_that_somebody_started_again_begins_the_time_of_health_anew(node: Rig) -> None:
    check = Health(http="/", interval=Duration.of(1), retries=2, start_period=Duration.of(0))
    node.control.want(alloc("a", replace(WEB, health=check)))
    node.start()
    await node.until(lambda: "a" in node.control.seen and node.control.seen["a"].health == "healthy")
    await node.pass_time(60)
    (container,) = node.runtime.containers.values()
    node.runtime.containers[container.id] = replace(container, run="again", started_at=node.clock.now())
    node.runtime._ends.put_nowait("a")
    await node.until(lambda: node.control.phase("a") == (2, "running"), what="the second attempt")
    await node.until(lambda: node.control.seen["a"].health == "healthy", what="healthy again")
    assert (node.control.seen["a"].healthy_for or 0.0) <= 0.5
    assert node.ids() == {container.id}


@pytest.mark.parametrize("start_period", [3, 600])
async def test_why_one_is_not_healthy_yet_is_told_once(node: Rig, start_period: int) -> None:
    check = Health(http="/", interval=Duration.of(10), retries=100, start_period=Duration.of(start_period))
    node.runtime.scripts["shop:1"] = Script(healthy=False)
    node.control.want(alloc("a", replace(WEB, health=check)))
    node.start()
    await node.pass_time(20)
    told, reports = node.control.seen["a"], len(node.control.history)
    assert (told.health, told.reason, told.message) == ("unknown", "", "it says no")
    await node.pass_time(60)
    assert len(node.control.history) == reports <= 3


async def test_health_is_watched_and_told_when_it_changes(node: Rig) -> None:
    check = Health(http="/", interval=Duration.of(1), retries=2, start_period=Duration.of(0))
    node.runtime.scripts["shop:1"] = Script(healthy=False)
    node.control.want(alloc("a", replace(WEB, health=check)))
    node.start()
    await node.until(lambda: "a" in node.control.seen and node.control.seen["a"].health == "unhealthy")
    assert (node.control.seen["a"].reason, node.control.seen["a"].message) == ("unhealthy", "it says no")
    node.runtime.scripts["shop:1"] = Script()
    await node.until(lambda: node.control.seen["a"].health == "healthy", what="healthy")
    assert node.control.seen["a"].healthy_for == 0.0
    node.control.want(alloc("a"))
    await node.pass_time(1)
    assert node.control.seen["a"].attempt == 1
