"""Folding launches: begun once each, ended once each, and what is kept of them."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from heroctl.domain import events as e
from heroctl.domain import spec as specs
from heroctl.domain.assign import complete
from heroctl.domain.assignment import Report
from heroctl.domain.errors import Conflict, Invalid
from heroctl.domain.evolve.launches import KEPT_LAUNCHES, running
from heroctl.domain.evolve.shelf import KEPT_FINISHED_PER_JOB
from heroctl.domain.intents import jobs, launches
from heroctl.domain.records import Alloc, Job, Launch
from heroctl.domain.state import job_status
from heroctl.domain.topics import job_topic
from tests.domain.worlds import World, spec


def submit(world: World, **fields: Any) -> Job:  # noqa: ANN401 - a spec's fields
    return world.submit(**{"job": "import", "type": "batch", **fields})


def present(world: World, name: str = "import") -> Job:
    job = world.state.job("default", name)
    assert job is not None
    return job


def known(world: World) -> tuple[Launch, ...]:
    return world.state.launches.get(present(world).uid, ())


def ended(world: World, alloc: Alloc, code: int = 0) -> None:
    node = world.state.nodes[alloc.node]
    if code:
        world.report(node, Report(alloc.id, 1, "failed", failed_attempt=1, exit_code=code, reason="exited"))
    else:
        world.report(node, Report(alloc.id, 1, "complete", exit_code=0))


def finished(world: World, launch: int, status: Literal["complete", "failed"] = "complete") -> None:
    world.add(e.JobLaunchFinished(present(world).uid, "default", "import", launch, status))


def launched(world: World, launch: int, at: int) -> None:
    job = present(world)
    world.add(e.JobLaunched(job.uid, "default", "import", job.current.version, launch, at))


def dispatched(world: World, payload: bytes = b"", **meta: str) -> None:
    job = present(world)
    world.do(launches.dispatch(job, running(world.state, job.uid), payload, meta, "tester"))


# ── beginning ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_submit_begins_a_launch_and_no_deployment() -> None:
    world = World()
    job = submit(world)
    [launch] = known(world)
    assert (launch.number, launch.version, launch.kind, launch.by, launch.status) == (
        1,
        1,
        "submit",
        "tester",
        "running",
    )
    assert (job.deployment, world.state.deployments, job_status(world.state, job)) == ("", {}, "pending")


def test_a_scheduled_time_is_launched_once_whatever_the_log_holds() -> None:
    world = World()
    job = submit(world, periodic={"cron": "* * * * *", "overlap": True})
    first = job.scheduled + 60_000
    launched(world, 1, first)
    launched(world, 2, first)  # the same time
    launched(world, 2, first - 60_000)  # an earlier one
    launched(world, 1, first + 60_000)  # the same number
    assert [launch.scheduled_at for launch in known(world)] == [first]
    launched(world, 2, first + 60_000)
    assert [launch.number for launch in known(world)] == [1, 2]


def test_a_time_that_was_left_out_is_over_too() -> None:
    world = World()
    job = submit(world, periodic={"cron": "* * * * *"})
    at = job.scheduled + 60_000
    launched(world, 1, at)
    world.add(e.JobLaunchSkipped(job.uid, "default", "import", 1, at + 60_000))
    world.add(e.JobLaunchSkipped(job.uid, "default", "import", 1, at + 60_000))
    launched(world, 2, at + 60_000)
    [launch] = known(world)
    assert (launch.skipped, launch.skipped_at) == (1, at + 60_000)


def test_the_clock_begins_anew_with_other_times_or_after_a_stop_and_not_otherwise() -> None:
    world = World()
    began = submit(world, periodic={"cron": "* * * * *"}).scheduled
    assert began == world.state.time
    assert submit(world, meta={"a": "b"}, periodic={"cron": "* * * * *", "overlap": True}).scheduled == began
    assert submit(world, periodic={"cron": "*/2 * * * *"}).scheduled == world.state.time
    world.do(jobs.stop_job(world.state, "default", "import"))
    assert submit(world, periodic={"cron": "*/2 * * * *"}).scheduled == world.state.time


def test_a_launch_wakes_who_waits_for_the_job() -> None:
    world = World()
    submit(world, dispatch={})
    dispatched(world)
    assert job_topic("default", "import") in world.touched


def test_a_submit_ends_what_a_submit_began_and_leaves_what_was_dispatched() -> None:
    world = World()
    submit(world)
    dispatched(world)
    submit(world, command=["other"])
    assert [(each.kind, each.status, each.version) for each in known(world)] == [
        ("submit", "stopped", 1),
        ("dispatch", "running", 1),
        ("submit", "running", 2),
    ]


def test_what_agents_hear_of_a_launch() -> None:
    world = World()
    node = world.node()
    job = submit(world, dispatch={"meta_optional": ["key"]})
    dispatched(world, b"row 7", key="v")
    world.place(job, node, launch=1)
    [assigned] = complete(world.state, node)
    work = assigned.work
    assert work is not None
    assert (work.launch, work.payload, work.meta) == (1, b"row 7", {"key": "v"})
    finished(world, 1, "failed")
    [assigned] = complete(world.state, node)
    assert assigned.work is not None
    assert assigned.work.payload == b"", "it is over, and only told to stop"


# ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_how_replicas_ended_is_counted_and_stays() -> None:
    world = World()
    node = world.node()
    job = submit(world, count=2)
    ended(world, world.place(job, node, 0, launch=1), 3)
    ended(world, world.place(job, node, 0, launch=1))
    ended(world, world.place(job, node, 1, launch=1))
    finished(world, 1)
    finished(world, 1, "failed")
    [launch] = known(world)
    assert (launch.status, launch.complete, launch.failed) == ("complete", 2, 1)
    assert present(world).current.stable
    assert job_status(world.state, present(world)) == "complete"


def test_all_that_ended_in_a_launch_that_goes_on_is_kept_and_a_hundred_of_it_later() -> None:
    world = World()
    node = world.node()
    count = KEPT_FINISHED_PER_JOB + 40
    job = submit(world, count=count)
    for slot in range(count):
        ended(world, world.place(job, node, slot, launch=1))
    assert len(world.state.by_job[job.uid]) == count
    finished(world, 1)
    assert len(world.state.by_job[job.uid]) == KEPT_FINISHED_PER_JOB
    assert world.state.ended[job.uid] == {}


def test_one_that_ends_late_does_not_hide_who_has_its_slot() -> None:
    world = World()
    first, second = world.node("n1"), world.node("n2")
    job = submit(world)
    lost = world.place(job, first, launch=1)
    world.add(e.AllocGivenUp(lost.id, "default", "import", "node_lost"))
    other = world.place(job, second, launch=1)
    ended(world, other)
    world.add(e.NodeRemoved(first.id, "n1"))
    assert world.state.ended[job.uid] == {(1, "main", 0): other.id}
    assert known(world)[0].complete == 1


def test_fifty_launches_are_kept_and_all_that_go_on() -> None:
    world = World()
    submit(world, dispatch={})
    for _ in range(KEPT_LAUNCHES + 10):
        dispatched(world)
    for number in range(3, KEPT_LAUNCHES + 11):
        finished(world, number)
    for _ in range(5):
        dispatched(world)
        finished(world, known(world)[-1].number)
    numbers = [launch.number for launch in known(world)]
    assert len(numbers) == KEPT_LAUNCHES + 2
    assert numbers[:2] == [1, 2], "they go on"


def test_a_version_that_a_launch_goes_on_with_is_kept() -> None:
    world = World()
    submit(world, dispatch={})
    dispatched(world)
    for number in range(30):
        submit(world, command=[str(number)], dispatch={})
    assert present(world).versions[0].version == 1
    finished(world, 1, "failed")
    submit(world, command=["last"], dispatch={})
    assert present(world).versions[0].version > 1


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_five_hundred_launches_may_go_on_at_a_time() -> None:
    world = World()
    submit(world, dispatch={})
    for _ in range(launches.MAX_RUNNING):
        dispatched(world)
    with pytest.raises(Conflict) as refused:
        dispatched(world)
    assert refused.value.code == "too_many_launches"


def test_what_was_decided_on_an_older_view_is_refused_by_the_stream_and_does_no_harm_without() -> None:
    world = World()
    job = submit(world, dispatch={})
    stale = launches.dispatch(job, [], b"", {}, "tester")
    assert stale.moves == ("job:default/import",)
    dispatched(world, b"first")
    world.add(*stale.events)
    assert [launch.size for launch in known(world)] == [5]


@pytest.mark.parametrize("field", ["periodic", "dispatch"])
def test_what_launches_a_job_goes_with_batch(field: str) -> None:
    with pytest.raises(Invalid) as refused:
        spec(**{field: {"cron": "@daily"} if field == "periodic" else {}})
    assert [problem.path for problem in refused.value.details] == [field]


def test_a_service_has_no_launch_to_refer_to() -> None:
    with pytest.raises(Invalid) as refused:
        spec(args=["${launch.payload}"])
    assert [problem.path for problem in refused.value.details] == ["tasks[0].args[0]"]
    assert spec(type="batch", args=["${launch.payload}"])


def test_what_a_batch_task_does_when_it_fails_unless_it_says() -> None:
    task = spec(type="batch").tasks[0]
    assert (task.restart, task.reschedule) == (specs.BATCH_RESTART, specs.BATCH_RESCHEDULE)
    said = spec(type="batch", reschedule={"delay": "1m"}, restart={"attempts": 0}).tasks[0]
    assert (said.reschedule.delay.seconds, said.reschedule.unlimited) == (60, False)
    assert (said.restart.attempts, said.restart.interval.seconds) == (0, 24 * 3600)
    assert spec().tasks[0].reschedule.unlimited
