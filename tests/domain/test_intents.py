"""What users and agents want, decided on a state."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from heroctl.domain.assignment import Capacity, Inventory, Report, SessionRequest
from heroctl.domain.errors import Conflict, Gone, NotFound
from heroctl.domain.events import AllocFailed, AllocReported, NodeDown
from heroctl.domain.intents import jobs, nodes
from heroctl.domain.intents.change import NOTHING
from tests.domain.worlds import World, spec


def test_equal_spec_is_no_event() -> None:
    """However it was spelled."""
    world = World()
    world.submit(kill_timeout="90s")
    assert jobs.submit_job(world.state, spec(kill_timeout="1m30s"), "me") == NOTHING


def test_submit_after_stop_starts_again() -> None:
    """A stopped job that is submitted is wanted, changed or not."""
    world = World()
    world.submit()
    world.do(jobs.stop_job(world.state, "default", "web"))
    assert jobs.stop_job(world.state, "default", "web") == NOTHING
    job = world.submit()
    assert (job.stopped, job.current.version) == (False, 2)


def test_guards() -> None:
    """`check_index` is a compare-and-set on the spec."""
    world = World()
    job = world.submit()
    with pytest.raises(Conflict, match="exists") as exists:
        jobs.submit_job(world.state, spec(count=2), "me", 0)
    assert exists.value.code == "job_exists"
    with pytest.raises(Conflict) as conflict:
        jobs.submit_job(world.state, spec(count=2), "me", job.spec_index + 1)
    assert conflict.value.code == "index_conflict"
    assert jobs.submit_job(world.state, spec(count=2), "me", job.spec_index).events


def test_unknown_namespace_and_job() -> None:
    """What does not exist has its code."""
    world = World()
    with pytest.raises(NotFound) as namespace:
        jobs.submit_job(world.state, spec(namespace="nowhere"), "me")
    assert namespace.value.code == "namespace_not_found"
    with pytest.raises(NotFound) as job:
        jobs.stop_job(world.state, "default", "nothing")
    assert job.value.code == "job_not_found"


def test_expectations_cover_what_was_read_and_moved() -> None:
    """Two submits that decide at once cannot both be first; neither can outlive its namespace."""
    change = jobs.submit_job(World().state, spec(), "me")
    assert change.expects == ("claim:namespace:default", "job:default/web")


def test_join_token_is_single_use() -> None:
    """And a name is one node's."""
    world = World()
    world.node("n1")
    with pytest.raises(Conflict) as spent:
        nodes.register_node(world.state, "n2", "join-n1", "v")
    assert spent.value.code == "join_token_spent"
    world.do(nodes.create_join_token("t2", "v", world.state.time + 1000, "me"))
    with pytest.raises(Conflict) as taken:
        nodes.register_node(world.state, "n1", "t2", "v")
    assert taken.value.code == "node_exists"


def test_only_a_removed_node_is_gone() -> None:
    """410 ends an agent and everything on it, so nothing else may answer it."""
    world = World()
    node = world.node()
    with pytest.raises(NotFound):
        nodes.find_node(world.state, "stranger")
    world.do(nodes.remove_node(node))
    with pytest.raises(Gone) as gone:
        nodes.find_node(world.state, node.id)
    assert gone.value.code == "node_removed"


def test_sessions() -> None:
    """A newer session replaces the older; a clone of the disk is refused while the first still beats."""
    world = World()
    node = world.node()
    request = SessionRequest("boot-other", Inventory(), Capacity(), {}, "10.0.0.2")
    with pytest.raises(Conflict) as clone:
        nodes.open_session(world.state, node.id, request, beating=True)
    assert clone.value.code == "node_in_use"
    world.do(nodes.open_session(world.state, node.id, request, beating=False))
    with pytest.raises(Conflict) as old:
        nodes.report(world.state, node.id, node.session, [])
    assert old.value.code == "session_replaced"
    with pytest.raises(Conflict) as stranger:
        nodes.report(world.state, node.id, world.state.nodes[node.id].session + 1, [])
    assert stranger.value.code == "session_unknown"


def test_a_node_that_went_down_comes_back_with_an_inventory() -> None:
    """Beats alone do not bring it back: its agent is told to open a session again."""
    world = World()
    node = world.node()
    world.add(NodeDown(node.id, node.name, 13.0))
    with pytest.raises(Conflict) as lapsed:
        nodes.report(world.state, node.id, node.session, [])
    assert lapsed.value.code == "session_lapsed"
    request = SessionRequest(node.boot_id, Inventory(), node.capacity, node.drivers, node.address)
    world.do(nodes.open_session(world.state, node.id, request, beating=True))
    assert nodes.report(world.state, node.id, world.state.nodes[node.id].session, [])[1] == []


def test_a_batch_is_judged_item_by_item() -> None:
    """Nothing in it blocks the rest."""
    world = World()
    node, other = world.node("n1"), world.node("n2")
    job = world.submit(count=2)
    mine, theirs = world.place(job, node), world.place(job, other, slot=1)
    batch = [Report("nobody", 1, "running"), Report(theirs.id, 1, "running"), Report(mine.id, 1, "running")]
    change, outcomes = nodes.report(world.state, node.id, world.state.nodes[node.id].session, batch)
    assert outcomes == ["unknown", "foreign", "ok"]
    assert [type(event) for event in change.events] == [AllocReported]


def test_no_news_is_no_event() -> None:
    """An inventory that says what is known appends nothing."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    report = Report(alloc.id, 1, "running", ports={"http": 20_001}, running_for=1.0)
    world.report(node, report)
    change, outcomes = nodes.report(
        world.state, node.id, world.state.nodes[node.id].session, [replace(report, running_for=9.0)]
    )
    assert (change, outcomes) == (NOTHING, ["ok"])


def test_alloc_failed_once_per_attempt() -> None:
    """Unasked ends are told; asked ones are not; a repeated report tells nothing twice."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    crash = Report(alloc.id, 1, "ended", exit_code=3, failed_attempt=1, reason="exited")
    world.report(node, crash)
    told = [record.event for record in world.records if isinstance(record.event, AllocFailed)]
    assert [(event.attempt, event.exit_code, event.will_restart, event.node) for event in told] == [(1, 3, True, "n1")]
    world.report(node, Report(alloc.id, 2, "running", failed_attempt=1, reason="exited"))
    assert sum(isinstance(record.event, AllocFailed) for record in world.records) == 1
    world.report(node, Report(alloc.id, 2, "failed", exit_code=4, failed_attempt=2, reason="exited"))
    last = world.records[-1].event
    assert isinstance(last, AllocFailed)
    assert (last.attempt, last.will_restart) == (2, False)


def test_stop_of_an_allocation() -> None:
    """A wish, told once; what is over cannot be stopped again."""
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    world.do(jobs.stop_alloc(alloc))
    asked = world.state.allocs[alloc.id]
    assert (asked.stop_requested, asked.status) == (True, "pending")
    assert jobs.stop_alloc(asked) == NOTHING
