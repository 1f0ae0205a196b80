"""Who may decide, and from when: not before its own election is read, and never on a history that is no more."""

from __future__ import annotations

import pytest

from eventstore.log import Append
from eventstore.memory import MemoryLog
from heroctl.domain.events import AllocPlaced, CoordinatorElected, Event
from reconciler.loop import Coordinator
from tests.eventstore.fastloop import elapse
from tests.eventstore.samples import everything
from tests.reconciler.rig import Rig, run

LATE = 3.0  # seconds


async def hasty(rig: Rig) -> list[Append]:
    """Let one that reads the log late take over where there is much to do; return what it decided too early."""
    early: list[Append] = []
    for node in ("n1", "n2"):
        await rig.join(node)
    await rig.submit(count=2)
    candidate = rig.start("r1", LATE)

    async def judge(append: Append) -> None:
        known = (candidate.view.state.coordinator, candidate.view.state.epoch)
        if append.epoch is not None and known != ("r1", append.epoch):
            early.append(append)

    rig.log.before = judge
    await rig.until(lambda: len(rig.live()) == 2 or early)
    return early


def test_nothing_is_decided_before_the_view_has_the_election() -> None:
    async def story(rig: Rig) -> None:
        assert await hasty(rig) == []

    run(story)


def test_who_does_not_wait_for_its_election_is_seen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""

    def mandate(self: Coordinator) -> int | None:
        return self._keeper.epoch()

    monkeypatch.setattr(Coordinator, "_mandate", mandate)

    async def story(rig: Rig) -> None:
        assert await hasty(rig) != []

    run(story)


def test_it_goes_on_at_once_on_a_history_that_lost_its_end() -> None:
    """What it appended there stands at greater places than this one will have for long."""

    async def story(rig: Rig) -> None:
        rig.start("r1")
        await rig.join("n1")
        await rig.until(lambda: rig.state.epoch)
        await elapse(5)
        end = rig.api.index
        for name in ("a", "b", "c"):
            await rig.submit(name)
        await rig.until(lambda: all(rig.live(name) for name in ("a", "b", "c")))
        rig.log.lose(end)
        await rig.until(lambda: not rig.live("a"))
        await rig.submit("d")
        assert await rig.until(lambda: rig.live("d")) < 5
        assert rig.state.epoch == 2, "its mandate was of the other history"

    run(story)


async def overtaken(rig: Rig) -> list[Event]:
    """Let the log lose a job in the moment in which its placements arrive; return what was placed."""
    rig.start("r1")
    await rig.join("n1")
    await rig.until(lambda: rig.state.epoch)
    await elapse(5)
    end, lost = rig.api.index, list[Append]()

    async def lose(append: Append) -> None:
        if not lost and any(isinstance(event, AllocPlaced) for event in append.events):
            lost.append(append)
            rig.log.lose(end)

    rig.log.before = lose
    await rig.submit("a")
    await rig.until(lambda: rig.state.incarnation != "incarnation")
    await elapse(10)
    assert lost
    return [record.event for record in await everything(rig.log, end) if isinstance(record.event, AllocPlaced)]


def test_a_plan_for_what_is_lost_is_not_carried_out() -> None:
    async def story(rig: Rig) -> None:
        assert await overtaken(rig) == []
        await rig.submit("b")
        assert await rig.until(lambda: rig.live("b")) < 5

    run(story)


def test_without_its_place_it_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(MemoryLog, "_has_been", lambda *_: True)

    async def story(rig: Rig) -> None:
        assert await overtaken(rig) != []

    run(story)


def test_an_epoch_of_the_same_number_is_not_its_own() -> None:
    """Elected third in what was lost, while another was elected third in what goes on."""

    async def story(rig: Rig) -> None:
        await rig.join("n1")
        mine = rig.start("r1", LATE)
        await rig.until(lambda: rig.state.coordinator == "r1")
        decided: list[Append] = []

        async def note(append: Append) -> None:
            if append.epoch is not None and rig.state.coordinator != "r1":
                decided.append(append)

        rig.log.before = note
        rig.log.lose(1)
        rig.log.epoch = 0
        rig.log.elect(Append((CoordinatorElected("r2", 1),), epoch=1))
        await rig.until(lambda: rig.state.incarnation != "incarnation")
        assert mine.keeper.epoch() == 1
        assert not mine.coordinator.coordinates
        await rig.join("n1")
        await rig.submit()
        await elapse(30)
        assert decided == []
        assert rig.state.coordinator == "r2"

    run(story)
