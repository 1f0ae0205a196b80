"""Writes: those of one process queue, those of others are met again, and the client hears of neither."""

from __future__ import annotations

import asyncio

import pytest

from api.write import ATTEMPTS, Done, Lines, Writer
from eventstore.log import Append, Conflicted
from heroctl.domain.errors import Unavailable
from heroctl.domain.events import Meta, NodeEligibilitySet
from heroctl.domain.intents.change import NOTHING, Change
from heroctl.domain.state import State
from tests.api.rig import Rig

STREAM = "node:x"
EVENT = NodeEligibilitySet("x", eligible=True)


def change(_: State) -> Change:
    return Change((EVENT,), (STREAM,))


async def meddle(api: Rig) -> None:
    """Append to the stream as another process does, before our view hears of it."""
    await api.log.append(Append((EVENT,), (STREAM,)))


async def test_what_is_written_is_in_the_view_when_the_answer_comes(api: Rig) -> None:
    done = await api.parts.writer.write(STREAM, change, Meta("me"))
    assert done.events == (EVENT,)
    assert api.parts.view.index >= done.index > 1


async def test_nothing_to_change_is_no_append(api: Rig) -> None:
    before = (await api.log.head()).index
    assert await api.parts.writer.write(STREAM, lambda _: NOTHING, Meta()) == Done((), 0)
    assert (await api.log.head()).index == before


async def test_a_conflict_is_decided_again_on_a_view_that_has_it(api: Rig) -> None:
    seen: list[int] = []

    def decide(state: State) -> Change:
        seen.append(state.index)
        if len(seen) < ATTEMPTS:
            meddling.append(asyncio.get_running_loop().create_task(meddle(api)))
        return change(state)

    meddling: list[asyncio.Task[None]] = []
    log = api.log
    append = log.append

    async def late(wanted: Append) -> object:
        await asyncio.gather(*meddling)
        return await append(wanted)

    writer = Writer(_Log(late), api.parts.view)  # type: ignore[arg-type] # what a writer uses of it
    done = await writer.write(STREAM, decide, Meta())
    assert done.index == api.parts.view.index
    assert len(seen) == ATTEMPTS
    assert seen == sorted(set(seen)), "each decision saw the conflict before it"


async def test_what_a_fail_over_took_away_is_decided_on_by_nobody(api: Rig) -> None:
    """In the very moment, when no look at the log has told yet. Who asks again is judged by what there is."""
    await api.parts.writer.write(STREAM, change, Meta("me"))
    kept = api.parts.view.index
    await api.parts.writer.write(STREAM, change, Meta("me"))
    api.log.lose(kept)
    with pytest.raises(Unavailable) as refusal:
        await api.parts.writer.write(STREAM, change, Meta("me"))
    assert (refusal.value.code, refusal.value.retry_after) == ("behind", 1)
    assert api.parts.view.state.incarnation == api.log.incarnation != "incarnation"
    done = await api.parts.writer.write(STREAM, change, Meta("me"))
    assert done.index == kept + 2, "after the event that names the history"


async def test_five_conflicts_are_busy(api: Rig) -> None:
    async def always(_: Append) -> object:
        raise Conflicted(STREAM, 1)

    decided = 0

    def decide(state: State) -> Change:
        nonlocal decided
        decided += 1
        return change(state)

    with pytest.raises(Unavailable) as refusal:
        await Writer(_Log(always), api.parts.view).write(STREAM, decide, Meta())  # type: ignore[arg-type] # as above
    assert (refusal.value.code, refusal.value.retry_after, decided) == ("busy", 1, ATTEMPTS)


async def test_writers_of_one_stream_never_conflict_in_one_process(api: Rig) -> None:
    seen: list[int] = []

    def decide(state: State) -> Change:
        seen.append(state.index)
        return change(state)

    done = await asyncio.gather(*(api.parts.writer.write(STREAM, decide, Meta()) for _ in range(20)))
    assert len({each.index for each in done}) == len(seen) == 20


async def test_a_line_is_left_by_those_who_are_cancelled(api: Rig) -> None:
    lines = Lines()

    async def stand() -> None:
        async with lines.first("a"):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(stand()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert lines._locks == {}
    async with lines.first("a"):
        assert lines._locks.keys() == {"a"}


class _Log:
    def __init__(self, append: object) -> None:
        self.append = append
