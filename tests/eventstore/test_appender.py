"""Group commit: what goes into a batch, and what becomes of it when the way to the database breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

import pytest

from eventstore.appender import MAX_APPENDS, Answer, Appender, Waiting, cut
from eventstore.codec import Sealed, seal
from eventstore.log import Append, Appended, Busy, LogUnavailable, Rejected
from heroctl.domain.events import JobStopped
from tests.eventstore.fastloop import elapse, run
from tests.eventstore.samples import intent, key, unchanged
from tests.waiting import eventually


class Line:
    """A sender that answers as it is told, and remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[UUID, tuple[int, ...]]] = []
        self.troubles: list[Exception] = []  # one for each call, first to last
        self.unreachable = False
        self.reached = asyncio.Event()
        self.reached.set()
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.poison: Callable[[int], bool] = lambda number: False
        self.end = 0

    async def ready(self) -> None:
        """Fail while unreachable; take long until reached."""
        await self.reached.wait()
        if self.unreachable:
            raise LogUnavailable("refused")

    async def send(self, batch: UUID, appends: Sequence[Sealed]) -> list[Answer]:
        """Number the appends."""
        numbers = tuple(event.uid for each in appends for event in each.append.events if isinstance(event, JobStopped))
        self.sent.append((batch, numbers))
        await self.hangs.wait()
        if self.troubles:
            raise self.troubles.pop(0)
        if any(map(self.poison, numbers)):
            raise Rejected("poison")
        answers: list[Answer] = []
        for _ in appends:
            self.end += 1
            answers.append(Appended(self.end, self.end))
        return answers


@contextlib.asynccontextmanager
async def appending(
    line: Line, *, queue: int = 1000, patience: float = 10.0, heard: Callable[[int], None] = lambda _: None
) -> AsyncIterator[Appender]:
    """An appender that runs."""
    appender = Appender(line, heard, queue=queue, patience=patience)
    task = asyncio.ensure_future(appender.run())
    try:
        yield appender
    finally:
        task.cancel()
        await asyncio.wait({task})


def waiting(*appends: Append) -> deque[Waiting]:
    loop = asyncio.get_running_loop()
    return deque(Waiting(seal(append), loop.create_future()) for append in appends)


async def test_batch_holds_what_is_queued_up_to_a_bound() -> None:
    queue = waiting(*(intent(n) for n in range(MAX_APPENDS + 3)))
    assert len(cut(queue)) == MAX_APPENDS
    assert len(cut(queue)) == 3
    assert cut(queue) == []


async def test_batch_is_bounded_in_bytes_but_takes_a_large_append_alone() -> None:
    large = Append((JobStopped(1, "default", "x" * 700_000),))
    huge = Append((JobStopped(1, "default", "x" * 3_000_000),))
    queue = waiting(large, large, huge, intent(1))
    assert [len(cut(queue)) for _ in range(4)] == [1, 1, 1, 1]


async def test_batch_ends_before_an_expectation_on_what_it_moves() -> None:
    """All expectations of a batch are judged on what stood before it."""
    queue = waiting(
        intent(1, stream="a:1", seen=0), intent(2, stream="a:2", seen=0), intent(3, stream="a:1", seen=0), intent(4)
    )
    assert [len(cut(queue)) for _ in range(2)] == [2, 2]
    queue = waiting(intent(1, stream="a:1"), intent(2, stream="a:1"))
    assert len(cut(queue)) == 2


async def test_batch_ends_before_a_key_that_it_has() -> None:
    """The second of two with one key finds the first one's, as if it had come later."""
    queue = waiting(
        intent(1, under=key("k")), intent(2, under=key("l")), intent(3), unchanged(key("k", "other")), intent(4)
    )
    assert [len(cut(queue)) for _ in range(2)] == [3, 2]


async def test_whoever_went_away_in_the_queue_is_not_sent() -> None:
    queue = waiting(intent(1), intent(2), intent(3))
    queue[1].answer.cancel()
    assert len(cut(queue)) == 2


async def test_what_queues_up_during_a_call_goes_together() -> None:
    line, heard = Line(), list[int]()
    line.hangs.clear()
    async with appending(line, heard=heard.append) as appender:
        callers = [asyncio.ensure_future(appender.append(seal(intent(1))))]
        await eventually(lambda: line.sent)
        callers += [asyncio.ensure_future(appender.append(seal(intent(n)))) for n in range(2, 10)]
        await asyncio.sleep(0)
        line.hangs.set()
        answers = await asyncio.gather(*callers)
    assert [numbers for _, numbers in line.sent] == [(1,), tuple(range(2, 10))]
    assert [answer.first for answer in answers] == list(range(1, 10))
    assert heard == [1, 9]


