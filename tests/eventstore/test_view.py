"""The view: a fold that follows the log, and those who wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from eventstore.log import PAGE, Append, LogUnavailable, Row
from eventstore.memory import MemoryLog
from eventstore.view import Change, Shared, View
from eventstore.waiters import LINGER, Waiters
from heroctl.domain.events import MemberJoined, Opaque, Record
from heroctl.domain.evolve import Touch, apply
from heroctl.domain.state import State
from heroctl.domain.topics import CLUSTER, JOBS, PEERS, job_topic
from tests.eventstore.fastloop import run
from tests.eventstore.samples import decision, intent
from tests.waiting import eventually


def joined(name: str) -> Append:
    """An append that touches the topics of the cluster and its peers."""
    return Append((MemberJoined(name, "api", "127.0.0.1:1"),), epoch=0)


@contextlib.asynccontextmanager
async def following(log: MemoryLog, view: View | None = None) -> AsyncIterator[View]:
    """A view that follows a log and has caught up."""
    view = view or View(log)
    task = asyncio.ensure_future(view.run())
    await view.catch_up()
    try:
        yield view
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def test_follows_the_log() -> None:
    log = MemoryLog()
    async with following(log) as view:
        assert (view.index, view.state.cluster, view.sound) == (1, "cluster", True)
        place = await log.append(joined("a"))
        assert await view.reached(place.last)
        assert view.state.members.keys() == {"a"}
        assert view.topic_index(PEERS) == place.last
        assert view.started


async def test_reached_gives_up_in_time() -> None:
    async with following(MemoryLog()) as view:
        assert await view.reached(1, 0)
        assert not await view.reached(2, 0)


def test_reached_waits_no_longer_than_asked() -> None:
    async def main() -> None:
        async with following(MemoryLog()) as view:
            begun = asyncio.get_running_loop().time()
            assert not await view.reached(99, 2.0)
            assert asyncio.get_running_loop().time() - begun == pytest.approx(2.0)
            assert view._reaching == []

    run(main)


async def test_cancelled_waiters_leave_nothing_behind() -> None:
    log = MemoryLog()
    async with following(log) as view:
        waiting = [asyncio.ensure_future(view.reached(2)), asyncio.ensure_future(view.wait(JOBS, 1, 60))]
        await asyncio.sleep(0)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        assert len(view._waiters) == 0
        assert view._reaching == []
        await log.append(intent(1))


async def test_catch_up_needs_no_wake() -> None:
    """Without `run`, and without any notification, the head is read and applied."""
    log = MemoryLog()
    view = View(log)
    await log.append(joined("a"))
    await asyncio.gather(*(view.catch_up() for _ in range(10)))
    assert view.index == 2


async def test_whole_appends_or_nothing() -> None:
    """Nobody sees a state between two events of one append."""
    log = MemoryLog()
    seen: list[int] = []
    async with following(log) as view:
        view.subscribe(lambda change: seen.append(view.index))
        await log.append(Append(tuple(MemberJoined(str(n), "api", "a") for n in range(50)), epoch=0))
        while view.index < 51:
            assert len(view.state.members) in {0, 50}
            await asyncio.sleep(0)
    assert seen == [51]


async def test_subscribers_learn_what_was_touched() -> None:
    log = MemoryLog()
    changes: list[Change] = []
    async with following(log) as view:
        end = view.subscribe(changes.append)
        await view.reached((await log.append(joined("a"))).last)
        end()
        await view.reached((await log.append(joined("b"))).last)
    assert [(each.index, each.topics, each.reloaded) for each in changes] == [(2, frozenset({CLUSTER, PEERS}), False)]
    assert [record.index for record in changes[0].records] == [2]


# ── long polls ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_waits_for_its_topic_alone() -> None:
    log = MemoryLog()
    async with following(log) as view:
        peers = asyncio.ensure_future(view.wait(PEERS, 1, 60))
        jobs = asyncio.ensure_future(view.wait(JOBS, 1, 60))
        await view.reached((await log.append(joined("a"))).last)
        assert await peers == "moved"
        assert not jobs.done()
        jobs.cancel()


async def test_answers_at_once_what_has_moved_already() -> None:
    log = MemoryLog()
    await log.append(joined("a"))
    async with following(log) as view:
        assert await view.wait(PEERS, 1, 60) == "moved"
        assert await view.wait((JOBS, PEERS), 1, 60) == "moved"


async def test_index_above_the_log_is_answered_at_once() -> None:
    """A client of another history does not hang."""
    async with following(MemoryLog()) as view:
        assert await view.wait(JOBS, 1_000, 60) == "moved"


def test_index_above_the_view_waits_for_the_log() -> None:
    """The log has it, the view does not yet: that is no reason to answer."""

    async def main() -> None:
        log = MemoryLog()
        await log.append(joined("a"))
        view = View(log)
        assert await view.wait(JOBS, 2, 5.0) == "timeout"

    run(main)


def test_waits_no_longer_than_asked() -> None:
    async def main() -> None:
        async with following(MemoryLog()) as view:
            begun = asyncio.get_running_loop().time()
            assert await view.wait(JOBS, 1, 300) == "timeout"
            assert asyncio.get_running_loop().time() - begun == pytest.approx(300)

    run(main)


async def test_ends_when_the_caller_says_so() -> None:
    """The client has gone, or the server drains: the waiter is freed at once."""
    async with following(MemoryLog()) as view:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(view.wait(JOBS, 1, 60, ended))
        await asyncio.sleep(0)
        ended.set_result(None)
        assert await waiting == "ended"
        assert len(view._waiters) == 0


async def test_missing_thing_moves_with_its_collection() -> None:
    async with following(MemoryLog()) as view:
        assert view.topic_index(job_topic("default", "web")) == view.topic_index(JOBS) == 1


def test_collections_linger_and_single_things_do_not() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        indexes = {"jobs": 1, "jobs:default/web": 1}
        waiters = Waiters(lambda topic: indexes[topic])
        woken: list[tuple[str, float]] = []

        async def wait(topic: str) -> None:
            assert await waiters.wait((topic,), 1, 60) == "moved"
            woken.append((topic, loop.time()))

        waiting = asyncio.gather(*(wait(topic) for topic in indexes))
        await asyncio.sleep(0)
        for index in (2, 3, 4):
            indexes.update({"jobs": index, "jobs:default/web": index})
            waiters.touch(indexes)
        await waiting
        return woken

    assert run(main) == [("jobs:default/web", 0.0), ("jobs", pytest.approx(LINGER))]


async def test_thousands_are_woken_in_slices() -> None:
    """Between two slices the loop does something else."""
    indexes = {"jobs:default/web": 1}
    waiters = Waiters(lambda topic: indexes[topic])
    waiting = [asyncio.ensure_future(waiters.wait(("jobs:default/web",), 1, 60)) for _ in range(1_000)]
    await asyncio.sleep(0)
    indexes["jobs:default/web"] = 2
    waiters.touch(indexes)
    turns = []
    while not all(each.done() for each in waiting):
        turns.append(sum(each.done() for each in waiting))
        await asyncio.sleep(0)
    assert len(turns) >= 4
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 256
    assert len(waiters) == 0


async def test_wake_that_shows_nothing_new_is_kept_back() -> None:
    """Whoever has seen index 5 is not told of 4."""
    indexes = {"jobs:a/b": 4}
    waiters = Waiters(lambda topic: indexes[topic])
    waiting = asyncio.ensure_future(waiters.wait(("jobs:a/b",), 5, 60))
    await asyncio.sleep(0)
    waiters.touch(indexes)
    await asyncio.sleep(0)
    assert not waiting.done()
    indexes["jobs:a/b"] = 6
    waiters.touch(indexes)
    assert await waiting == "moved"


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_event_that_cannot_be_folded_does_not_stop_the_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is marked and said aloud; everything else goes on, but not coordinating."""

    def poisoned(state: State, record: Record, touch: Touch) -> None:
        if isinstance(record.event, MemberJoined) and record.event.id == "poison":
            raise KeyError("poison")
        apply(state, record, touch)

    monkeypatch.setattr("eventstore.view.apply", poisoned)
    log = MemoryLog()
    async with following(log) as view:
        await log.append(joined("poison"))
        place = await log.append(joined("a"))
        assert await view.reached(place.last, 5)
        assert view.state.members.keys() == {"a"}
        assert (view.failed, view.sound, view.index) == (2, False, 3)


