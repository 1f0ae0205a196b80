"""What workloads write: the last lines of an allocation or of many, or as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Final

from api import allocations, log_past, sse
from api.access import Principal
from api.answer import Answer, answer
from api.call import Call
from api.contract import STREAM, tells
from api.log_feed import CHUNK, LogFeed, Sieve, Wish, framed
from api.log_past import Mark, Span
from api.logs import AWAY, LogLine, Told, unavailable
from eventstore.waiters import Woken
from heroctl.domain import moment
from heroctl.domain.errors import Conflict, Invalid, Problem, not_found
from heroctl.domain.logs import MOST_LINES, alloc_of
from heroctl.domain.moment import Ago, At

LINES: Final = ("tail", "since", "grep", "output", "task", "stream")
FILTERS: Final = ("namespace", "job", "node", *LINES)
USUAL: Final = 100
_AGAIN: Final = 1.0  # seconds after which Redis is asked again that was away
_LONGEST_GREP: Final = 200
_CODES: Final = (
    "invalid_tail",
    "invalid_since",
    "invalid_output",
    "invalid_grep",
    "invalid_stream",
    "logs_unavailable",
)


@tells(list[LogLine], *_CODES, also=(STREAM,))
async def listing(call: Call) -> Answer:
    """The last `tail` lines of all allocations that are asked for, by time; `job`, `task`, `node`, `namespace`.

    `stream=true`: those first, then every line as it comes, each with an id to go on after; allocations that are begun
    meanwhile join. Without `job` all that the token may read.
    """
    call.allow_nothing()  # each line is judged by its job
    state, args = call.parts.view.state, call.args
    node = args.get("node", "")
    wish = Wish(
        namespace=args.get("namespace", ""),
        job=args.get("job", ""),
        node=state.node_names.get(node, node),
        **_lines(call),
    )
    return await _answer(call, wish)


@tells(list[LogLine], "allocation_not_found", "ambiguous_id", *_CODES, also=(STREAM,))
async def of_alloc(call: Call) -> Answer:
    """The last `tail` lines of one allocation, also for a day after its end; `stream=true`: then what it writes."""
    wanted = call.path["id"]
    found = allocations.find(call.parts.view.state, wanted, call.sees)
    if found is not None:
        call.allow(found.namespace, found.job, absent=not_found("allocation", wanted))
        return await _answer(call, Wish(alloc=found.id, **_lines(call)))
    key = await _forgotten(call, wanted)
    return await _answer(call, Wish(alloc=alloc_of(key), key=key, **_lines(call)))


async def _forgotten(call: Call, wanted: str) -> str:
    """Find the stream of an allocation that is not known any more: it says itself whose it is."""
    absent = not_found("allocation", wanted)
    feed = call.parts.logs
    if feed is None or len(wanted) < allocations.SHORTEST_PREFIX or wanted in call.parts.view.state.allocs:
        raise absent
    try:
        last = {key: await feed.store.last(key) for key in await feed.store.find(wanted)}
    except AWAY as error:
        raise unavailable(str(error)) from None
    seen = {key: entry for key, entry in last.items() if entry and call.sees(entry.batch.namespace, entry.batch.job)}
    if len(seen) > 1:
        raise Conflict("ambiguous_id", f"'{wanted}' begins {len(seen)} ids: give more of it")
    for key, entry in seen.items():
        call.allow(entry.batch.namespace, entry.batch.job, absent=absent)
        return key
    raise absent


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(call: Call) -> dict[str, str]:
    args = call.args
    output, grep = args.get("output", ""), args.get("grep", "")
    if output not in ("", "stdout", "stderr"):
        said = "expected stdout or stderr"
        raise Invalid("invalid_output", f"output: {said}", details=_about("output", said))
    if len(grep) > _LONGEST_GREP:
        said = f"at most {_LONGEST_GREP} characters"
        raise Invalid("invalid_grep", f"grep: {said}", details=_about("grep", said))
    if args.get("stream", "") not in ("", "true", "false"):
        said = "expected true or false; one of the outputs is asked for by output=stdout"
        raise Invalid("invalid_stream", f"stream: {said}", details=_about("stream", said))
    return {"output": output, "grep": grep, "task": args.get("task", "")}


def _about(name: str, message: str) -> tuple[Problem, ...]:
    return (Problem(name, f"invalid_{name}", message),)


def _span(call: Call) -> Span:
    tail = call.number("tail")
    if tail is not None and tail > MOST_LINES:
        said = f"0 to {MOST_LINES}"
        raise Invalid("invalid_tail", f"tail: {said}", details=_about("tail", said))
    return Span(tail if tail is not None else MOST_LINES if "since" in call.args else USUAL, _since(call))


def _since(call: Call) -> int:
    text = call.args.get("since")
    if text is None:
        return 0
    try:
        found = moment.parse(text if not text[:1].isdigit() or "-" in text else f"-{text}")
    except ValueError:
        said = "expected a time such as 2026-03-01T12:00:00Z, or so long ago: 10m"
        raise Invalid("invalid_since", f"since: {said}", details=_about("since", said)) from None
    if isinstance(found, At):
        said = "expected a time such as 2026-03-01T12:00:00Z, or so long ago: 10m"
        raise Invalid("invalid_since", f"since: {said}", details=_about("since", said))
    return found.instant(int(call.parts.clock() * 1000)).ms if isinstance(found, Ago) else found.ms


async def _answer(call: Call, wish: Wish) -> Answer:
    feed, span = call.parts.logs, _span(call)
    if feed is None:
        raise unavailable("this cluster has no Redis")
    sieve = feed.sieve(call.principal.grants, wish)
    sieve.look(call.parts.view.state, 0.0)
    index = max(call.parts.view.index, 1)
    if sse.wanted(call):
        mark = Mark.parse(sse.last_id(call))
        return sse.stream(call, _Pump(call, feed, wish, span._replace(mark=mark)), index=index)
    try:
        found = await log_past.lines(feed.store, sieve, span) if span.tail else []
    except AWAY as error:
        raise unavailable(str(error) or type(error).__name__) from None
    return answer([told.shown for told in _by_time(found)], index=index)


def _by_time(lines: list[Told]) -> list[Told]:
    """Put lines in the order of their times, and those of one allocation never in another than they were written in."""
    reached: dict[str, int] = {}
    times = []
    for told in lines:
        reached[told.entry.alloc] = max(reached.get(told.entry.alloc, 0), told.line.time)
        times.append(reached[told.entry.alloc])
    order = sorted(range(len(lines)), key=lambda at: (times[at], at))
    return [lines[at] for at in order]


# ── a stream ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Pump:
    """The messages of one reader: what was, and then what comes."""

    def __init__(self, call: Call, feed: LogFeed, wish: Wish, span: Span) -> None:
        self._call = call
        self._feed = feed
        self._wish = wish
        self._span = span
        self._sieve: Sieve = feed.sieve(call.principal.grants, wish)
        self._number = -1  # of the next line; -1: not begun
        self._before: deque[bytes] = deque()
        self._away = False

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """See Pump."""
        return self._feed.reading()

    def admit(self, who: Principal) -> None:
        """See Pump."""
        self._sieve = self._feed.sieve(who.grants, self._wish)
        self._feed.welcome(self._sieve)

    async def take(self) -> bytes:
        """See Pump."""
        if self._feed.away or self._number < 0:
            try:
                said = await self._begun()
            except AWAY:
                said = self._told_away()
            if said:
                return said
        if self._before:
            return self._past()
        if self._number < 0:
            return b""
        if self._number < self._feed.begin:
            return self._overtaken()
        self._away = self._away and self._feed.away
        frames, self._number = self._feed.frames(self._number, self._sieve)
        return frames

    async def _begun(self) -> bytes:
        """Join the others, and read what was before; a gap where the place to go on from is not there any more."""
        if self._number >= 0:
            return self._told_away() if self._feed.away else b""
        sieve, span = self._sieve, self._span
        number = await self._feed.join(sieve)
        span = span._replace(end=self._feed.horizon, tail=MOST_LINES if span.mark else span.tail)
        lost = span.mark is not None and not await self._has(span.mark, sieve)
        found = await log_past.lines(self._feed.store, sieve, span) if span.tail else []
        self._before.extend(framed(told) for told in found)
        self._number = number
        lost = lost or (span.mark is not None and len(found) >= MOST_LINES)
        return sse.message({"reason": "not_kept"}, event="gap") if lost else b""

    async def _has(self, mark: Mark, sieve: Sieve) -> bool:
        key = sieve.allocs.get(mark.alloc)
        return key is None or await self._feed.store.has(key, mark.entry)

    def _told_away(self) -> bytes:
        if self._away:
            return b""
        self._away = True
        return sse.message({"reason": "redis_away"}, event="gap")

    def _overtaken(self) -> bytes:
        lost, self._number = self._feed.begin - self._number, self._feed.begin
        return sse.message({"reason": "too_slow", "lines": lost}, event="gap")

    def _past(self) -> bytes:
        found, size = [], 0
        while self._before and size < CHUNK:
            found.append(self._before.popleft())
            size += len(found[-1])
        return b"".join(found)

    async def wait(self, seconds: float, ended: asyncio.Future[Any]) -> Woken:
        """See Pump."""
        if self._number < 0 or self._feed.away:
            await asyncio.wait((ended,), timeout=min(seconds, _AGAIN))
            return "timeout"
        return await self._feed.wait(self._number, seconds, ended)
