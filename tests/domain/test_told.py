"""What a state makes of what agents tell of a replica's health and end."""

from __future__ import annotations

from heroctl.domain.assignment import Report
from tests.domain.worlds import World


def test_another_attempt_begins_the_time_of_health_anew_though_it_came_at_once() -> None:
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    world.report(node, Report(alloc.id, 1, "running", "healthy", healthy_for=0.0))
    first = world.state.allocs[alloc.id].healthy_since
    world.report(node, Report(alloc.id, 1, "running", "healthy", healthy_for=1.0, restarts=1))
    assert world.state.allocs[alloc.id].healthy_since == first
    world.report(node, Report(alloc.id, 2, "running", "healthy", healthy_for=0.0))
    assert world.state.allocs[alloc.id].healthy_since == world.state.time != first


def test_what_a_replica_said_is_kept_of_its_newest_report_and_its_timeline_tells_what_happened() -> None:
    world = World()
    node = world.node()
    alloc = world.place(world.submit(), node)
    said = "exited with code 3\nTraceback\nKeyError: 'DATABASE_URL'"
    for attempt in (1, 2):
        world.report(node, Report(alloc.id, attempt, "ended", failed_attempt=attempt, reason="exited", message=said))
    told = world.state.allocs[alloc.id]
    assert told.message == said
    assert [message for *_, event, message in told.timeline if event == "alloc.ended"] == ["exited with code 3"] * 2
