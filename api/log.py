"""The log itself, for the admin's tools: its records as they stand, one with the rest of its append, and its proof."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec

from api.answer import Answer, Flow, answer
from api.call import Call
from api.contract import LINES, tells
from api.questions import compacted
from api.wait import poll_of
from api.wire import stamp
from api.wire_cluster import LogAppend, LogRecord
from eventstore import codec
from eventstore.log import MAX_EVENTS, Compacted, Log, Row
from eventstore.past import Outside, find
from heroctl.domain.errors import Conflict, Gone, Invalid, NotFound, Problem
from heroctl.domain.events import Opaque, Record
from heroctl.domain.moment import At

MOST: Final = 1000
USUAL: Final = 100
HEARTBEAT: Final = 10.0  # seconds after which the last line is said again
_READ: Final = 100  # events that are read at once: each may hold a whole job spec
_BYTES: Final = 8 << 20  # of one page
_ENDED: Final = b'{"line":"broken","error":"ended","message":"this process ends, or the token did"}\n'


@tells(list[LogRecord], "index_compacted")
async def listing(call: Call) -> Answer:
    """Records after an index, in order; `?after=`, `?limit=`, and `?wait=`: until there is one."""
    after, limit = call.number("after") or 0, _limit(call)
    rows = await _rows(call.parts.log, after, limit)
    if not rows and "wait" in call.args:
        await _wait(call, after)
        rows = await _rows(call.parts.log, after, limit)
    index = max(call.parts.view.index, rows[-1][0] if rows else 0)
    return answer(_records(rows), index=index)


def _limit(call: Call) -> int:
    limit = call.number("limit")
    if limit is None:
        return USUAL
    if not 1 <= limit <= MOST:
        problem = Problem("limit", "invalid_limit", f"1 to {MOST}")
        raise Invalid("invalid_limit", f"limit: {problem.message}", details=(problem,))
    return limit


async def _wait(call: Call, after: int) -> None:
    """Wait for the log to pass an index; not at all for one that it has never reached."""
    parts, who = call.parts, call.principal
    poll = poll_of({"index": str(max(after, 1)), "wait": call.args["wait"]})
    if poll is not None and after <= (await parts.view.head()).index:
        until = who.until - parts.clock()
        parts.heed(await parts.waiters.reach(after + 1, poll, who, call.receive, until), who, call.access)


async def _rows(log: Log, after: int, limit: int) -> list[Row]:
    """Read at most so many records, and no more than a page's bytes unless one alone has them."""
    found: list[Row] = []
    size = 0
    try:
        while len(found) < limit and size < _BYTES:
            rows = await log.page(after, min(limit - len(found), _READ))
            if not rows:
                break
            found += rows
            size += sum(len(row[6]) for row in rows)
            after = rows[-1][0]
    except Compacted as gone:
        message = f"the log is kept after index {gone.floor} only: begin with ?after={gone.floor}"
        raise Gone("index_compacted", message) from None
    return found[:limit]


@tells(LogAppend, "invalid_index", "event_not_found", "index_compacted")
async def detail(call: Call) -> Answer:
    """One record, and the others of its append: what happened in one with it."""
    word = call.path["index"]
    if not word.isdecimal() or len(word) > 18 or int(word) < 1:
        raise Invalid("invalid_index", f"'{word[:40]}' is no index of an event")
    index, log = int(word), call.parts.log
    if index > (await log.head()).index:
        raise NotFound("event_not_found", f"the log has not reached index {index} yet")
    try:
        before = (await find(log, At(index - 1), 0)).index if index > 1 else 0
    except Outside as outside:
        raise compacted(outside.compacted or 0) from None
    rows = await _rows(log, before, MAX_EVENTS)
    shown = _records([row for row in rows if row[1] == rows[0][1]])
    return answer(LogAppend(shown[index - before - 1], before + 1, rows[0][1], shown), index=call.parts.view.index)


def _records(rows: list[Row]) -> list[LogRecord]:
    return [_record(row, record) for row, record in zip(rows, codec.records(rows), strict=True)]


def _record(row: Row, record: Record) -> LogRecord:
    unread = isinstance(record.event, Opaque)
    return LogRecord(
        index=record.index,
        last=record.last,
        time=stamp(record.time),
        type=row[3],
        schema=row[4],
        actor=record.meta.actor,
        request_id=record.meta.request_id,
        address=record.meta.address,
        data=None if unread else msgspec.Raw(row[6]),
        opaque=base64.b64encode(row[6]).decode() if unread else None,
        chain=row[7].hex() if row[7] else None,
    )


# ── the proof ────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(dict[str, Any], "verify_running", media=LINES)
async def verify(call: Call) -> Answer:
    """Check all that is kept: lines of JSON while it goes on, the verdict last. Raises `verify_running`."""
    if call.parts.prover.busy:
        raise Conflict("verify_running", "this process is checking the log already: wait for that, or ask another one")
    call.parts.waiters.check(call.principal)
    return Flow(_proof(call))


async def _proof(call: Call) -> AsyncGenerator[bytes]:
    last, ended = b"", False
    with call.parts.waiters.hold(call.principal, call.receive) as leaving:
        async with contextlib.aclosing(_beating(call.parts.prover.lines(), leaving)) as lines:
            async for line in lines:
                last = line or last
                ended = b'"verdict"' in last or b'"broken"' in last
                yield last
    if not ended and leaving.cancelled():
        yield _ENDED


async def _beating(lines: AsyncGenerator[bytes], leaving: asyncio.Future[None]) -> AsyncGenerator[bytes]:
    """Give lines as they come, and an empty one where none came for a while; end when somebody leaves."""
    async with contextlib.aclosing(lines):
        while True:
            coming = asyncio.ensure_future(anext(lines))
            try:
                while not coming.done():
                    await asyncio.wait((coming, leaving), timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
                    if leaving.done():
                        return
                    if not coming.done():
                        yield b""
                yield coming.result()
            except StopAsyncIteration:
                return
            finally:
                if coming.cancel():
                    await asyncio.wait({coming})
