"""Deployments: what is wanted of them, and what each event makes of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import given

from heroctl.domain import events as e
from heroctl.domain import spec as specs
from heroctl.domain.errors import Conflict, NotFound
from heroctl.domain.events import Event
from heroctl.domain.intents import deployments, jobs
from heroctl.domain.intents.change import NOTHING, Change
from heroctl.domain.records import Deployment, Job
from heroctl.domain.topics import assignment_topic, deployment_topics, job_topic
from tests.domain.stories import Step, steps, told
from tests.domain.worlds import World

CANARY: Final = {"strategy": "canary"}


def present(world: World, name: str = "web") -> Deployment:
    """The newest deployment of a job."""
    return world.state.deployments[job(world, name).deployment]


def job(world: World, name: str = "web") -> Job:
    found = world.state.job("default", name)
    assert found is not None
    return found


def named(world: World) -> tuple[str, int, str, str]:
    record = present(world)
    return record.id, record.uid, record.namespace, record.job


def conflict(decide: Callable[[], Change]) -> str:
    """The code with which an intent is refused."""
    with pytest.raises(Conflict) as refused:
        decide()
    return refused.value.code


def finish(world: World, status: Any = "successful") -> None:  # noqa: ANN401 - one of the event's
    world.add(e.DeploymentFinished(*named(world), status))


def trial(update: dict[str, Any] = CANARY) -> World:
    """A stable version, and another one that is tried."""
    world = World()
    world.submit()
    finish(world)
    world.submit(command=["serve", "2"], update=update)
    return world


def stands(world: World, step: int = 0, **more: Any) -> None:  # noqa: ANN401 - fields of the event
    world.add(e.DeploymentStepped(*named(world), step, **more))


# ── how one begins ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("strategy", "promoted"), [("rolling", True), ("canary", False), ("blue-green", False)])
def test_only_what_can_be_compared_with_something_has_to_be_promoted(strategy: str, promoted: bool) -> None:  # noqa: FBT001 - a case
    """A first version replaces nothing, and neither does one that follows a stop."""
    world = World()
    update = {"strategy": strategy}
    world.submit(update=update)
    assert (present(world).strategy, present(world).kind, present(world).promoted) == (strategy, "submit", True)
    world.submit(command=["serve", "2"], update=update)
    assert present(world).promoted is promoted
    world.do(jobs.stop_job(world.state, "default", "web"))
    world.submit(command=["serve", "3"], update=update)
    assert present(world).promoted is True


def test_what_repeats_a_good_version_rolls_whatever_its_strategy() -> None:
    """Nobody waits for a promotion while the shop is down."""
    world = World()
    world.submit(update=CANARY)
    finish(world)
    world.submit(command=["serve", "2"], update=CANARY)
    world.do(jobs.rollback_job(world.state, job(world), None, "me"))
    back = present(world)
    assert (back.kind, back.strategy, back.promoted, back.previous_version) == ("rollback", "rolling", True, 2)


def test_more_replicas_of_what_is_tried_are_tried_too() -> None:
    """A scale promotes nothing by the way."""
    world = trial()
    world.do(jobs.scale_job(job(world), "main", 3, "me"))
    assert (present(world).kind, present(world).strategy, present(world).promoted) == ("scale", "canary", False)
    finish(world)
    world.do(jobs.scale_job(job(world), "main", 4, "me"))
    assert present(world).promoted is True


def test_a_scale_promotes_no_trial_that_failed_and_leaves_one_that_goes_on_where_it_stood() -> None:
    """It goes on paused and at its share, but what stands for a promotion is judged anew where there is more of it."""
    world, pair = trial(), trial({"strategy": "blue-green"})
    stands(world, 1)
    world.do(deployments.pause(present(world)))
    began = present(world).step_at
    world.do(jobs.scale_job(job(world), "main", 4, "me"))
    assert (present(world).status, present(world).step, present(world).step_at) == ("paused", 1, began)
    finish(world, "failed")
    world.do(jobs.scale_job(job(world), "main", 5, "me"))
    assert (present(world).status, present(world).promoted, present(world).step_at) == ("running", False, None)
    stands(pair, awaiting=True)
    pair.do(jobs.scale_job(job(pair), "main", 4, "me"))
    assert conflict(lambda: deployments.promote(present(pair))) == "not_ready"


def test_a_restart_outdates_replicas_and_makes_no_version() -> None:
    """What runs since before it is to be replaced, by the job's own strategy."""
    world = trial()
    finish(world)
    before = job(world)
    world.do(jobs.restart_job(world.state, before, "me"))
    after = job(world)
    assert (after.versions, after.spec_index) == (before.versions, before.spec_index)
    assert after.renewed == world.state.index > before.renewed
    assert (present(world).kind, present(world).promoted) == ("restart", False)
    world.do(jobs.restart_job(world.state, after, "me"))
    assert world.state.deployments[after.deployment].status == "superseded"


