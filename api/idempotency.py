"""Idempotency keys: a POST that is sent again does nothing again, and gets the answer that it got.

`Idempotency-Key` goes into the log with the append of its call, whichever process that was, so that a call sent again
meets it there: while the first is under way it waits its turn behind it, after a refusal there is nothing to meet. The
log keeps no answers. One is made again from the events that the call appended, by the row's `again`, which the first
answer came from too. A row without `again` answers with what is shown once: that is never shown twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from api.answer import Answer, Header
from api.marks import NAME
from api.write import Done, Replayed, outdated
from eventstore import codec
from eventstore.log import Appended, Compacted
from heroctl.domain.errors import Conflict, Invalid, NotFound, Problem, Refusal
from heroctl.domain.events import Opaque

if TYPE_CHECKING:
    from api.call import Call
    from api.row import Row

_HEADER: Final = NAME.lower().encode()
_SANE: Final = re.compile(rb"[^\x00-\x1f\x7f]{1,255}")
_REPLAYED: Final[Header] = (b"idempotency-replayed", b"true")


async def perform(row: Row, call: Call) -> Answer:
    """Do what a call asks for; where it carries a key, once for that key."""
    given = _given(call.headers) if row.keyed else None
    if given is None:
        return await row.do(call)
    asked = [sorted(call.path.items()), sorted(call.args.items())]
    scope = [call.principal.actor, row.path, given.decode("latin-1")]
    key = call.parts.marks.key(scope, asked, await _comparable(row, call, scope))
    call.key = key
    try:
        return await row.do(call)
    except Replayed as replayed:
        return await _again(row, call, replayed.place)
    except Refusal as refusal:
        # What it did itself may be what stands in its way now.
        place = await call.parts.writer.recall(key) if refusal.status < 500 else None
        if place is None:
            raise
        return await _again(row, call, place)


async def _comparable(row: Row, call: Call, scope: list[str]) -> bytes:
    """Give what stands for a body. The log's own keeper has all that makes a mark: guessing at secrets must be dear."""
    content = await call.raw()
    if not row.hides:
        return content
    return await call.parts.passwords.stretched(content, call.parts.marks.sign(scope, 16))


def _given(headers: list[Header]) -> bytes | None:
    """Find the key of a request. Raises `invalid_idempotency_key`."""
    found = [value.strip(b" \t") for name, value in headers if name == _HEADER]
    if not found:
        return None
    if len(found) > 1 or _SANE.fullmatch(found[0]) is None:
        problem = Problem(NAME, "invalid_idempotency_key", "one key, of 1 to 255 characters, no control characters")
        raise Invalid(problem.code, f"{NAME}: {problem.message}", details=(problem,))
    return found[0]


async def _again(row: Row, call: Call, place: Appended) -> Answer:
    if row.again is None:
        raise _already_done(place.last, "its answer held what is shown once")
    done = await _done(call, place)
    call.judge_again(done.events)
    try:
        answer = await row.again(call, done)
    except NotFound:  # it changed nothing, so that no event tells what it was about
        raise _already_done(place.last, "what it was about is gone") from None
    answer.headers.append(_REPLAYED)
    return answer


async def _done(call: Call, place: Appended) -> Done:
    """Read what a call did back from the log."""
    if place.last < place.first:
        return Done((), place.last)
    try:
        rows = await call.parts.writer.rows(place)
    except Compacted:
        raise _already_done(place.last, "its events are not kept any more") from None
    events = tuple(record.event for record in codec.records(rows))
    if any(isinstance(event, Opaque) for event in events):
        raise outdated()
    return Done(events, place.last)


def _already_done(index: int, why: str) -> Conflict:
    return Conflict("already_done", f"this was done before, up to index {index}, and {why}: read what is there now")
