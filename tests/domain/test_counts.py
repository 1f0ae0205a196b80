"""Counts that a scale asked for outlive the version that they came with; those of a spec do not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from heroctl.domain import events as e
from heroctl.domain import spec as specs
from heroctl.domain.counts import asked_since, differ_in_counts_alone, with_counts
from heroctl.domain.errors import Conflict
from heroctl.domain.intents import deployments, jobs
from heroctl.domain.records import Deployment, Job
from tests.domain.worlds import World


def the_job(world: World) -> Job:
    found = world.state.job("default", "web")
    assert found is not None
    return found


def present(world: World) -> Deployment:
    return world.state.deployments[the_job(world).deployment]


def finish(world: World) -> None:
    record = present(world)
    world.add(e.DeploymentFinished(record.id, record.uid, "default", "web", "successful"))


def scale(world: World, count: int) -> None:
    world.do(jobs.scale_job(the_job(world), "main", count, "me"))


def deployed(count: int = 2, **fields: Any) -> World:  # noqa: ANN401 - a spec's fields
    world = World()
    world.submit(count=count, **fields)
    finish(world)
    return world


def test_what_a_scale_asked_for_since_is_kept() -> None:
    world = deployed()
    first = the_job(world).current
    assert asked_since(the_job(world), first) == {}
    world.submit(count=2, command=["serve", "2"])
    scale(world, 5)
    assert asked_since(the_job(world), first) == {"main": 5}
    scale(world, 6)
    assert asked_since(the_job(world), first) == {"main": 6}
    scale(world, 2)
    assert asked_since(the_job(world), first) == {}, "that is what it had"


def test_a_spec_that_says_so_too_changes_nothing_and_one_that_says_otherwise_has_the_last_word() -> None:
    world = deployed()
    first = the_job(world).current
    world.submit(count=7, command=["serve", "2"])
    assert asked_since(the_job(world), first) == {}, "it came with the version"
    scale(world, 5)
    world.submit(count=5, command=["serve", "3"])
    assert asked_since(the_job(world), first) == {"main": 5}
    world.submit(count=4, command=["serve", "4"])
    assert asked_since(the_job(world), first) == {}


def test_without_other_counts_a_version_is_given_to_the_byte() -> None:
    version = the_job(deployed()).current
    assert with_counts(version, {}) == (version.spec, version.tasks)
    spec, tasks = with_counts(version, {"main": 9})
    assert (specs.decode(spec).tasks[0].count, tasks[0].count) == (9, 9)
    assert tasks[0].content == version.tasks[0].content


def test_another_version_is_one_that_differs_in_more_than_counts() -> None:
    world = deployed()
    first = the_job(world).current
    scale(world, 5)
    assert differ_in_counts_alone(first, the_job(world).current)
    world.submit(count=5, restart={"attempts": 9})
    assert not differ_in_counts_alone(first, the_job(world).current), "so may what is applied in place"


def test_a_rollback_without_a_number_undoes_no_scale() -> None:
    world = deployed()
    world.submit(count=2, command=["serve", "2"])
    finish(world)
    scale(world, 4)
    finish(world)
    world.do(jobs.rollback_job(world.state, the_job(world), None, "me"))
    now = the_job(world).current
    assert (now.of, now.kind, now.tasks[0].count) == (1, "rollback", 4)
    assert specs.decode(now.spec).tasks[0].count == 4
    assert now.tasks[0].content == the_job(world).versions[0].tasks[0].content
    finish(world)
    world.do(jobs.rollback_job(world.state, the_job(world), 1, "me"))
    assert the_job(world).current.spec == the_job(world).versions[0].spec, "a version that is named comes to the byte"


def test_where_only_the_count_was_ever_another_there_is_nothing_to_go_back_to() -> None:
    world = deployed()
    scale(world, 4)
    finish(world)
    with pytest.raises(Conflict) as refused:
        jobs.rollback_job(world.state, the_job(world), None, "me")
    assert refused.value.code == "no_stable_version"
    assert jobs.rollback_job(world.state, the_job(world), 1, "me").events


def test_the_way_back_is_folded_with_the_counts_it_tells() -> None:
    world = deployed()
    first, failed = the_job(world).current, present(world)
    world.submit(count=2, command=["serve", "2"])
    spec, tasks = with_counts(first, {"main": 3})
    world.add(e.JobReverted(failed.uid, "default", "web", 3, 1, present(world).id, msgspec.Raw(spec), tasks))
    assert (the_job(world).current.spec, the_job(world).current.tasks) == (spec, tasks)


def test_a_scale_leaves_a_paused_update_paused_and_a_wish_to_end_it_alone() -> None:
    world = deployed()
    world.submit(count=2, command=["serve", "2"])
    world.do(deployments.pause(present(world)))
    scale(world, 4)
    assert (present(world).kind, present(world).status, present(world).promoted) == ("scale", "paused", True)
    world.do(deployments.resume(present(world)))
    world.do(deployments.fail(present(world), "no good"))
    scale(world, 5)
    assert (present(world).status, present(world).fail_reason) == ("running", "no good")


def test_an_old_set_stands_by_no_shorter_for_a_scale() -> None:
    world = deployed()
    world.submit(count=2, command=["serve", "2"], update={"strategy": "blue-green"})
    record = present(world)
    world.add(e.DeploymentStepped(record.id, record.uid, "default", "web", promoted=True))
    promoted_at = present(world).promoted_at
    assert promoted_at is not None
    scale(world, 3)
    assert present(world).promoted_at == promoted_at, "while it is under way"
    finish(world)
    scale(world, 4)
    assert present(world).promoted_at == promoted_at, "once it is over"
    world.submit(count=4, command=["serve", "3"], update={"strategy": "blue-green"})
    assert present(world).promoted_at is None, "another version is another trial"