async def test_unknown_event_makes_the_view_unsound() -> None:
    """A release that does not know an event may show, and must not decide."""
    log = MemoryLog()
    async with following(log) as view:
        await log.append(Append((Opaque("job.sung", 1, b"{}"),)))
        await view.reached((await log.append(intent(1))).last)
        assert (view.failed, view.sound, view.index) == (2, False, 3)


async def test_other_history_is_reloaded_and_named_anew() -> None:
    """A lossy fail-over: the view notices at the next look, folds anew and draws an incarnation, once for all."""
    log = MemoryLog()
    for name in "abc":
        await log.append(joined(name))
    changes: list[Change] = []
    async with following(log) as view, following(log) as second:
        view.subscribe(changes.append)
        waiting = asyncio.ensure_future(view.wait(JOBS, 1, 60))
        log.lose(2)
        await log.append(joined("z"))
        await eventually(
            lambda: {(each.index, each.state.incarnation) for each in (view, second)} == {(4, "incarnation1")}
        )
        assert await waiting == "moved"
        assert view.state == second.state
        assert view.state.members.keys() == {"a", "z"}
        assert view.state.incarnation == "incarnation1" == log.incarnation
        assert any(change.reloaded for change in changes)
        place = await log.append(joined("y"))
        assert await view.reached(place.last, 5)


