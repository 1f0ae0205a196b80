"""What every log promises; the memory and the Postgres log alike."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from eventstore import codec
from eventstore.log import Append, Appended, Conflicted, Displaced, Fenced, Key, Log, OtherHistory, Position
from heroctl.domain.events import ClusterCreated, Event, IncarnationDrawn, JobStopped, Meta
from tests.eventstore.conftest import Store
from tests.eventstore.samples import decision, everything, intent, key, other, stopped, verified


async def test_begins_with_the_creation_of_the_cluster(log: Log) -> None:
    """Index 1 names the cluster and the history; every topic starts there."""
    [first] = await everything(log)
    assert isinstance(first.event, ClusterCreated)
    head = await log.head()
    assert (first.index, first.last, head.index, head.epoch) == (1, 1, 1, 0)
    assert head.incarnation == first.event.incarnation != ""


async def test_places_are_consecutive(log: Log) -> None:
    """Indexes go up by one, over appends of any length."""
    one = await log.append(intent(1))
    two = await log.append(intent(2, 3, 4))
    three = await log.append(other(5))
    assert [(each.first, each.last) for each in (one, two, three)] == [(2, 2), (3, 5), (6, 7)]
    records = await everything(log, 2)
    assert [(record.index, record.last) for record in records] == [(3, 5), (4, 5), (5, 5), (6, 7), (7, 7)]
    times = [record.time for record in records]
    assert times == sorted(times)
    assert times[-1] == (await log.head()).time


async def test_reads_what_was_appended(log: Log) -> None:
    """Events, who and when come back as they were."""
    await log.append(intent(1, 2))
    records = await everything(log, 1)
    assert [record.event for record in records] == [stopped(1), stopped(2)]
    assert {record.meta for record in records} == {Meta("tester", "req_1")}
    assert {record.time for record in records} == {(await log.head()).time}


async def test_payload_may_hold_any_text(log: Log) -> None:
    """A NUL and what lies beyond the first plane are text like any other."""
    event = JobStopped(1, "default", 'a\0b\u2028\U0001f980"')
    await log.append(Append((event,)))
    assert [record.event for record in await everything(log, 1)] == [event]


async def test_expectation_holds(log: Log) -> None:
    """Who has seen the stream's last event, or anything later, may append."""
    first = await log.append(intent(1, stream="job:default/web", seen=0))
    await log.append(other(2))
    await log.append(intent(3, stream="job:default/web", seen=first.last))
    last = await log.append(intent(4, stream="job:default/web", seen=(await log.head()).index))
    assert last.last == 6


async def test_conflict_says_where_the_stream_is(log: Log) -> None:
    """Who has not seen the stream's last event decides again; nothing of its append happened."""
    await log.append(intent(1, stream="job:default/web"))
    moved = await log.append(intent(2, 3, stream="job:default/web"))
    with pytest.raises(Conflicted) as conflict:
        await log.append(intent(4, stream="job:default/web", seen=moved.first))
    assert (conflict.value.stream, conflict.value.index) == ("job:default/web", moved.last)
    assert (await log.head()).index == moved.last


async def test_expectation_on_a_stream_that_is_only_read(log: Log) -> None:
    """What a decision read must stand still, too."""
    moved = await log.append(intent(1, stream="node:a"))
    append = Append((stopped(2),), ("job:default/web",), (("job:default/web", 0), ("node:a", 0), ("node:b", 0)))
    with pytest.raises(Conflicted) as conflict:
        await log.append(append)
    assert (conflict.value.stream, conflict.value.index) == ("node:a", moved.last)
    await log.append(intent(3, stream="job:default/web", seen=0))


async def test_append_on_several_streams_moves_them_all(log: Log) -> None:
    """A stream's version is the index of the append's last event."""
    moved = await log.append(Append((stopped(1), stopped(2)), ("a:1", "a:2")))
    for stream in ("a:1", "a:2"):
        with pytest.raises(Conflicted) as conflict:
            await log.append(intent(3, stream=stream, seen=moved.first))
        assert conflict.value.index == moved.last


async def test_decision_needs_an_epoch(log: Log) -> None:
    """A decision that names no coordinator is a bug."""
    with pytest.raises(ValueError, match="epoch"):
        await log.append(decision(None))
    assert (await log.head()).index == 1


