"""Replicas of batch jobs on their node: exit code 0 is the end, and what they work on reaches them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.container import describe
from agents.step import Wait
from heroctl.domain.assignment import Work
from heroctl.domain.spec import File, Restart
from tests.agents.world import NODE, WEB, World, assigned

WORK = Work(7, scheduled_at=1_767_225_600_000, payload="grüße".encode(), meta={"order-id": "42"})
BATCH = replace(assigned(replace(WEB, ports={})), work=WORK)


def running() -> World:
    world = World(BATCH)
    world.settle()
    return world


def test_exit_code_0_ends_it_well_and_nothing_begins_again() -> None:
    world = running()
    world.exit(0)
    assert world.settle() == Wait()
    world.rest()
    record = world.record
    assert (record.phase, record.exit_code, record.attempt, record.failed_attempt) == ("complete", 0, 1, 0)


def test_any_other_is_tried_again_and_may_end_well_then() -> None:
    world = running()
    world.exit(3)
    world.rest()
    assert (world.record.phase, world.record.attempt) == ("running", 2)
    world.exit(0)
    world.rest()
    record = world.record
    assert (record.phase, record.exit_code, record.failed_attempt, record.reason) == ("complete", 0, 1, "")


def test_restarts_that_are_spent_fail_it() -> None:
    world = World(replace(BATCH, spec=replace(BATCH.spec, restart=Restart(attempts=1))))
    world.settle()
    for _ in range(2):
        world.exit(3)
        world.rest()
    assert (world.record.phase, world.record.exit_code) == ("failed", 3)


def test_one_that_ended_well_while_the_agent_was_away_has_ended_well() -> None:
    world = running()
    world.exit(0)
    world.record = replace(world.record, phase="starting", container="", run="")  # as far as it was written down
    world.rest()
    assert (world.record.phase, world.record.exit_code) == ("complete", 0)


def test_what_it_works_on_is_in_its_environment() -> None:
    env = describe(BATCH, NODE, 1, {}, "inc1").env
    told = {
        name: env[name] for name in env if name.startswith(("HEROCTL_LA", "HEROCTL_SC", "HEROCTL_PA", "HEROCTL_ME"))
    }
    assert told == {
        "HEROCTL_LAUNCH": "7",
        "HEROCTL_SCHEDULED_AT": "2026-01-01T00:00:00Z",
        "HEROCTL_PAYLOAD": "grüße",
        "HEROCTL_META_ORDER_ID": "42",
    }


def test_a_payload_that_is_no_text_comes_in_base64_and_as_it_is_in_a_file() -> None:
    raw = b"\xff\x00"
    spec = replace(BATCH.spec, files=(File("/in", "${launch.payload}"),))
    description = describe(replace(BATCH, work=replace(WORK, payload=raw), spec=spec), NODE, 1, {}, "inc1")
    assert description.env["HEROCTL_PAYLOAD_BASE64"] == "/wA="
    assert "HEROCTL_PAYLOAD" not in description.env
    assert description.files[0].content == raw


@pytest.mark.parametrize(
    ("text", "filled"), [("${launch.number}", "7"), ("${launch.meta.order-id}", "42"), ("${launch.payload}", "grüße")]
)
def test_what_it_works_on_can_be_referred_to(text: str, filled: str) -> None:
    spec = replace(BATCH.spec, args=(text,), env={"IT": text})
    description = describe(replace(BATCH, spec=spec), NODE, 1, {}, "inc1")
    assert (description.args, description.env["IT"]) == ((filled,), filled)


def test_a_service_knows_nothing_of_launches() -> None:
    assert "HEROCTL_LAUNCH" not in describe(assigned(replace(WEB, ports={})), NODE, 1, {}, "inc1").env
