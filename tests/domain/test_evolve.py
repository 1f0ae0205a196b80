"""The fold: what each event amounts to."""

from __future__ import annotations

import copy

import pytest

from heroctl.domain import assign
from heroctl.domain.assignment import Inventory, Report, SessionRequest
from heroctl.domain.events import (
    EVENTS,
    AllocGivenUp,
    AllocStopping,
    DeploymentFinished,
    JobPlanFailed,
    NodeDown,
    Opaque,
    Record,
)
from heroctl.domain.evolve import FOLDS, evolve
from heroctl.domain.evolve.deployments import KEPT_DEPLOYMENTS
from heroctl.domain.evolve.jobs import KEPT_VERSIONS
from heroctl.domain.evolve.shelf import KEPT_FINISHED_PER_JOB, KEPT_FINISHED_PER_SLOT
from heroctl.domain.intents import jobs, nodes
from heroctl.domain.lifecycle import Health
from heroctl.domain.records import Usage
from heroctl.domain.state import State, job_status
from heroctl.domain.topics import alloc_topic, job_topic
from tests.domain.worlds import World


def test_every_event_has_a_fold() -> None:
    """A tag that the log knows and the fold forgets would be lost without a sound."""
    assert {kind.TAG for kind in FOLDS} == set(EVENTS)


def test_same_log_same_state() -> None:
    """Two folds of one log are equal, field by field."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    world.report(node, Report(alloc.id, 1, "running", running_for=1.0))
    again = State()
    for record in world.records:
        evolve(again, record)
    assert again == world.state


def test_unknown_event_changes_nothing_but_the_index() -> None:
    """An event of a newer release is passed over."""
    world = World()
    before = copy.deepcopy(world.state)
    evolve(world.state, Record(before.index + 1, before.index + 1, before.time, Opaque("job.sung", 1, b"{}")))
    before.index += 1
    assert world.state == before


def test_uid_is_the_index_of_the_creating_event() -> None:
    """A name that comes back is another job."""
    world = World()
    first = world.submit()
    world.do(jobs.delete_job(world.state, "default", "web"))
    assert world.state.job("default", "web") is None
    second = world.submit()
    assert (first.uid, second.uid) == (first.create_index, second.create_index)
    assert first.uid != second.uid
    assert second.current.version == 1


def test_deleted_job_stays_until_its_last_allocation_is_over() -> None:
    """The name is free at once; the record goes with the last container."""
    world = World()
    node = world.node()
    job = world.submit()
    alloc = world.place(job, node)
    world.do(jobs.delete_job(world.state, "default", "web"))
    assert world.state.allocs[alloc.id].status == "pending"
    world.add(AllocStopping(alloc.id, "default", "web", "job_deleted"))
    world.report(node, Report(alloc.id, 1, "complete"))
    assert job.uid not in world.state.jobs
    assert alloc.id not in world.state.allocs
    assert alloc_topic(alloc.id) not in world.state.topics


def test_a_vanished_topic_never_goes_back() -> None:
    """A missing thing's topic index is its collection's."""
    world = World()
    world.submit()
    seen = world.state.topic_index(job_topic("default", "web"))
    world.do(jobs.delete_job(world.state, "default", "web"))
    assert world.state.topic_index(job_topic("default", "web")) > seen


def test_room_is_taken_at_placement_and_freed_when_over() -> None:
    """A container that is only asked to stop still holds its room."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    assert world.state.usage[node.id] == Usage(500, 256_000_000, 300_000_000, 1)
    world.add(AllocStopping(alloc.id, "default", "web", "requested"))
    assert world.state.usage[node.id].allocs == 1
    world.report(node, Report(alloc.id, 1, "complete"))
    assert world.state.usage[node.id] == Usage()


