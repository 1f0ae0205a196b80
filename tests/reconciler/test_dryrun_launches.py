"""What a submit of a batch job would do, and what a launch of it would place."""

from __future__ import annotations

from typing import Any

from heroctl.domain.intents.jobs import submit_job
from reconciler.planner.dryrun import Outlook, dry_run, overlay, total
from tests.domain.worlds import spec
from tests.reconciler.batches import Batches


def _cluster() -> Batches:
    cluster = Batches()
    cluster.join("n1")
    cluster.decide()
    return cluster


def _outlook(cluster: Batches, **fields: Any) -> Outlook:  # noqa: ANN401 - a spec's fields
    wanted = spec(**{"job": "import", "type": "batch", "args": ["works"], **fields})
    job = cluster.state.job("default", "import")
    events = submit_job(cluster.state, wanted, "tester").events
    return dry_run(overlay(cluster.state, job.uid if job else 0), "default", "import", events, cluster.clock)


def _counts(outlook: Outlook) -> tuple[int, int, int, int]:
    of = total(outlook.tasks.values())
    return of.place, of.stop, of.replace, of.in_place


def test_one_that_its_submit_launches() -> None:
    outlook = _outlook(_cluster(), count=3)
    assert (_counts(outlook), outlook.waits_for, outlook.launched) == ((3, 0, 0, 0), "", None)
    assert sum(outlook.tasks["main"].nodes.values()) == 3


def test_one_that_the_clock_launches_waits_and_says_what_a_launch_places() -> None:
    outlook = _outlook(_cluster(), count=3, periodic={"cron": "* * * * *", "overlap": True})
    assert (_counts(outlook), outlook.waits_for, outlook.truncated) == ((0, 0, 0, 0), "launch", False)
    assert outlook.launched is not None
    assert total(outlook.launched.values()).place == 3


def test_one_that_would_fit_nowhere_says_so_before_its_time() -> None:
    outlook = _outlook(_cluster(), dispatch={}, resources={"cpu": 9})
    assert outlook.blocked == ("1 node: 1 exhausted cpu",)


def test_another_content_stops_what_goes_on_and_begins_anew() -> None:
    cluster = _cluster()
    cluster.batch(args="works", count=2)
    cluster.settle()
    assert _counts(_outlook(cluster, args=["other"], count=2)) == (0, 0, 2, 0)
    assert _counts(_outlook(cluster, count=2, meta={"a": "b"})) == (0, 0, 0, 0)
    assert _counts(_outlook(cluster, count=1)) == (0, 1, 0, 0)


def test_what_is_complete_is_left_alone() -> None:
    cluster = _cluster()
    cluster.batch(count=2)
    cluster.settle()
    assert _counts(_outlook(cluster, args=["ends"], count=5)) == (0, 0, 0, 0)
    assert _counts(_outlook(cluster, args=["other"], count=5)) == (5, 0, 0, 0)