async def test_decision_of_the_elected_coordinator_is_taken(store: Store) -> None:
    """The present epoch may write."""
    epoch = await store.elect()
    elected = (await store.log.head()).index
    assert (await store.log.append(decision(epoch))).first == elected + 1


@pytest.mark.parametrize("difference", [-1, 1])
async def test_decision_of_another_epoch_is_fenced(store: Store, difference: int) -> None:
    """A deposed coordinator, or one that nobody elected, may not."""
    epoch = await store.elect()
    head = await store.log.head()
    with pytest.raises(Fenced) as fenced:
        await store.log.append(decision(epoch + difference))
    assert fenced.value.epoch == epoch
    assert await store.log.head() == head


async def test_fence_comes_before_expectations(store: Store) -> None:
    """A deposed coordinator learns that it is deposed, not that it should decide again."""
    await store.log.append(intent(1, stream="job:default/web"))
    epoch = await store.elect()
    append = Append((stopped(2),), expects=(("job:default/web", 0),), epoch=epoch - 1)
    with pytest.raises(Fenced):
        await store.log.append(append)


async def test_append_decided_on_any_place_of_the_log_is_taken(log: Log) -> None:
    """At its end, before it, at its start, or on no view at all."""
    first = await verified(log)
    places = [Position(), first, await grown(log), await grown(log)]
    for number, place in enumerate(reversed([*places, None])):
        assert (await log.append(replace(intent(number), view=place))).last == 6 + number


async def test_append_decided_on_what_the_log_never_was_is_displaced(log: Log) -> None:
    """Beyond its end, in the midst of an append, or with another past: nothing of it happens. Others go on."""
    here, end = await grown(log), await grown(log)
    elsewhere = [
        Position(end.index, here.chain),
        Position(end.index + 1, end.chain),
        Position(here.index, end.chain),
        Position(here.index - 1, here.chain),
        Position(here.index - 1, b""),
        Position(end.index + 1_000, bytes(32)),
    ]
    head = await log.head()
    good = [asyncio.ensure_future(log.append(replace(intent(n), view=end if n else here))) for n in range(2)]
    for place in elsewhere:
        with pytest.raises(Displaced):
            await log.append(replace(intent(9, stream="a:1", seen=0, under=key("k")), view=place))
    await asyncio.gather(*good)
    assert (await log.head()).index == head.index + 2
    assert not (await log.append(intent(9, stream="a:1", seen=0, under=key("k")))).replayed


async def test_displaced_comes_after_keys_and_before_expectations(store: Store) -> None:
    """What was done is told wherever its caller stands; a stream of another history says nothing."""
    strange = Position(1, bytes(32))
    moved = await store.log.append(intent(1, stream="a:1", under=key("k")))
    again = await store.log.append(replace(intent(1, under=key("k")), view=strange))
    assert (again.last, again.replayed) == (moved.last, True)
    with pytest.raises(Displaced):
        await store.log.append(replace(intent(2, stream="a:1", seen=0), view=strange))
    epoch = await store.elect()
    with pytest.raises(Fenced):
        await store.log.append(replace(decision(epoch + 1), view=strange))


async def test_place_before_the_kept_log_cannot_be_compared(store: Store) -> None:
    places = [await grown(store.log) for _ in range(3)]
    await store.keep_after(places[1])
    for place in (Position(places[0].index, bytes(32)), places[1], places[2]):
        await store.log.append(replace(intent(1), view=place))
    with pytest.raises(Displaced):
        await store.log.append(replace(intent(1), view=Position(places[2].index, bytes(32))))


async def grown(log: Log) -> Position:
    """Append two events; give the end."""
    await log.append(intent(1, 2))
    head = await log.head()
    return Position(head.index, head.chain)


async def test_intents_go_on_whoever_coordinates(store: Store) -> None:
    """An election does not stop users."""
    await store.elect()
    await store.log.append(intent(1))
    await store.elect()
    await store.log.append(intent(2))