def test_given_up_holds_its_room_until_the_node_says_otherwise() -> None:
    """We do not know that a lost container ended."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    world.add(NodeDown(node.id, node.name, 13.0))
    world.add(AllocGivenUp(alloc.id, "default", "web", "node_lost"))
    lost = world.state.allocs[alloc.id]
    assert (lost.status, lost.live, world.state.usage[node.id].allocs) == ("lost", False, 1)
    assert [item.wanted for item in assign.complete(world.state, node)] == ["stop"]
    back = SessionRequest(node.boot_id, Inventory(), node.capacity, node.drivers, node.address)
    world.do(nodes.open_session(world.state, node.id, back, beating=False))
    world.report(node, Report(alloc.id, 1, "complete"))
    assert world.state.usage[node.id].allocs == 0


def test_removed_node_takes_its_allocations_with_it() -> None:
    """What it held is lost, and its room is nobody's."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    world.do(nodes.remove_node(world.state.nodes[node.id]))
    assert world.state.allocs[alloc.id].status == "lost"
    assert world.state.allocs[alloc.id].terminal
    assert node.id not in world.state.usage


def test_reports_only_rise() -> None:
    """Late and repeated reports are harmless."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    assert world.report(node, Report(alloc.id, 2, "running", health="healthy", healthy_for=0.0)) == ["ok"]
    assert world.report(node, Report(alloc.id, 1, "running")) == ["old"]
    assert world.report(node, Report(alloc.id, 2, "starting")) == ["old"]
    assert world.state.allocs[alloc.id].attempt == 2
    assert world.report(node, Report(alloc.id, 2, "complete")) == ["ok"]
    assert world.report(node, Report(alloc.id, 3, "running")) == ["old"]
    assert world.state.allocs[alloc.id].status == "complete"


def test_moments_stay_put_while_elapsed_times_jitter() -> None:
    """`started_at` is one moment for one attempt, however late a report arrives."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    world.report(node, Report(alloc.id, 1, "running", running_for=0.0))
    began = world.state.allocs[alloc.id].started_at
    world.report(node, Report(alloc.id, 1, "running", health="healthy", running_for=4.2, healthy_for=0.0), seconds=5)
    assert world.state.allocs[alloc.id].started_at == began
    world.report(node, Report(alloc.id, 2, "running", running_for=0.0), seconds=60)
    assert world.state.allocs[alloc.id].started_at == world.state.time


def test_policy_reaches_agents_without_a_new_container() -> None:
    """A changed check is applied in place: same digest, newer assignment index, newest policy."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(ports={"http": 80}, health={"http": "/a"}), node)
    before = assign.assignment_index(world.state, node.id)
    world.submit(ports={"http": 80}, health={"http": "/b"}, count=3)
    assert assign.assignment_index(world.state, node.id) > before
    (item,) = assign.changed(world.state, node, before)
    assert (item.id, item.digest, item.version) == (alloc.id, alloc.content, 1)
    assert item.spec.health is not None
    assert item.spec.health.http == "/b"


def test_count_alone_tells_no_agent() -> None:
    """What an agent does not read does not move its assignment."""
    world = World()
    node = world.node()
    world.place(world.submit(), node)
    before = assign.assignment_index(world.state, node.id)
    world.submit(count=3)
    assert assign.assignment_index(world.state, node.id) == before


def test_old_content_keeps_its_own_spec() -> None:
    """While a new version rolls out, the old containers are still described by the old spec."""
    world = World()
    node = world.node()
    world.place(world.submit(), node)
    world.submit(command=["serve", "v2"])
    (item,) = assign.complete(world.state, node)
    assert item.spec.command == ("serve",)


def test_deployment_lives_and_is_superseded() -> None:
    """One active deployment a job; the newest wins; success makes the version stable."""
    world = World()
    node = world.node()
    first = world.submit()
    assert job_status(world.state, first) == "pending"
    alloc = world.place(first, node)
    world.report(node, Report(alloc.id, 1, "running"))
    second = world.submit(command=["serve", "v2"])
    assert world.state.deployments[first.deployment].status == "superseded"
    world.add(DeploymentFinished(second.deployment, second.uid, "default", "web", "successful"))
    job = world.state.jobs[second.uid]
    assert (job.stable and job.stable.version, job_status(world.state, job)) == (2, "running")
    world.do(jobs.stop_job(world.state, "default", "web"))
    assert job_status(world.state, world.state.jobs[second.uid]) == "stopped"


def test_histories_are_bounded() -> None:
    """A job deployed for ever does not grow for ever; what runs is kept."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    for number in range(40):
        world.submit(command=["serve", str(number)])
    job = world.state.job("default", "web")
    assert job is not None
    assert len(job.versions) == KEPT_VERSIONS + 1
    assert job.version(alloc.version) is not None
    assert len(world.state.deployments) == KEPT_DEPLOYMENTS
    for _ in range(10):
        other = world.place(job, node, slot=1)
        world.report(node, Report(other.id, 1, "failed", failed_attempt=1))
    finished = [one for one in world.state.allocs_of(job.uid) if one.terminal]
    assert len(finished) == KEPT_FINISHED_PER_SLOT + 1  # the last one waits for its replacement