class Torn(MemoryLog):
    """A log of which nothing can be proven while it is `torn`: it is exchanged while it is read."""

    torn = False

    async def page(self, after: int, events: int = PAGE) -> list[Row]:
        """See Log.page."""
        rows = await super().page(after, events)
        return [(*row[:7], b"another") for row in rows] if self.torn else rows


async def test_history_exchanged_while_it_is_folded_anew_is_a_log_that_is_away() -> None:
    """Who asks the view to catch up is told to come again, and finds it right then."""
    log = Torn()
    view = View(log)
    await view.catch_up()
    await log.append(joined("a"))
    log.torn = True
    for ask in (view.catch_up, view.doubt):
        with pytest.raises(LogUnavailable):
            await ask()
    log.torn = False
    await view.catch_up()
    assert (set(view.state.members), view.state.incarnation) == ({"a"}, log.incarnation)


async def test_shorter_history_is_noticed_without_an_append() -> None:
    log = MemoryLog()
    await log.append(joined("a"))
    async with following(log) as view:
        log.lose(1)
        await eventually(lambda: not view.state.members)
        assert view.state.incarnation == log.incarnation != "incarnation"


async def test_reads_go_on_while_the_log_is_away() -> None:
    """The state stays, its age is told, and nobody is answered wrongly."""
    now = 100.0
    log = MemoryLog()
    view = View(log, clock=lambda: now)
    async with following(log, view):
        log.away = True
        log.ring()
        now = 140.0
        with pytest.raises(LogUnavailable):
            await view.catch_up()
        assert (view.index, view.stale_seconds, view.sound) == (1, 40.0, True)
        log.away = False
        log.ring()
        await eventually(lambda: view.stale_seconds == 0)
        place = await log.append(joined("a"))
        assert await view.reached(place.last, 5)


async def test_says_for_how_long_it_has_been_behind() -> None:
    now = 0.0
    log = MemoryLog()
    view = View(log, clock=lambda: now)
    await view.catch_up()
    await log.append(joined("a"))
    await view.head()
    now = 7.0
    assert view.behind_seconds == 7.0
    await view.catch_up()
    assert view.behind_seconds == 0.0


async def test_decisions_move_the_view_too() -> None:
    log = MemoryLog()
    async with following(log) as view:
        log.elect(decision(1))
        await view.reached(2)
        assert view.state.epoch == 7


async def test_shared_read_begins_after_asking() -> None:
    """Callers share a read, but never one that began before they asked."""
    begun = 0
    gate = asyncio.Event()

    async def read() -> int:
        nonlocal begun
        begun += 1
        mine = begun
        await gate.wait()
        return mine

    shared = Shared(read)
    early = [asyncio.ensure_future(shared.read()) for _ in range(3)]
    await eventually(lambda: begun == 1)
    late = [asyncio.ensure_future(shared.read()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*early) == [1, 1, 1]
    assert await asyncio.gather(*late) == [2, 2, 2]