# ── on its way ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_canary_goes_from_step_to_step_and_then_all_the_way() -> None:
    """Each promotion is progress; where it stands it waits."""
    world = trial()
    stands(world, awaiting=True)
    first = present(world)
    assert (first.status, first.step, first.step_at) == ("awaiting_promotion", 0, world.state.time)
    world.do(deployments.promote(first, step=True))
    second = present(world)
    assert (second.status, second.step, second.step_at, second.promoted) == ("running", 1, world.state.time, False)
    assert second.progress_at == world.state.time
    stands(world, 1, awaiting=True)
    assert present(world).step_at == second.step_at, "it stands there since it came there"
    world.do(deployments.promote(present(world)))
    whole = present(world)
    assert (whole.status, whole.promoted, whole.promoted_at) == ("running", True, world.state.time)


def test_one_that_goes_on_by_itself_is_promoted_by_its_last_step() -> None:
    """It is as good as a user's word."""
    world = trial()
    stands(world, 2, promoted=True)
    assert (present(world).promoted, present(world).promoted_at) == (True, world.state.time)
    assert present(world).status == "running"


def test_a_pause_stops_the_clocks_and_a_resume_begins_them_anew() -> None:
    """Whoever sleeps over it does not find it failed."""
    world = trial()
    stands(world, awaiting=True)
    world.do(deployments.pause(present(world)))
    assert present(world).status == "paused"
    world.do(deployments.resume(present(world)), seconds=86_400)
    again, now = present(world), world.state.time
    assert (again.status, again.progress_at, again.resumed_at, again.step_at) == ("running", now, now, now)


def test_what_is_promoted_while_it_is_paused_stays_paused() -> None:
    """One word does not take back another."""
    world = trial()
    stands(world, awaiting=True)
    world.do(deployments.pause(present(world)))
    world.do(deployments.promote(present(world)))
    assert (present(world).status, present(world).promoted) == ("paused", True)


@pytest.mark.parametrize(("said", "kept"), [("p99 doubled", "p99 doubled"), ("", "requested")])
def test_a_wish_to_end_it_is_kept_with_its_reason(said: str, kept: str) -> None:
    """The coordinator ends it; until then it goes on."""
    world = trial()
    world.do(deployments.fail(present(world), said))
    assert (present(world).fail_reason, present(world).status) == (kept, "running")


def test_a_way_back_repeats_the_good_version_to_the_byte() -> None:
    """And once it has succeeded, the deployment that failed is one that was reverted."""
    world = trial({"strategy": "blue-green"})
    failed = present(world)
    world.add(
        e.DeploymentFinished(*named(world), "failed", "replica_failed"),
        e.JobReverted(failed.uid, "default", "web", 3, 1, failed.id),
    )
    good, _, version = job(world).versions
    assert (version.spec, version.tasks, version.strategy) == (good.spec, good.tasks, good.strategy)
    assert (version.version, version.kind, version.of, version.stable) == (3, "revert", 1, False)
    back = present(world)
    assert (back.kind, back.revert_of, back.promoted, back.strategy) == ("revert", failed.id, True, "rolling")
    assert job(world).spec_index == world.state.index, "a guard of somebody who knows nothing of it does not hold"
    assert world.state.deployments[failed.id].status == "failed"
    finish(world)
    assert world.state.deployments[failed.id].status == "reverted"
    assert world.state.deployments[failed.id].reason == "replica_failed"
    assert job(world).stable == job(world).current