def test_a_deleted_job_goes_with_the_node_that_held_the_last_of_it() -> None:
    """However many replicas of it were there."""
    world = World()
    node = world.node()
    job = world.submit(count=2)
    world.place(job, node, slot=0)
    world.place(job, node, slot=1)
    world.do(jobs.delete_job(world.state, "default", "web"))
    world.do(nodes.remove_node(node))
    assert (world.state.jobs, world.state.allocs, world.state.by_job, world.state.by_node) == ({}, {}, {}, {})


def test_a_failed_replica_is_remembered_until_its_slot_is_filled() -> None:
    """However many fail at once: when a slot's turn comes is told by the one that failed there."""
    world = World()
    node = world.node()
    job = world.submit(count=KEPT_FINISHED_PER_JOB + 50)
    placed = [world.place(job, node, slot) for slot in range(KEPT_FINISHED_PER_JOB + 50)]
    world.report(node, *(Report(alloc.id, 1, "failed", failed_attempt=1) for alloc in placed))
    assert len(world.state.by_job[job.uid]) == len(placed)
    for slot in range(len(placed)):
        world.place(job, node, slot)
    finished = [one for one in world.state.allocs_of(job.uid) if one.terminal]
    assert len(finished) == KEPT_FINISHED_PER_JOB


def test_only_a_replica_that_is_healthy_for_the_first_time_is_progress() -> None:
    """One that comes and goes does not keep a deployment alive."""
    world = World()
    node = world.node()
    job = world.submit()
    alloc = world.place(job, node)
    world.report(node, Report(alloc.id, 1, "running", "healthy", healthy_for=0.0))
    first = world.state.time
    world.report(node, Report(alloc.id, 1, "running", "unhealthy"))
    world.report(node, Report(alloc.id, 1, "running", "healthy", healthy_for=0.0))
    assert world.state.deployments[job.deployment].progress_at == first
    assert world.state.allocs[alloc.id].first_healthy_at == first


@pytest.mark.parametrize("reported", [None, 12.5])
def test_healthy_since(reported: float | None) -> None:
    """Elapsed health becomes a moment in the log's time."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    health: Health = "healthy" if reported is not None else "unknown"
    world.report(node, Report(alloc.id, 1, "running", health=health, healthy_for=reported))
    expected = None if reported is None else world.state.time - 12_500
    assert world.state.allocs[alloc.id].healthy_since == expected


def test_only_failures_in_a_row_quarantine() -> None:
    """A placement says that the job could be planned in between."""
    world = World()
    node, job = world.node(), world.submit(count=2)
    failure = JobPlanFailed(job.uid, "default", "web", "KeyError", "0.1.0")
    world.add(failure, failure)
    world.place(job, node)
    world.add(failure, failure)
    assert not world.state.jobs[job.uid].quarantined("0.1.0")
    world.add(failure)
    assert world.state.jobs[job.uid].quarantined("0.1.0")
    assert not world.state.jobs[job.uid].quarantined("0.2.0")
