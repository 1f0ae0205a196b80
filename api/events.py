"""What happened, as it happens: the log's events for those who may know of each, a page at a time or as a stream."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import msgspec

from api import sse
from api.access import Principal
from api.answer import Answer, answer
from api.call import Call
from api.contract import STREAM, tells
from api.feed import EventItem, Feed, Filter, Sieve
from api.instants import index_at, time_of
from api.paging import limit_of
from api.wait import Poll, poll_of
from eventstore.log import Compacted, LogUnavailable
from eventstore.waiters import Woken
from heroctl.domain.errors import Gone, Invalid, Problem

FILTERS: Final = ("topic", "type", "namespace", "request_id", "from")
MOST: Final = 1000
NOW: Final = "now"
_LOOK: Final = 0.5  # seconds that an answer may look for what a filter lets through
_AGAIN: Final = 1.0  # seconds after which a stream asks a log again that was away
_WORDS: Final = 20  # topics, or types, that one may ask for


@tells(list[EventItem], "invalid_index", "invalid_topic", "invalid_stream", "index_compacted", also=(STREAM,))
async def listing(call: Call) -> Answer:
    """Events after an index or from a time, oldest first; without either: from the oldest that is kept.

    `index=now` begins with the next. `X-HeroCtl-Index` says how far it was looked: go on from there. `stream=true`: as
    they happen, each with its index as its id.
    """
    call.allow_nothing()  # each event is judged by itself
    wanted, limit = _filter(call), limit_of(call.args, MOST) or MOST
    if _streams(call):
        return await _stream(call, wanted)
    with call.parts.feed.reading():
        index = await _begin(call, call.args.get("index", ""))
        poll = _poll(call)
        found, index = await _look(call, wanted, index, limit)
        while not found and poll is not None:
            left = await _wait(call, poll, index)
            found, index = await _look(call, wanted, index, limit)
            if left <= 0:
                break
            poll = Poll(index, left)
    return answer([msgspec.Raw(each) for each in found], index=max(index, 1))


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


def _filter(call: Call) -> Filter:
    args = call.args
    return Filter(
        _words(args.get("topic", ""), "topic"),
        _words(args.get("type", ""), "type"),
        args.get("namespace", ""),
        args.get("request_id", ""),
    )


def _words(text: str, name: str) -> tuple[str, ...]:
    words = tuple(sorted({word.strip() for word in text.split(",")} - {""}))
    if len(words) > _WORDS:
        problem = Problem(name, "invalid_topic", f"at most {_WORDS} at a time")
        raise Invalid("invalid_topic", f"{name}: {problem.message}", details=(problem,))
    return words


def _streams(call: Call) -> bool:
    stream = call.args.get("stream", "")
    if stream not in ("", "true", "false"):
        problem = Problem("stream", "invalid_stream", "expected true or false")
        raise Invalid("invalid_stream", f"stream: {problem.message}", details=(problem,))
    return sse.wanted(call)


def _poll(call: Call) -> Poll | None:
    """Read how long to wait for something; not at all for who begins with the oldest."""
    given = call.args.get("index", "0")
    args = {**call.args, "index": str(max(call.parts.view.index, 1)) if given == NOW else given}
    return poll_of(args)


async def _begin(call: Call, given: str) -> int:
    """Give the index to begin after. Raises `index_compacted` for one before what is kept."""
    view = call.parts.view
    if given == NOW:
        return view.index
    index = call.number("index") if given else 0
    floor = await call.parts.trail.acts.floor()
    if not index:
        since = time_of(call, "from")
        return floor if since is None else max(floor, await index_at(call, since - 1))
    if index < floor:
        raise compacted(floor)
    if index > view.index and index > (await view.head()).index:
        return view.index  # of another history: what it was told there may never have been
    return index


def compacted(floor: int) -> Gone:
    """Say that the log does not reach back so far."""
    message = f"events are kept after index {floor} only: read what there is now, then follow from {NOW}"
    return Gone("index_compacted", message)


# ── a page ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _look(call: Call, wanted: Filter, index: int, limit: int) -> tuple[list[bytes], int]:
    """Look for events after an index until there are enough, or no more, or for long enough; and say how far."""
    feed, loop = call.parts.feed, asyncio.get_running_loop()
    sieve = feed.sieve(call.principal.grants, wanted)
    ends = loop.time() + _LOOK
    found: list[bytes] = []
    while True:
        try:
            entries, reached = await feed.after(index, sieve, limit - len(found))
        except Compacted as gone:
            raise compacted(gone.floor) from None
        found += [entry.data for entry in entries]
        if reached == index or len(found) == limit or loop.time() >= ends:
            return found, reached
        index = reached


async def _wait(call: Call, poll: Poll, index: int) -> float:
    """Wait until something may have happened; say how many seconds are left."""
    parts, who, loop = call.parts, call.principal, asyncio.get_running_loop()
    began = loop.time()
    outcome = await parts.waiters.follow(
        parts.feed.wait, Poll(index, poll.seconds), who, call.receive, who.until - parts.clock()
    )
    call.principal = parts.heed(outcome, who, call.access)
    return 0.0 if outcome == "timeout" else poll.seconds - (loop.time() - began)


# ── a stream ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _stream(call: Call, wanted: Filter) -> Answer:
    seen = sse.last_id(call)
    pump = _Pump(call, wanted, 0)
    if seen.isdecimal() and len(seen) <= 18:
        await pump.resume(int(seen))
    else:
        pump.index = await _begin(call, call.args.get("index", "" if "from" in call.args else NOW))
    return sse.stream(call, pump, index=max(pump.index, 1))


class _Pump:
    """The messages of one reader."""

    def __init__(self, call: Call, wanted: Filter, index: int) -> None:
        self.index = index
        self._floor = call.parts.trail.acts.floor
        self._view = call.parts.view
        self._feed: Feed = call.parts.feed
        self._wanted = wanted
        self._sieve: Sieve = self._feed.sieve(call.principal.grants, wanted)
        self._history = self._feed.history
        self._gap = b""
        self._away = False

    async def resume(self, seen: int) -> None:
        """Go on after the id that the reader saw last, or tell it that what followed is gone."""
        floor = await self._floor()
        self.index = seen
        if seen > self._view.index and seen > (await self._view.head()).index:
            self._lose("other_history", self._view.index)
        elif seen < floor:
            self._lose("compacted", floor)

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """See Pump."""
        return self._feed.reading()

    def admit(self, who: Principal) -> None:
        """See Pump."""
        self._sieve = self._feed.sieve(who.grants, self._wanted)

    async def take(self) -> bytes:
        """See Pump."""
        if self._history != self._feed.history:
            self._history = self._feed.history
            self._lose("other_history", self._feed.index)
        gap, self._gap = self._gap, b""
        try:
            frames, self.index = await self._feed.frames(self.index, self._sieve)
            self._away = False
        except Compacted as gone:
            self._lose("compacted", gone.floor)
            frames = b""
        except LogUnavailable:
            self._away = True
            frames = b""
        return gap + frames

    async def wait(self, seconds: float, ended: asyncio.Future[Any]) -> Woken:
        """See Pump."""
        if self._away:
            await asyncio.wait((ended,), timeout=min(seconds, _AGAIN))
            return "timeout"
        return await self._feed.wait(self.index, seconds, ended)

    def _lose(self, reason: str, index: int) -> None:
        """Tell that events after the position are gone, and go on after `index`."""
        self._gap = sse.message({"reason": reason, "after": self.index, "index": index}, event="gap", id=str(index))
        self.index = index
