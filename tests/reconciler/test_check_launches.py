"""The linter refuses what must never be decided about launches, whoever decides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from heroctl.domain.events import AllocPlaced, Event, JobLaunched, JobLaunchFinished, JobLaunchSkipped
from heroctl.domain.ids import allocation_id
from reconciler.planner.check import BrokenPlanError, Ledger, check
from tests.reconciler.batches import Batches

Decide = Callable[[Batches], list[Event]]


def _cluster() -> Batches:
    """Launch 1 goes on: slot 0 has ended well, slot 1 works. Launch 2 was dispatched, and has ended."""
    cluster = Batches()
    cluster.join("n1")
    cluster.decide()
    cluster.batch(args="works", count=2)
    cluster.decide()
    cluster.step()
    cluster.end(next(alloc for alloc in cluster.live("import") if alloc.slot == 0))
    cluster.dispatch()
    cluster.decide()
    for alloc in cluster.live("import"):
        if alloc.launch == 2:
            cluster.end(alloc)
    cluster.decide()
    assert [launch.status for launch in cluster.launches()] == ["running", "complete"]
    return cluster


def _place(cluster: Batches, launch: int, slot: int, *, more: int = 0) -> AllocPlaced:
    job = cluster.job()
    n, task = job.next_n + more, job.current.tasks[0]
    return AllocPlaced(
        id=allocation_id(cluster.state.incarnation, job.uid, n),
        uid=job.uid,
        n=n,
        namespace="default",
        job=job.name,
        task=task.name,
        slot=slot,
        version=1,
        content=task.content,
        node=cluster.state.node_names["n1"],
        cpu=0.1,
        memory=1,
        disk=1,
        launch=launch,
    )


def _named(cluster: Batches) -> tuple[int, str, str]:
    job = cluster.job()
    return job.uid, "default", job.name


BROKEN: Final[dict[str, Decide]] = {
    "a slot that has ended well": lambda c: [_place(c, 1, 0)],
    "a slot that somebody works in": lambda c: [_place(c, 1, 1)],
    "a slot that there is none of": lambda c: [_place(c, 1, 2)],
    "a launch that is over": lambda c: [_place(c, 2, 0)],
    "a launch that never was": lambda c: [_place(c, 9, 0)],
    "no launch at all": lambda c: [_place(c, 0, 0)],
    "complete, and one works": lambda c: [JobLaunchFinished(*_named(c), 1, "complete")],
    "over twice": lambda c: [JobLaunchFinished(*_named(c), 2, "failed")],
    "over twice at once": lambda c: [
        JobLaunchFinished(*_named(c), 1, "failed"),
        JobLaunchFinished(*_named(c), 1, "failed"),
    ],
    "a number that was": lambda c: [JobLaunched(*_named(c), 1, 2, c.clock)],
    "a number left out": lambda c: [JobLaunched(*_named(c), 1, 4, c.clock)],
    "a time that was": lambda c: [JobLaunched(*_named(c), 1, 3, c.job().scheduled)],
    "a time twice": lambda c: [JobLaunched(*_named(c), 1, 3, c.clock), JobLaunchSkipped(*_named(c), 1, c.clock)],
    "waiting for what is over": lambda c: [JobLaunchSkipped(*_named(c), 2, c.clock)],
}


@pytest.mark.parametrize("what", BROKEN)
def test_it_refuses(what: str) -> None:
    cluster = _cluster()
    with pytest.raises(BrokenPlanError):
        check(cluster.state, cluster.job(), BROKEN[what](cluster), Ledger())


def test_it_lets_pass_what_is_sound() -> None:
    cluster = _cluster()
    sound: list[Event] = [
        JobLaunchFinished(*_named(cluster), 1, "failed", "so"),
        JobLaunched(*_named(cluster), 1, 3, cluster.clock),
    ]
    check(cluster.state, cluster.job(), sound, Ledger())
    cluster.dispatch()
    check(cluster.state, cluster.job(), [_place(cluster, 3, 0), _place(cluster, 3, 1, more=1)], Ledger())
