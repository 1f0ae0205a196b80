"""Keys of clients: what is asked for again is not made again, in both stores alike, and as a plain model says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.database import Database
from eventstore.log import KEY_LIFE, Append, Appended, Conflicted, Fenced, Key, KeyReused, Log
from tests.eventstore.conftest import Store, memory, of, opened
from tests.eventstore.samples import everything, intent, key, numbers, stopped, unchanged, verified


async def test_same_key_and_body_gets_the_first_place(log: Log) -> None:
    first = await log.append(intent(1, 2, under=key("k")))
    await log.append(intent(3))
    again = await log.append(intent(1, 2, under=key("k")))
    assert (first.replayed, again) == (False, Appended(first.first, first.last, replayed=True))
    assert await log.recall(key("k")) == again
    assert await numbers(log) == [1, 2, 3]
    assert [record.event for record in await everything(log, again.first - 1)][:2] == [stopped(1), stopped(2)]
    await verified(log)


async def test_what_it_would_append_now_is_no_matter(log: Log) -> None:
    """The second time the writer may decide otherwise: by then its own first append is part of the state."""
    first = await log.append(intent(1, stream="a:1", seen=0, under=key("k")))
    for append in (unchanged(key("k"), "a:1", 0), intent(7, 8, stream="a:1", seen=0, under=key("k"))):
        assert await log.append(append) == Appended(first.first, first.last, replayed=True)
    assert await numbers(log) == [1]


async def test_same_key_and_another_body_is_refused(log: Log) -> None:
    await log.append(intent(1, under=key("k")))
    with pytest.raises(KeyReused):
        await log.append(intent(1, under=key("k", "other")))
    with pytest.raises(KeyReused):
        await log.recall(key("k", "other"))
    assert (await log.append(intent(1, under=key("k")))).replayed, "the first body still counts"
    assert await numbers(log) == [1]


async def test_call_that_changes_nothing_has_a_place_too(log: Log) -> None:
    """It is where the log ended; no event stands there, and nobody is woken."""
    await log.append(intent(1, stream="a:1"))
    head = await log.head()
    nothing = await log.append(unchanged(key("k"), "a:1", 2))
    assert nothing == Appended(head.index + 1, head.index)
    assert await log.head() == head
    await log.append(intent(2, stream="a:1"))
    assert await log.append(intent(3, under=key("k"))) == Appended(head.index + 1, head.index, replayed=True)
    assert await numbers(log) == [1, 2]
    await verified(log)


async def test_nothing_to_change_is_true_only_while_the_stream_stands(log: Log) -> None:
    moved = await log.append(intent(1, stream="a:1"))
    with pytest.raises(Conflicted):
        await log.append(unchanged(key("k"), "a:1", moved.last - 1))
    assert await log.recall(key("k")) is None


async def test_refused_append_leaves_its_key_free(store: Store) -> None:
    log = store.log
    await log.append(intent(1, stream="a:1"))
    with pytest.raises(Conflicted):
        await log.append(intent(2, stream="a:1", seen=0, under=key("k")))
    with pytest.raises(Fenced):
        await log.append(Append((stopped(3),), epoch=9, key=key("l")))
    assert await log.recall(key("k")) is await log.recall(key("l")) is None
    assert not (await log.append(intent(4, stream="a:1", seen=2, under=key("k", "another")))).replayed


async def test_fence_comes_before_keys_and_keys_before_expectations(store: Store) -> None:
    epoch = await store.elect()
    first = await store.log.append(Append((stopped(1),), ("a:1",), (("a:1", 0),), epoch=epoch, key=key("k")))
    again = Append((stopped(1),), ("a:1",), (("a:1", 0),), epoch=epoch, key=key("k"))
    assert (await store.log.append(again)).first == first.first
    await store.elect()
    with pytest.raises(Fenced):
        await store.log.append(again)


async def test_key_counts_for_a_day(store: Store) -> None:
    log = store.log
    first = await log.append(intent(1, under=key("k")))
    await store.age(KEY_LIFE - 10_000)
    assert (await log.append(intent(1, under=key("k")))).replayed
    await store.age(10_000)
    assert await log.recall(key("k")) is None
    second = await log.append(intent(1, under=key("k", "another")))
    assert (second.first > first.last, second.replayed) == (True, False)
    assert await log.recall(key("k", "another")) == Appended(second.first, second.last, replayed=True)


async def test_many_with_one_key_at_once_are_one(log: Log) -> None:
    """As one after the other, in whichever batches they go."""
    answers = await asyncio.gather(*(log.append(intent(n, under=key(f"k{n % 3}"))) for n in range(30)))
    assert sum(not answer.replayed for answer in answers) == 3
    assert len({answer.first for answer in answers}) == 3
    assert sorted(await numbers(log)) == [0, 1, 2]


async def test_callers_without_a_key_are_strangers_to_all(log: Log) -> None:
    answers = await asyncio.gather(*(log.append(intent(1, under=None if n % 2 else key("k"))) for n in range(20)))
    assert sum(answer.replayed for answer in answers) == 9
    assert len(await numbers(log)) == 11


# ── as the model says ────────────────────────────────────────────────────────────────────────────────────────────────

Said = tuple[object, ...]


@dataclass
class Model:
    """What a log should answer, in a few plain words."""

    head: int = 1
    epoch: int = 0
    streams: dict[str, int] = field(default_factory=dict)
    keys: dict[bytes, tuple[bytes, int, int]] = field(default_factory=dict)

    def append(self, append: Append) -> Said:
        """Answer one append."""
        if append.epoch not in (None, self.epoch):
            return ("fenced", self.epoch)
        if append.key is not None and append.key.name in self.keys:
            body, first, last = self.keys[append.key.name]
            return ("replayed", first, last) if body == append.key.body else ("reused",)
        for stream, seen in append.expects:
            if self.streams.get(stream, 0) > seen:
                return ("conflict", stream, self.streams[stream])
        first, self.head = self.head + 1, self.head + len(append.events)
        self.streams.update(dict.fromkeys(append.moves, self.head))
        if append.key is not None:
            self.keys[append.key.name] = (append.key.body, first, self.head)
        return ("appended", first, self.head)


@st.composite
def appends(draw: st.DrawFn) -> tuple[Append, int | None, tuple[int, ...]]:
    """An append, and what it rests on in relation to what will be there: epochs and indexes behind the present ones."""
    name = draw(st.sampled_from(["", "k1", "k2", "k3"]))
    under = key(name, draw(st.sampled_from(["one", "other"]))) if name else None
    events = draw(st.integers(min_value=0 if under else 1, max_value=3))
    streams = st.lists(st.sampled_from(["a:1", "a:2"]), unique=True)
    moves, expects = draw(streams) if events else [], draw(streams)
    late = tuple(draw(st.integers(0, 4)) for _ in expects)
    epoch = draw(st.sampled_from([None, None, None, 0, 1]))
    append = Append(tuple(map(stopped, range(events))), tuple(moves), tuple((each, 0) for each in expects), key=under)
    return append, epoch, late


Step = str | list[tuple[Append, int | None, tuple[int, ...]]]
STEPS = st.lists(st.one_of(st.lists(appends(), min_size=1, max_size=6), st.sampled_from(["elect", "day"])), max_size=8)


def _made(append: Append, epoch: int | None, late: tuple[int, ...], model: Model) -> Append:
    expects = tuple((stream, max(model.head - n, 0)) for (stream, _), n in zip(append.expects, late, strict=True))
    return Append(
        append.events,
        append.moves,
        expects,
        epoch=None if epoch is None else max(model.epoch - epoch, 0),
        meta=append.meta,
        key=append.key,
    )


async def _said(log: Log, append: Append) -> Said:
    try:
        place = await log.append(append)
    except Fenced as fenced:
        return ("fenced", fenced.epoch)
    except KeyReused:
        return ("reused",)
    except Conflicted as conflict:
        return ("conflict", conflict.stream, conflict.index)
    return ("replayed" if place.replayed else "appended", place.first, place.last)


async def _follows(store: Store, steps: list[Step]) -> list[Said]:
    """Take the steps; all appends of one step are under way at once. Every answer must be the model's."""
    model = Model(epoch=(await store.log.head()).epoch)
    heard: list[Said] = []
    for step in steps:
        if step == "elect":
            model.epoch, model.head = await store.elect(), model.head + 1
        elif step == "day":
            await store.age(KEY_LIFE)
            model.keys.clear()
        else:
            assert not isinstance(step, str)
            made = [_made(*each, model) for each in step]
            answers = await asyncio.gather(*(_said(store.log, append) for append in made))
            assert answers == [model.append(append) for append in made]
            heard += answers
    head = await store.log.head()
    assert (head.index, head.epoch) == (model.head, model.epoch)
    for name, (body, first, last) in model.keys.items():
        assert await store.log.recall(Key(name, body)) == Appended(first, last, replayed=True)
    await verified(store.log)
    return heard


@given(STEPS)
def test_memory_answers_as_the_model_says(steps: list[Step]) -> None:
    asyncio.run(_follows(memory(), steps))


_EMPTY = """
    TRUNCATE heroctl.keys, heroctl.streams, heroctl.batches; DELETE FROM heroctl.events WHERE index > 1;
    UPDATE heroctl.head SET index = 1, epoch = 0, chain = (SELECT chain FROM heroctl.events WHERE index = 1)"""


@given(STEPS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgres_answers_as_the_model_and_the_memory_do(dsn: str, steps: list[Step]) -> None:
    async def main() -> None:
        async with _emptied(dsn) as store:
            assert await _follows(store, steps) == await _follows(memory(), steps)

    asyncio.run(main())


@contextlib.asynccontextmanager
async def _emptied(dsn: str) -> AsyncIterator[Store]:
    async with Database(dsn) as database:
        for statement in _EMPTY.split(";"):
            await database.fetch(statement)
    async with opened(dsn) as log:
        yield of(log)