async def test_full_queue_refuses() -> None:
    line = Line()
    line.hangs.clear()
    async with appending(line, queue=3) as appender:
        callers = [asyncio.ensure_future(appender.append(seal(intent(1))))]
        await eventually(lambda: line.sent)
        callers += [asyncio.ensure_future(appender.append(seal(intent(n)))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await appender.append(seal(intent(9)))
        line.hangs.set()
        await asyncio.gather(*callers)


def test_batch_is_sent_again_under_its_id_until_the_answer_is_known() -> None:
    async def main() -> None:
        line = Line()
        line.troubles = [
            LogUnavailable("broken", unknown=True),
            LogUnavailable("recovering"),
            LogUnavailable("locked"),
        ]
        async with appending(line) as appender:
            assert (await appender.append(seal(intent(7)))).first == 1
        assert len({batch for batch, _ in line.sent}) == 1
        assert len(line.sent) == 4

    run(main)


@pytest.mark.parametrize("callers", [1, 3])
def test_refused_after_a_lost_answer_it_is_not_sent_under_another_id(callers: int) -> None:
    """It may have happened: one at a time, under ids of their own, all of it would happen twice."""

    async def main() -> None:
        line = Line()
        line.troubles = [LogUnavailable("broken", unknown=True), Rejected("no such function, for the moment")]
        async with appending(line) as appender:
            appends = (appender.append(seal(intent(n))) for n in range(callers))
            answers = await asyncio.gather(*appends, return_exceptions=True)
            assert all(isinstance(answer, LogUnavailable) and answer.unknown for answer in answers)
            assert len(line.sent) == 2
            assert len({batch for batch, _ in line.sent}) == 1
            assert (await appender.append(seal(intent(9)))).first == 1

    run(main)


@pytest.mark.parametrize(
    ("troubles", "unreachable", "unknown"),
    [
        ([], True, False),
        ([LogUnavailable("lock time-out")] * 100, False, False),
        ([LogUnavailable("broken", unknown=True)] + [LogUnavailable("recovering")] * 100, False, True),
    ],
)
def test_caller_is_answered_in_time_and_truly(troubles: list[Exception], *, unreachable: bool, unknown: bool) -> None:
    """What was never sent, or was refused, did not happen; what broke and could not be asked again is unknown."""

    async def main() -> None:
        line = Line()
        line.troubles, line.unreachable = list(troubles), unreachable
        async with appending(line, patience=5) as appender:
            with pytest.raises(LogUnavailable) as away:
                await appender.append(seal(intent(1)))
            assert away.value.unknown == unknown
            assert asyncio.get_running_loop().time() == pytest.approx(5)
            calls = len(line.sent)
            line.troubles, line.unreachable = [], False
            assert (await appender.append(seal(intent(2)))).first == 1
            await elapse(60)
        assert [numbers for _, numbers in line.sent[calls:]] == [(2,)], "nobody waits for the first any more"

    run(main)


def test_who_gave_up_before_the_first_sending_is_not_sent() -> None:
    """It was told that nothing happened, while the appender was still looking for a connection."""

    async def main() -> None:
        line = Line()
        line.reached.clear()
        async with appending(line, patience=5) as appender:
            gone, stays = (asyncio.ensure_future(appender.append(seal(intent(n)))) for n in (1, 2))
            await elapse(3)
            gone.cancel()
            line.reached.set()
            await stays
            line.reached.clear()
            with pytest.raises(LogUnavailable) as away:
                await appender.append(seal(intent(3)))
            assert not away.value.unknown
            line.reached.set()
            await elapse(60)
        assert [numbers for _, numbers in line.sent] == [(2,)]

    run(main)


def test_call_that_hangs_leaves_the_outcome_unknown() -> None:
    async def main() -> None:
        line = Line()
        line.hangs.clear()
        async with appending(line, patience=5) as appender:
            in_flight = asyncio.ensure_future(appender.append(seal(intent(1))))
            await elapse(1)
            queued = asyncio.ensure_future(appender.append(seal(intent(2))))
            outcomes = await asyncio.gather(in_flight, queued, return_exceptions=True)
        assert [outcome.unknown for outcome in outcomes if isinstance(outcome, LogUnavailable)] == [True, False]

    run(main)


async def test_only_the_culprit_fails() -> None:
    """One of a batch cannot be taken: the others are, each alone."""
    line = Line()
    line.hangs.clear()
    line.poison = lambda number: number == 30
    async with appending(line) as appender:
        first = asyncio.ensure_future(appender.append(seal(intent(0))))
        await eventually(lambda: line.sent)
        callers = [asyncio.ensure_future(appender.append(seal(intent(n)))) for n in range(1, 65)]
        await asyncio.sleep(0)
        line.hangs.set()
        await first
        answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Rejected if n == 30 else Appended for n in range(1, 65)]
    assert len({batch for batch, _ in line.sent}) == 66, "each has an id of its own"


async def test_cancelled_callers_break_no_batch() -> None:
    line = Line()
    line.hangs.clear()
    async with appending(line) as appender:
        callers = [asyncio.ensure_future(appender.append(seal(intent(n)))) for n in range(3)]
        await eventually(lambda: line.sent)
        callers[1].cancel()
        await asyncio.sleep(0)
        line.hangs.set()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(answers[1], asyncio.CancelledError)
        assert [answer.first for answer in answers if isinstance(answer, Appended)] == [1, 3]


async def test_end_of_the_task_ends_all_waiting() -> None:
    line = Line()
    line.hangs.clear()
    async with appending(line) as appender:
        sent = asyncio.ensure_future(appender.append(seal(intent(1))))
        await eventually(lambda: line.sent)
        queued = asyncio.ensure_future(appender.append(seal(intent(2))))
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(sent, queued, return_exceptions=True)
    assert [outcome.unknown for outcome in outcomes if isinstance(outcome, LogUnavailable)] == [True, False]
