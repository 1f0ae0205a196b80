"""A rolling upgrade as reconcilers go through it: when the log's level rises, and who may decide at which."""

from __future__ import annotations

from eventstore.log import Append
from eventstore.members import Present
from heroctl.domain.events import LevelRaised
from heroctl.domain.records import Member
from reconciler.level import Rise
from reconciler.serve import Process, _say_goodbye
from tests.eventstore.fastloop import elapse
from tests.reconciler.rig import Rig, run
from tests.reconciler.test_loop import deployed, finished


def raised(level: int) -> tuple[Append, int]:
    """The append by which a level is raised, and the level."""
    return Append((LevelRaised(level),), epoch=1), level


class Clock:
    """A clock that is set by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_the_level_rises_after_a_while() -> None:
    clock = Clock()
    rise = Rise(clock, 60)
    assert rise.due(1, 2) is None
    clock.now += 59
    assert rise.due(1, 2) is None
    clock.now += 1
    assert rise.due(1, 2) == 2
    assert rise.due(2, 2) is None


def test_whoever_comes_back_older_begins_the_while_anew() -> None:
    clock = Clock()
    rise = Rise(clock, 60)
    for least in (1, None, 3):  # an older one lives, nobody knows who lives, and all are newer still
        assert rise.due(1, 2) is None
        clock.now += 60
        assert rise.due(1, least) is None
        clock.now += 59
        assert rise.due(1, 2) is None
    clock.now += 60
    assert rise.due(1, 2) == 2
    rise.restart()
    assert rise.due(1, 2) is None


def test_one_after_the_other_is_replaced_and_then_the_level_rises() -> None:
    async def story(rig: Rig) -> None:
        api = Member("api-1", "api", "10.0.0.1:8080", "1")

        async def renew(level: int) -> None:
            await rig.members.renew(Present(api, level))

        await deployed(rig, "old-1", "old-2")
        for name in ("old-1", "old-2"):
            gone = rig.reconcilers[name]
            await rig.kill(name)
            await _say_goodbye(Process(gone.keeper, gone.presence, gone.coordinator))
            rig.start(name.replace("old", "new"), level=2)
            for _ in range(6):
                await renew(1)
                await elapse(14)
            assert rig.state.level == 1, "an api of the old release lives"
        for _ in range(6):
            assert rig.state.level == 1
            await renew(2)
            await elapse(11)
        await rig.until(lambda: rig.state.level == 2, 5)
        assert rig.log.level == 2
        await rig.submit("api")
        await rig.until(lambda: finished(rig, "api"))

    run(story)


def test_an_old_one_that_comes_too_late_decides_nothing_and_holds_nothing_up() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig, "new")
        rig.log.raise_level(*raised(2))
        rig.reconcilers["new"].view.level = 2  # type: ignore[misc] # upgraded meanwhile
        rig.start("old")
        await elapse(1)
        assert rig.reconcilers["old"].view.outdated
        await rig.kill("new")
        await elapse(60)
        assert rig.coordinators() == []
        rig.start("newer", level=2)
        assert await rig.until(lambda: rig.coordinators() == ["newer"]) < 21
        await rig.submit("api")
        await rig.until(lambda: finished(rig, "api"))

    run(story)


def test_a_coordinator_that_is_outdated_gives_the_lease_up_at_once() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig, "old")
        rig.start("new", level=2)
        await elapse(6)
        rig.log.raise_level(*raised(2))
        assert await rig.until(lambda: rig.coordinators() == ["new"]) < 6

    run(story)


def test_the_lease_is_handed_to_who_can_fold_the_log_only() -> None:
    async def story(rig: Rig) -> None:
        await deployed(rig, "new")
        rig.reconcilers["new"].view.level = 2  # type: ignore[misc] # upgraded meanwhile
        rig.start("old")
        await elapse(6)
        assert await rig.reconcilers["new"].presence.successor() == "old"
        rig.log.raise_level(*raised(2))
        await elapse(1)
        assert await rig.reconcilers["new"].presence.successor() is None

    run(story)
