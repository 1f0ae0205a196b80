"""A plan that kills its process: it is found, it costs its own job alone, and those that kill nobody pay nothing."""

from __future__ import annotations

import pytest

from heroctl.domain.records import Job
from heroctl.domain.state import job_status
from reconciler.hand import DIED, MINUTE, Hand
from reconciler.planner import plan as planning
from reconciler.planner.draft import Draft
from reconciler.planner.rollout import decide
from reconciler.planner.scene import Scene
from reconciler.serve import Process, _say_goodbye
from tests.eventstore.fastloop import elapse
from tests.reconciler.rig import Rig, run
from tests.reconciler.test_loop import deployed, finished


class KilledError(BaseException):
    """What a plan that kills its process is to a process of a test: nothing catches it."""


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning the first version of the job `poison`, or `venom`, kills."""

    def kill(scene: Scene, job: Job) -> Draft:
        if job.name in ("poison", "venom") and b'"v1"' in job.current.spec:
            raise KilledError
        return decide(scene, job)

    monkeypatch.setattr(planning, "decide", kill)


class Supervisor:
    """Starts another reconciler for each one that died."""

    def __init__(self, rig: Rig) -> None:
        self.deaths = 0
        self._rig = rig

    async def watch(self, seconds: float) -> None:
        """Let time pass, and do so."""
        for _ in range(round(seconds * 10)):
            await elapse(0.1)
            for name, process in list(self._rig.reconcilers.items()):
                if process.tasks[-1].done():
                    self.deaths += 1
                    with pytest.raises(BaseExceptionGroup):
                        await self._rig.kill(name)
                    self._rig.start(f"after-{self.deaths}")


def noted(rig: Rig) -> list[int]:
    """Watch what is noted on the lease."""
    seen: list[int] = []
    hold = rig.leases.hold

    async def note(holder: str, epoch: int, uid: int) -> bool:
        seen.append(uid)
        return await hold(holder, epoch, uid)

    rig.leases.hold = note  # type: ignore[method-assign] # watched
    return seen


def test_a_job_whose_plan_kills_is_found_and_left_alone(deadly: None) -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        supervisor = Supervisor(rig)
        await rig.submit("poison")
        await rig.submit("late")
        await supervisor.watch(45)
        assert finished(rig, "late"), "the others go on as soon as the culprit is known"
        await supervisor.watch(45)
        job = rig.state.job("default", "poison")
        assert job is not None
        assert (supervisor.deaths, job.plan_failures) == (4, 3), "one in its usual life, and three that noted the job"
        assert job_status(rig.state, job) == "blocked"
        assert job.blocked == (f"quarantined: planning it failed 3 times: {DIED}",)
        await supervisor.watch(300)
        await rig.submit("later")
        await rig.until(lambda: finished(rig, "later"))
        await rig.submit("poison", "v2")
        await supervisor.watch(60)
        assert supervisor.deaths == 4
        assert finished(rig, "poison"), "the next intent on the job sets it free"

    run(story)


def test_one_that_looks_at_no_hand_dies_for_ever(deadly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what the others of these tests hold is owed to the hand."""
    monkeypatch.setattr(Hand, "take_over", lambda _: None)

    async def story(rig: Rig) -> None:
        await deployed(rig)
        supervisor = Supervisor(rig)
        await rig.submit("poison")
        await rig.submit("late")
        await supervisor.watch(300)
        assert supervisor.deaths > 10
        assert not finished(rig, "late")

    run(story)


def test_of_two_that_kill_each_is_found(deadly: None) -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig)
        supervisor = Supervisor(rig)
        for name in ("poison", "late", "venom"):
            await rig.submit(name)
        await supervisor.watch(240)
        assert supervisor.deaths == 7
        assert finished(rig, "late")
        release = rig.reconcilers["after-7"].coordinator._release
        assert sorted(job.name for job in rig.state.jobs.values() if job.quarantined(release)) == ["poison", "venom"]

    run(story)


def test_nothing_is_noted_where_nobody_died() -> None:
    async def story(rig: Rig) -> None:
        seen = noted(rig)
        await deployed(rig, "r1", "r2")
        [first] = rig.coordinators()
        gone = rig.reconcilers[first]
        await rig.kill(first)
        await _say_goodbye(Process(gone.keeper, gone.presence, gone.coordinator))
        await rig.submit("api")
        await rig.until(lambda: finished(rig, "api"))
        assert seen == []

    run(story)


def test_after_a_death_jobs_are_noted_for_a_minute() -> None:
    async def story(rig: Rig) -> None:
        seen = noted(rig)
        await deployed(rig, "r1", "r2")
        await rig.kill(rig.coordinators()[0])
        await rig.submit("api")
        await rig.until(lambda: finished(rig, "api"))
        assert set(seen) == {0, *rig.state.jobs}
        assert seen[-1] == 0, "a pass that came to its end leaves none"
        await elapse(MINUTE)
        seen.clear()
        await rig.submit("api", "v2")
        await rig.until(lambda: finished(rig, "api"))
        assert seen == []
        assert not any(job.plan_failures for job in rig.state.jobs.values())

    run(story)


def test_a_lease_that_is_lost_meanwhile_ends_the_pass() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig, "r1", "r2")
        await rig.kill(rig.coordinators()[0])
        [last] = rig.reconcilers
        seen: list[int] = []

        async def refuse(holder: str, epoch: int, uid: int) -> bool:
            seen.append(uid)
            return len(seen) > 3

        hold, rig.leases.hold = rig.leases.hold, refuse  # type: ignore[method-assign] # for a while
        await rig.submit("api")
        await rig.until(lambda: len(seen) > 3)
        rig.leases.hold = hold  # type: ignore[method-assign] # as before
        await rig.until(lambda: finished(rig, "api"))
        assert rig.coordinators() == [last]
        assert len(rig.live("api")) == 1

    run(story)
