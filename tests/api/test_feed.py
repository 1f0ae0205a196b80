"""The feed: whatever readers, pages, ring and rights there are, each is told all that it may know, once, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import feed as feeds
from api.feed import Feed, Filter, Sieve
from eventstore.log import Append, Compacted
from eventstore.memory import MemoryLog
from eventstore.view import View
from heroctl.domain.events import NamespaceCreated, RoleDeleted, SecretDeleted
from heroctl.domain.policy import BUILT_IN, grants
from tests.waiting import eventually

ADMIN = (grants(frozenset(BUILT_IN["admin"])),)
VIEWER = (grants(frozenset(BUILT_IN["viewer"])),)
FIRST = 3  # stands for the event that every log begins with
EVENTS = (NamespaceCreated("lab"), RoleDeleted("old"), SecretDeleted("default", "db"))


@contextlib.asynccontextmanager
async def feeding(*, ring: int = 1 << 20) -> AsyncIterator[tuple[Feed, MemoryLog, View]]:
    log = MemoryLog()
    view = View(log)
    following = asyncio.get_running_loop().create_task(view.run())
    await eventually(lambda: view.started)
    feed = Feed(view, log, ring=ring)
    end = view.subscribe(feed.follow)
    try:
        yield feed, log, view
    finally:
        end()
        following.cancel()
        await asyncio.wait({following})


@dataclass
class Reader:
    """What one reader has been told."""

    feed: Feed
    sieve: Sieve
    index: int
    told: list[int] = field(default_factory=list)

    async def read(self) -> None:
        """Read one chunk, as a stream does."""
        frames, self.index = await self.feed.frames(self.index, self.sieve)
        self.told += [int(line[4:]) for line in frames.split(b"\n") if line.startswith(b"id: ")]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.integers(0, 2), min_size=1, max_size=9)),
        st.tuples(st.just("join"), st.tuples(st.integers(0, 40), st.sampled_from(["admin", "viewer", "roles"]))),
        st.tuples(st.just("read"), st.integers(0, 5)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=40)
@given(STEPS, st.integers(1, 6))
async def test_whoever_reads_is_told_everything_once_and_in_order(steps: list[tuple[str, object]], kept: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feeds, "PAGE", 4)
        await _tell(steps, kept * (feeds._OVERHEAD + 200))


async def _tell(steps: list[tuple[str, object]], ring: int) -> None:
    async with feeding(ring=ring) as (feed, log, view), contextlib.AsyncExitStack() as stack:
        sieves = {
            "admin": feed.sieve(ADMIN, Filter()),
            "viewer": feed.sieve(VIEWER, Filter()),
            "roles": feed.sieve(ADMIN, Filter(types=("role.*",))),
        }
        tags = [FIRST]
        readers: list[tuple[Reader, str, int]] = []
        open_ = 0
        for step, what in steps:
            match step, what:
                case "append", list(kinds):
                    await log.append(Append(tuple(EVENTS[each] for each in kinds)))
                    tags += kinds
                    assert await view.reached(len(tags), 10)
                case "join", (int(index), str(who)):
                    begin = min(index, len(tags))
                    stack.enter_context(feed.reading())
                    open_ += 1
                    readers.append((Reader(feed, sieves[who], begin), who, begin))
                case "read", int(which) if readers:
                    await readers[which % len(readers)][0].read()
                case "leave", int(which) if readers:
                    reader, who, begin = readers.pop(which % len(readers))
                    await _finish(reader, who, begin, tags)
        for reader, who, begin in readers:
            await _finish(reader, who, begin, tags)


async def _finish(reader: Reader, who: str, begin: int, tags: list[int]) -> None:
    """Read to the end, and compare."""
    while reader.index < len(tags):
        assert await reader.feed.wait(reader.index, 10) == "moved"
        await reader.read()
    shown = {"admin": {0, 1, 2, FIRST}, "viewer": {0, FIRST}, "roles": {1}}[who]
    assert reader.told == [at for at, kind in enumerate(tags, 1) if at > begin and kind in shown]


async def test_frames_are_made_once_for_all_who_stand_at_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    after = Feed.after

    async def counted(self: Feed, index: int, sieve: Sieve, most: int = feeds.PAGE) -> feeds.Chunk:
        nonlocal made
        made += 1
        return await after(self, index, sieve, most)

    monkeypatch.setattr(Feed, "after", counted)
    async with feeding() as (feed, log, view):
        with feed.reading():
            readers = [Reader(feed, feed.sieve(ADMIN, Filter()), 1) for _ in range(100)]
            await log.append(Append(EVENTS))
            assert await view.reached(4, 10)
            await eventually(lambda: feed.index == 4, what="news")
            for reader in readers:
                await reader.read()
            assert {tuple(reader.told) for reader in readers} == {(2, 3, 4)}
            assert made == 1


async def test_old_pages_are_read_once_for_all_who_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "PAGE", 4)
    async with feeding() as (feed, log, view):
        for _ in range(5):
            await log.append(Append(EVENTS))
        assert await view.reached(16, 10)
        pages = 0
        page = log.page

        async def counted(after: int, events: int = 4) -> object:
            nonlocal pages
            pages += 1
            await asyncio.sleep(0)
            return await page(after, events)

        monkeypatch.setattr(log, "page", counted)
        with feed.reading():
            readers = [Reader(feed, feed.sieve(ADMIN, Filter()), 0) for _ in range(50)]
            for _ in range(3):
                await asyncio.gather(*(reader.read() for reader in readers))
        assert {tuple(reader.told) for reader in readers} == {tuple(range(1, 13))}
        assert pages == 3


async def test_a_reader_who_leaves_while_a_page_is_read_leaves_no_half_of_it_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with feeding() as (feed, log, view):
        let, page = asyncio.Event(), log.page

        async def held(after: int, events: int = feeds.PAGE) -> object:
            await let.wait()
            return await page(after, events)

        sieve = feed.sieve(ADMIN, Filter())
        with monkeypatch.context() as patched:
            patched.setattr(log, "page", held)
            leaving = asyncio.ensure_future(feed.after(0, sieve))
            await eventually(lambda: feed._pages, what="a page that is read")
            leaving.cancel()
            let.set()
            await eventually(lambda: not feed._pages, what="its end")
        await log.append(Append(EVENTS))
        assert await view.reached(4, 10)
        assert [entry.index for entry in (await feed.after(0, sieve)).entries] == [1, 2, 3, 4]


async def test_nothing_is_kept_while_nobody_reads() -> None:
    async with feeding() as (feed, log, view):
        await log.append(Append(EVENTS))
        assert await view.reached(4, 10)
        assert (feed._ring, feed._bytes) == ({}, 0)
        with feed.reading():
            await log.append(Append(EVENTS))
            assert await view.reached(7, 10)
            assert list(feed._ring) == [5, 6, 7]
        assert (feed._ring, feed._bytes) == ({}, 0)


async def test_the_ring_is_bounded_by_its_bytes() -> None:
    async with feeding(ring=5_000) as (feed, log, view):
        with feed.reading():
            for _ in range(50):
                await log.append(Append(EVENTS))
            assert await view.reached(151, 10)
            assert feed._bytes <= 5_000
            assert list(feed._ring)[-1] == 151


async def test_what_is_kept_no_more_is_refused_and_what_is_can_be_read() -> None:
    async with feeding() as (feed, log, view):
        for _ in range(4):
            await log.append(Append(EVENTS))
        assert await view.reached(13, 10)
        log.compact(6)
        sieve = feed.sieve(ADMIN, Filter())
        with feed.reading():
            with pytest.raises(Compacted) as gone:
                await feed.after(5, sieve)
            assert gone.value.floor == 7
            assert [entry.index for entry in (await feed.after(7, sieve)).entries] == list(range(8, 14))


async def test_readers_rest_longer_the_more_of_them_there_are() -> None:
    now = [100.0]
    log = MemoryLog()
    view = View(log)
    feed = Feed(view, log, clock=lambda: now[0])
    with contextlib.ExitStack() as stack:
        for _ in range(1_000):
            stack.enter_context(feed.reading())
        told: list[float] = []
        feed._tell = lambda: told.append(now[0])  # type: ignore[method-assign] # to see when
        feed._told_at = now[0]
        feed._publish()
        assert told == []
        assert feed._timer is not None
        feed._timer.cancel()
        feed._timer = None
        now[0] += feeds._SLOWEST
        feed._publish()
        assert told == [now[0]]