def test_a_pin_names_the_image_of_one_task_of_one_version_and_agents_hear_of_it() -> None:
    """The content stays what it is: nothing is replaced."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    world.submit(command=["serve", "2"])
    world.add(e.ImagePinned(alloc.uid, "default", "web", 1, "main", "sha256:aa"))
    first, second = job(world).versions
    assert [version.tasks[0].image for version in (first, second)] == ["sha256:aa", ""]
    assert first.tasks[0].content == alloc.content
    assert assignment_topic(node.id) in world.touched
    assert job_topic("default", "web") in world.touched


def test_who_watches_a_deployment_hears_of_each_thing_that_happens_to_it() -> None:
    """And so does whoever watches its job."""
    world = trial()
    for event in _each(world):
        topics = {*deployment_topics(present(world).id, "web"), job_topic("default", "web")}
        world.add(event)
        assert topics <= world.touched, event


def test_what_is_over_stays_as_it_is() -> None:
    """A late word changes nothing."""
    world = trial()
    finish(world)
    before = present(world)
    for event in _each(world):
        world.add(event)
        assert present(world) == before, event


def test_words_about_what_is_not_known_any_more_change_nothing() -> None:
    """Nor do they raise: every log must fold."""
    world = World()
    gone = ("d-1", 7, "default", "web")
    for event in (
        e.DeploymentPromoted(*gone),
        e.DeploymentPaused(*gone),
        e.DeploymentResumed(*gone),
        e.DeploymentFailRequested(*gone),
        e.DeploymentStepped(*gone),
        e.DeploymentFinished(*gone, "failed"),
        e.JobRestarted(7, "default", "web", 1),
        e.JobReverted(7, "default", "web", 2, 1, "d-1"),
        e.ImagePinned(7, "default", "web", 1, "main", "sha256:aa"),
    ):
        world.add(event)
    assert (world.state.jobs, world.state.deployments) == ({}, {})


def _each(world: World) -> list[Event]:
    known = named(world)
    return [
        e.DeploymentStepped(*known, 0, awaiting=True),
        e.DeploymentPromoted(*known, step=True),
        e.DeploymentPaused(*known),
        e.DeploymentResumed(*known),
        e.DeploymentFailRequested(*known, reason="x"),
        e.DeploymentPromoted(*known),
    ]


@given(steps())
def test_a_job_has_one_deployment_under_way_at_most_and_that_is_its_newest(happens: list[Step]) -> None:
    """Whatever users, the coordinator and chance do."""
    state = told(happens).state
    for uid, known in state.job_deployments.items():
        active = [each for each in known if state.deployments[each].active]
        assert active in ([], [state.jobs[uid].deployment])
        numbers = [version.version for version in state.jobs[uid].versions]
        assert numbers == sorted(set(numbers))


# ── what users want ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_promotion_needs_something_that_stands() -> None:
    """And somebody it waits for."""
    world = trial()
    assert conflict(lambda: deployments.promote(present(world))) == "not_ready"
    stands(world, awaiting=True)
    world.do(deployments.promote(present(world)))
    assert deployments.promote(present(world)) == NOTHING
    world.submit(command=["serve", "3"])
    assert conflict(lambda: deployments.promote(present(world))) == "not_promotable"


def test_what_is_so_already_is_no_event() -> None:
    """A button that is pressed twice does nothing twice."""
    world = trial()
    assert deployments.resume(present(world)) == NOTHING
    world.do(deployments.pause(present(world)))
    assert deployments.pause(present(world)) == NOTHING
    world.do(deployments.fail(present(world), "one"))
    assert deployments.fail(present(world), "another") == NOTHING


def test_nothing_is_wanted_of_what_is_over() -> None:
    """It says so, and how it ended."""
    world = trial()
    finish(world, "failed")
    for decide in (deployments.promote, deployments.pause, deployments.resume, deployments.fail):
        assert conflict(partial(decide, present(world))) == "deployment_over"


def test_steering_moves_the_job() -> None:
    """So that what the coordinator decided without knowing of it is not accepted."""
    world = trial()
    assert deployments.pause(present(world)).moves == ("job:default/web",)
    for change in (
        jobs.restart_job(world.state, job(world), "me"),
        jobs.scale_job(job(world), "main", 9, "me"),
        jobs.rollback_job(world.state, job(world), 1, "me"),
    ):
        assert change.moves == ("job:default/web",)


def test_a_rollback_goes_to_the_newest_that_was_deployed_and_is_another() -> None:
    """Not to what never worked, nor to what is there."""
    world = World()
    for number in "123":
        world.submit(command=["serve", number])
        if number != "3":
            finish(world)
    assert jobs.rollback_target(job(world), None).version == 2
    world.do(jobs.rollback_job(world.state, job(world), None, "me"))
    finish(world)
    assert (job(world).current.of, jobs.rollback_target(job(world), None).version) == (2, 1)
    assert jobs.rollback_target(job(world), 3).version == 3
    with pytest.raises(NotFound) as missing:
        jobs.rollback_target(job(world), 9)
    assert missing.value.code == "version_not_found"


def test_nothing_to_go_back_to() -> None:
    """Whoever knows better names a version."""
    world = World()
    world.submit()
    world.submit(command=["serve", "2"])
    assert conflict(lambda: jobs.rollback_job(world.state, job(world), None, "me")) == "no_stable_version"
    assert jobs.rollback_job(world.state, job(world), 1, "me").events
    assert jobs.rollback_job(world.state, job(world), 2, "me") == NOTHING


def test_a_scale_changes_a_count_and_nothing_else() -> None:
    """What containers are made from stays, to the digest."""
    world = World()
    world.submit(update=CANARY)
    before = job(world).current
    world.do(jobs.scale_job(job(world), "main", 5, "me"))
    after = job(world).current
    assert specs.decode(after.spec).tasks[0].count == after.tasks[0].count == 5
    assert after.tasks[0].content == before.tasks[0].content
    assert (after.kind, after.by, after.strategy, after.of) == ("scale", "me", "canary", None)
    assert jobs.scale_job(job(world), "main", 5, "me") == NOTHING
    with pytest.raises(NotFound) as unknown:
        jobs.scale_job(job(world), "cache", 5, "me")
    assert unknown.value.code == "task_not_found"


def test_what_is_stopped_is_neither_scaled_nor_restarted_but_may_be_rolled_back() -> None:
    """Who may change how much runs may not start what somebody stopped."""
    world = World()
    world.submit()
    world.do(jobs.stop_job(world.state, "default", "web"))
    assert conflict(lambda: jobs.scale_job(job(world), "main", 1, "me")) == "job_stopped"
    assert conflict(lambda: jobs.restart_job(world.state, job(world), "me")) == "job_stopped"
    world.do(jobs.rollback_job(world.state, job(world), 1, "me"))
    assert (job(world).stopped, job(world).current.version) == (False, 2)


def test_each_is_guarded() -> None:
    """`check_index` is a compare-and-set on the spec, here too."""
    world = World()
    world.submit()
    late = job(world).spec_index + 1
    assert conflict(lambda: jobs.scale_job(job(world), "main", 2, "me", late)) == "index_conflict"
    assert conflict(lambda: jobs.restart_job(world.state, job(world), "me", late)) == "index_conflict"
    assert conflict(lambda: jobs.rollback_job(world.state, job(world), 1, "me", late)) == "index_conflict"