@pytest.mark.parametrize(
    "append",
    [
        Append(()),
        Append((stopped(),) * 5_001),
        intent(1, stream="job:\0"),
        intent(1, stream="job:\ud800"),
        Append((stopped(),), moves=("",)),
        Append((stopped(),), expects=(("a:1", -1),)),
        Append((stopped(),), expects=(("a:1", 2**63),)),
        Append((stopped(),), expects=(("a\0", 0),)),
        Append((stopped(),), epoch=-1),
        Append((stopped(),), view=Position(-1)),
        Append((stopped(),), view=Position(2**63)),
        Append((), ("a:1",), key=key("k")),
        Append((stopped(),), key=Key(b"", b"body")),
        Append((stopped(),), key=Key(b"name", b"")),
    ],
)
async def test_nonsense_is_refused_before_it_is_sent(log: Log, append: Append) -> None:
    """What no log could take is the writer's bug, and nobody else's trouble."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        await log.append(append)
    assert (await log.head()).index == 1


async def test_pages_are_whole_appends(log: Log) -> None:
    """A page never ends inside an append."""
    for _ in range(4):
        await log.append(Append((stopped(1),) * 3_000))
    after, pages = 1, 0
    while rows := await log.page(after):
        assert rows[0][0] == after + 1
        assert rows[-1][0] == rows[-1][1]
        after, pages = rows[-1][0], pages + 1
    assert after == 12_001
    assert pages > 1
    assert await log.page(after) == await log.page(after + 7) == []


async def test_chain_proves_the_history(log: Log) -> None:
    """Number and chain are right from the start to the head, and from any append in between."""
    for n in range(5):
        await log.append(intent(*range(n + 1)))
        await log.append(other(n))
    head = await log.head()
    assert await verified(log) == Position(head.index, head.chain)
    middle = await verified(log, Position())
    await log.append(other(9))
    assert (await verified(log, middle)).index == head.index + 2


async def test_another_chain_or_number_is_another_history(log: Log) -> None:
    """Who stands elsewhere notices at the next append it reads."""
    await log.append(intent(1))
    with pytest.raises(OtherHistory):
        await verified(log, Position(1, bytes(32)))
    rows = await log.page(0)
    with pytest.raises(OtherHistory):
        codec.verify(rows[1:], Position())
    with pytest.raises(OtherHistory):
        codec.verify([(*rows[0][:6], rows[0][6] + b" ", rows[0][7])], Position())


async def test_callers_side_by_side(log: Log) -> None:
    """Many callers at once: each gets its own places, and together they leave no hole."""

    async def caller(number: int) -> list[Appended]:
        return [await log.append(intent(*range(number, number + 1 + round_ % 3))) for round_ in range(5)]

    answers = await asyncio.gather(*(caller(number) for number in range(64)))
    places = sorted(index for each in answers for place in each for index in range(place.first, place.last + 1))
    assert places == list(range(2, (await log.head()).index + 1))
    for each in answers:
        assert [place.first for place in each] == sorted(place.first for place in each)
    await verified(log)


async def test_one_of_many_wins_a_race(log: Log) -> None:
    """Of all who expect a stream to be where it was, exactly one moves it."""

    async def racer(number: int) -> bool:
        try:
            await log.append(intent(number, stream="claim:host:a.example", seen=0))
        except Conflicted:
            return False
        return True

    assert sum(await asyncio.gather(*(racer(number) for number in range(20)))) == 1
    assert (await log.head()).index == 2


async def test_cancelled_callers_break_nobody(log: Log) -> None:
    """Who goes away takes its own append back, or lets it happen; the others get their answers."""
    callers = [asyncio.ensure_future(log.append(intent(number))) for number in range(40)]
    for caller in callers[::2]:
        asyncio.get_running_loop().call_soon(caller.cancel)
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(answer, Appended) for answer in answers[1::2])
    happened = {
        event.uid for event in [record.event for record in await everything(log, 1)] if isinstance(event, JobStopped)
    }
    assert happened.issuperset(range(1, 40, 2))
    await verified(log)


async def test_wakes_tell_of_appends(log: Log) -> None:
    """The first wake comes at once; an append's names an index it has reached, or asks to look."""
    wakes = log.wakes()
    assert await anext(wakes) == 0
    place = await log.append(intent(1))
    assert await anext(wakes) in {0, place.last}
    await wakes.aclose()  # type: ignore[attr-defined] # it is a generator


async def test_new_incarnation_is_drawn_once(log: Log) -> None:
    """Of all who find that they read another history, one names the new one; its event tells everybody else."""
    held = (await log.head()).incarnation
    await asyncio.gather(*(log.redraw(held, "restored") for _ in range(5)))
    head = await log.head()
    assert head.incarnation != held
    events: list[Event] = [record.event for record in await everything(log, 1)]
    assert events == [IncarnationDrawn(head.incarnation, "restored")]
    await verified(log)
