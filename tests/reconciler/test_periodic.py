"""What the clock launches: each scheduled time once, over take-overs, pauses and changes of the clock."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heroctl.domain.errors import Conflict
from heroctl.domain.events import JobLaunched, JobLaunchSkipped
from heroctl.domain.evolve.launches import running
from heroctl.domain.intents import jobs, launches
from reconciler.planner.check import BrokenPlanError, Ledger, check
from reconciler.planner.plan import Memo
from tests.reconciler.batches import Batches
from tests.reconciler.cluster import START
from tests.reconciler.rig import Rig, run
from tests.reconciler.test_rollout_kills import KillingLog

MINUTE: Final = 60_000
EACH_MINUTE: Final = {"cron": "* * * * *"}


def _cluster(**periodic: Any) -> Batches:  # noqa: ANN401 - a spec's fields
    cluster = Batches()
    cluster.join("n1")
    cluster.decide()
    cluster.batch(periodic=EACH_MINUTE | periodic)
    return cluster


def _minutes(cluster: Batches, count: int) -> None:
    """Let minutes pass, second by second as the planner asks for it."""
    until = cluster.clock + count * MINUTE
    while cluster.clock < until:
        cluster.decide()
        cluster.step()
        cluster.decide()
        wake = cluster.look().wake_at
        cluster.clock = min(until, max(cluster.clock + 1, wake if wake is not None else until))
    cluster.decide()


def _scheduled(cluster: Batches, kind: type[JobLaunched | JobLaunchSkipped] = JobLaunched) -> list[int]:
    return [record.event.scheduled_at for record in cluster.records if isinstance(record.event, kind)]


def test_each_scheduled_time_is_one_launch_and_the_submit_is_none() -> None:
    cluster = _cluster()
    cluster.decide()
    assert (cluster.status(), cluster.launches()) == ("pending", ())
    _minutes(cluster, 5)
    times = _scheduled(cluster)
    assert len(times) == 5
    assert [after - before for before, after in itertools.pairwise(times)] == [MINUTE] * 4
    assert all(time % MINUTE == 0 for time in times)
    assert {launch.kind for launch in cluster.launches()} == {"schedule"}


def test_of_what_was_missed_only_the_newest_is_launched() -> None:
    cluster = _cluster()
    cluster.wait(10 * MINUTE)
    cluster.decide()
    assert _scheduled(cluster) == [cluster.clock // MINUTE * MINUTE]


def test_without_overlap_a_launch_that_goes_on_is_waited_for_and_that_is_said() -> None:
    cluster = _cluster()
    cluster.behaviour["ends"] = "works"
    _minutes(cluster, 4)
    [launch] = cluster.launches()
    assert (launch.status, launch.skipped) == ("running", 3)
    assert launch.skipped_at == _scheduled(cluster, JobLaunchSkipped)[-1]
    [alloc] = cluster.live("import")
    cluster.end(alloc)
    _minutes(cluster, 1)
    assert [launch.number for launch in cluster.launches()] == [1, 2]


def test_with_overlap_it_is_not() -> None:
    cluster = _cluster(overlap=True)
    cluster.behaviour["ends"] = "works"
    _minutes(cluster, 3)
    assert [launch.status for launch in cluster.launches()] == ["running"] * 3
    assert len(cluster.live("import")) == 3


def test_one_that_waits_for_room_is_waited_for() -> None:
    cluster = Batches()
    cluster.batch(periodic=EACH_MINUTE)
    _minutes(cluster, 3)
    [launch] = cluster.launches()
    assert (cluster.status(), launch.skipped) == ("blocked", 2)
    cluster.join("n1")
    cluster.decide()
    cluster.step()
    cluster.decide()
    assert cluster.launches()[0].status == "complete"


def test_a_changed_clock_counts_from_its_submit() -> None:
    cluster = _cluster()
    _minutes(cluster, 2)
    cluster.wait(10 * MINUTE)
    cluster.batch(periodic={"cron": "*/5 * * * *"})
    cluster.decide()
    assert len(_scheduled(cluster)) == 2, "what the old one missed is not the new one's"
    _minutes(cluster, 5)
    assert len(_scheduled(cluster)) == 3


def test_another_change_leaves_the_clock_alone() -> None:
    cluster = _cluster()
    cluster.wait(MINUTE)
    cluster.batch(args="other", periodic=EACH_MINUTE)
    cluster.decide()
    assert len(_scheduled(cluster)) == 1
    assert cluster.launches()[0].version == 2


def test_a_stopped_job_is_not_launched_and_nothing_of_that_time_is_made_up_for() -> None:
    cluster = _cluster()
    cluster.stop("import")
    _minutes(cluster, 3)
    assert _scheduled(cluster) == []
    cluster.batch(periodic=EACH_MINUTE)
    cluster.decide()
    assert _scheduled(cluster) == []
    _minutes(cluster, 1)
    assert len(_scheduled(cluster)) == 1


def test_forcing_launches_now_whatever_goes_on() -> None:
    cluster = _cluster(cron="0 0 1 1 *")
    cluster.behaviour["ends"] = "works"
    cluster.force()
    cluster.force()
    cluster.settle()
    assert [(launch.kind, launch.scheduled_at) for launch in cluster.launches()] == [("force", None)] * 2
    assert len(cluster.live("import")) == 2


def test_what_the_clock_launches_is_neither_dispatched_nor_restarted() -> None:
    cluster = _cluster()
    for refused, code in ((cluster.dispatch, "not_dispatchable"), (cluster.restart, "not_restartable")):
        with pytest.raises(Conflict) as error:
            refused()
        assert error.value.code == code
    cluster.batch(name="plain")
    with pytest.raises(Conflict) as error:
        cluster.force("plain")
    assert error.value.code == "not_periodic"


def test_launches_in_a_night_in_which_the_clock_is_put_forward() -> None:
    cluster = Batches()
    cluster.clock = int(datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)
    cluster.join("n1")
    cluster.decide()
    cluster.batch(periodic={"cron": "30 2 * * *", "time_zone": "Europe/Berlin"})
    _minutes(cluster, 2 * 24 * 60)
    zone = ZoneInfo("Europe/Berlin")
    told = [datetime.fromtimestamp(at / 1000, zone).strftime("%d %H:%M") for at in _scheduled(cluster)]
    assert told == ["29 03:00", "30 02:30"]


def test_the_linter_lets_no_scheduled_time_come_twice() -> None:
    cluster = _cluster()
    _minutes(cluster, 1)
    job = cluster.job()
    twice = JobLaunched(job.uid, "default", job.name, 1, job.launched + 1, job.scheduled)
    with pytest.raises(BrokenPlanError):
        check(cluster.state, job, [twice], Ledger())
    cluster.add(twice)
    assert len(cluster.launches()) == 1, "and the fold takes none"


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(("wait", "forget", "lose", "force", "long")), st.integers(1, 400)), max_size=30)
)
def test_each_scheduled_time_is_dealt_with_once_whoever_coordinates(steps: list[tuple[str, int]]) -> None:
    """A coordinator that forgets everything, or whose decision is lost, launches what is due: once, and in order."""
    cluster = _cluster(overlap=True)
    for word, seconds in steps:
        match word:
            case "wait":
                cluster.wait(seconds * 1_000)
                cluster.decide()
            case "long":
                cluster.wait(seconds * 10_000)
            case "forget":
                cluster.memo = Memo()
            case "lose":
                cluster.look()
            case _:
                cluster.force()
        cluster.step()
    cluster.decide()
    times = _scheduled(cluster)
    assert times == sorted(set(times))
    assert all(time % MINUTE == 0 and START < time <= cluster.clock for time in times)
    assert cluster.job().scheduled >= cluster.clock // MINUTE * MINUTE - MINUTE or not times
    numbers = [launch.number for launch in cluster.launches()]
    assert numbers == sorted(set(numbers))


# ── coordinators that are killed ─────────────────────────────────────────────────────────────────────────────────────


def _told_after(at: int, *, after: bool) -> tuple[list[int], int]:
    """Launch each minute for five, killing whoever makes decision `at`; tell the scheduled times, and how many were."""
    result: list[tuple[list[int], int]] = []

    async def story(rig: Rig) -> None:
        await rig.join("n1")
        rig.log = log = KillingLog(rig.log, at, after=after)
        rig.start("r1")
        await rig.until(lambda: rig.coordinators() == ["r1"] or log.reached.is_set(), 100)
        await rig.submit(name="import", type="batch", periodic={"cron": "* * * * *", "overlap": True})
        began = rig.state.time
        if at:
            await rig.until(log.reached.is_set, 600)
            await rig.kill("r1")
            rig.start("r2")
        uid = rig.state.names["default", "import"]
        until = began // MINUTE * MINUTE + 6 * MINUTE
        await rig.until(lambda: rig.state.jobs[uid].scheduled >= until, 900)
        told = [event.scheduled_at for event in await rig.told() if isinstance(event, JobLaunched)]
        result.append((told, log.decisions))

    run(story)
    return result[0]


def test_no_scheduled_time_is_launched_twice_or_left_out_by_a_killed_coordinator() -> None:
    undisturbed, decisions = _told_after(0, after=False)
    assert len(undisturbed) == 6
    for at in range(1, decisions + 1):
        for after in (False, True):
            told, _ = _told_after(at, after=after)
            assert told == undisturbed, (at, after)


def test_a_launch_gives_way_to_a_user_who_was_quicker() -> None:
    async def story(rig: Rig) -> None:
        await rig.join("n1")
        rig.start("r1")
        await rig.submit(name="import", type="batch", periodic={"cron": "* * * * *"})

        async def stop_first(append: Any) -> None:  # noqa: ANN401 - an append
            if any(isinstance(event, JobLaunched) for event in append.events):
                rig.log.before = None
                await rig.do(jobs.stop_job(rig.state, "default", "import"))

        rig.log.before = stop_first
        await rig.until(lambda: rig.log.before is None, 200)
        await rig.submit(name="other", type="batch")
        await rig.until(lambda: rig.live("other"))
        assert not [event for event in await rig.told() if isinstance(event, JobLaunched)]

    run(story)


def test_a_dispatch_and_the_clock_never_give_two_launches_one_number() -> None:
    cluster = _cluster(overlap=True)
    job = cluster.job()
    stale = launches.force(job, running(cluster.state, job.uid), "tester")
    _minutes(cluster, 1)
    cluster.add(*stale.events)
    assert [launch.number for launch in cluster.launches()] == [1], "it expected the job's stream, which has moved"
