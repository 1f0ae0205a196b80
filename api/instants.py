"""Times of a query, and where the log stood then."""

from __future__ import annotations

from typing import Literal

from api.call import Call
from eventstore.past import Outside, find
from heroctl.domain import moment
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.moment import Ago, Instant


def time_of(call: Call, name: Literal["from", "to"]) -> int | None:
    """Read a time of the query, in ms. Raises `invalid_from` or `invalid_to`."""
    text = call.args.get(name)
    if text is None:
        return None
    try:
        found = moment.parse(text)
    except ValueError as error:
        raise _no_time(name, str(error)) from None
    if isinstance(found, Ago):
        found = found.instant(int(call.parts.clock() * 1000))
    if not isinstance(found, Instant):
        raise _no_time(name, "expected a time such as 2026-03-01T12:00:00Z, or so long ago: -1h")
    return found.ms


def _no_time(name: Literal["from", "to"], message: str) -> Invalid:
    problem = Problem(name, f"invalid_{name}", message)
    return Invalid("invalid_from" if name == "from" else "invalid_to", f"{name}: {message}", details=(problem,))


async def index_at(call: Call, ms: int) -> int:
    """Return the index of the last event that is not after a time; 0: all that are kept are."""
    head = await call.parts.log.head()
    if ms >= head.time:
        return head.index
    try:
        return (await find(call.parts.log, Instant(ms), head.time)).index
    except Outside as outside:
        return outside.compacted or 0
