"""The audit: who did what, when, from where, and what was refused. Newest first.

What was done stands in the log, as events that somebody caused; what was refused, in a table beside it. Both are read
backwards, a page at a time, and put together by their times. A rare filter over a long log takes many pages: each
answers within about half a second with what it has found, and says how far it came.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from msgspec import Struct

from api.answer import Answer, Header, answer
from api.call import Call
from api.contract import tells
from api.instants import index_at, time_of
from api.paging import Asked, limit_of, next_page, place_of
from api.wait import Poll, poll_of
from api.wire import stamp
from eventstore import acts as log
from eventstore import refusals as table
from eventstore.refusals import Refused
from heroctl.domain.errors import Invalid, Problem
from heroctl.domain.events import Opaque, Record, payload
from heroctl.domain.ids import event_id

FILTERS: Final = ("actor", "type", "namespace", "job", "request_id", "address", "from", "to", "outcome")
MOST: Final = 1000
USUAL: Final = 100
SCANNED: Final = b"x-heroctl-scanned-to"
TRUNCATED: Final = b"x-heroctl-truncated-before"
_LOOK: Final = 0.5  # seconds that an answer may look for more
_PAUSE: Final = 0.25  # seconds between looks at a log that moves all the time
_REFUSAL, _ACT = 0, 1
_LOGIN: Final = "/v1/auth/login"
_OUTCOMES: Final = ("done", "refused")
# Left out of what is shown: a job's spec may hold what its owner takes for secret, and rows of the vault say nothing.
_UNTOLD: Final = frozenset({"spec", "tasks", "credential", "row", "payload"})
_NAMES: Final = ("name", "job", "id", "alloc", "node")


class AuditRecord(Struct, frozen=True, gc=False):
    """Something that somebody did, or was refused; `index`: of its event. The same refusal is one with a `count`."""

    id: str
    index: int | None
    time: str
    actor: str
    address: str
    request_id: str
    type: str
    target: str
    namespace: str
    outcome: str
    summary: str
    data: dict[str, Any]
    count: int
    last_time: str


class Sought(Struct):
    """What is looked for, and how far both have been looked through: acts by index, refusals by number."""

    acts: log.Wanted
    refusals: table.Wanted
    after: int  # no act at or before this index is looked for
    before: int
    below: int
    type: str
    no_acts: bool  # there are none, or none any more
    no_refusals: bool
    compacted: int = 0  # the index after which the log is kept, where more was asked for


@tells(list[AuditRecord], "invalid_from", "invalid_to", "invalid_outcome", "invalid_cursor")
async def listing(call: Call) -> Answer:
    """What was done and what was refused, newest first; by actor, type, thing, request, address, time, outcome."""
    limit = limit_of(call.args, MOST) or USUAL
    asked = Asked.of("/v1/audit", call.args)
    place = place_of(call.parts.marks, asked, call.args)
    sought = await _sought(call)
    if place is not None:
        _go_on(sought, place)
    poll = poll_of(call.args)
    if poll is not None:
        await _wait(call, poll)
    newest = await call.parts.trail.acts.newest()
    found = await _look(call, sought, limit)
    headers: list[Header] = []
    if not (sought.no_acts and sought.no_refusals):
        headers += next_page(call.parts.marks, asked, [sought.before, sought.below], call.number("limit"))
    if not sought.no_acts:
        headers.append((SCANNED, b"%d" % sought.before))
    elif sought.compacted:
        headers.append((TRUNCATED, b"%d" % (sought.compacted + 1)))
    return answer(found, index=max(newest, 1), headers=headers)


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


async def _sought(call: Call) -> Sought:
    args = call.args
    outcome = args.get("outcome")
    if outcome not in (None, *_OUTCOMES):
        problem = Problem("outcome", "invalid_outcome", f"expected {' or '.join(_OUTCOMES)}")
        raise Invalid("invalid_outcome", f"outcome: {problem.message}", details=(problem,))
    since, until = time_of(call, "from"), time_of(call, "to")
    kind = args.get("type", "")
    words = {name: args.get(name, "") for name in ("actor", "namespace", "job", "request_id", "address")}
    floor = await call.parts.trail.acts.floor()
    after = floor if since is None else max(floor, await index_at(call, since - 1))
    return Sought(
        acts=log.Wanted(type=kind, **words),
        refusals=table.Wanted(since=since or 0, until=table.END if until is None else until, **words),
        after=after,
        before=log.END if until is None else await index_at(call, until) + 1,
        below=table.END,
        type=kind,
        no_acts=outcome == "refused",
        no_refusals=outcome == "done",
        compacted=floor if after == floor and outcome != "refused" else 0,
    )


def _go_on(sought: Sought, place: list[int | str]) -> None:
    """Begin where a page before this one ended."""
    before, below = (int(each) for each in place)
    sought.before, sought.below = min(sought.before, before), below
    sought.no_acts = sought.no_acts or before <= sought.after + 1
    sought.no_refusals = sought.no_refusals or below <= 1


async def _wait(call: Call, poll: Poll) -> None:
    """Wait until somebody has done something after an index; not at all for one that the log has never reached."""
    parts, who, loop = call.parts, call.principal, asyncio.get_running_loop()
    if poll.index > (await parts.view.head()).index:
        return
    ends = loop.time() + poll.seconds
    while (left := ends - loop.time()) > 0 and await parts.trail.acts.newest() <= poll.index:
        until = who.until - parts.clock()
        following = Poll(poll.index, left)
        outcome = await parts.waiters.reach(parts.view.index + 1, following, who, call.receive, until)
        parts.heed(outcome, who, call.access)
        if outcome != "moved":
            return
        await asyncio.sleep(_PAUSE)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _look(call: Call, sought: Sought, limit: int) -> list[AuditRecord]:
    """Look backwards through both until there is enough, nothing more, or no more time; `sought` says how far."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + _LOOK
    found: list[AuditRecord] = []
    while len(found) < limit and not (sought.no_acts and sought.no_refusals):
        found += await _round(call, sought, limit - len(found))
        if loop.time() >= ends:
            break
    return found


async def _round(call: Call, sought: Sought, limit: int) -> list[AuditRecord]:
    """Take a page of each, and give what is certainly newer than all that was not looked at."""
    trail, incarnation = call.parts.trail, call.parts.view.state.incarnation
    acts = log.Found([], 0, 0, done=True)
    if not sought.no_acts:
        acts = await trail.acts.page(sought.acts, sought.before, limit, after=sought.after)
    rows = [] if sought.no_refusals else await trail.refusals.page(sought.refusals, sought.below, limit)
    unread = [] if acts.done else [(acts.time, _ACT, acts.beyond)]  # the newest place that may hold more
    if len(rows) == limit:
        unread.append((rows[-1].first, _REFUSAL, rows[-1].id - 1))
    both = {(record.time, _ACT, record.index): _act(tag, record, incarnation) for tag, record in acts.acts}
    both |= {(row.first, _REFUSAL, row.id): _refusal(row) for row in rows}
    given = [each for each in sorted(both, reverse=True) if not unread or each > max(unread)][:limit]
    _advance(sought, acts, rows, limit, {each[1:] for each in given})
    return [both[each] for each in given if each[1] == _ACT or _is_a(sought.type, both[each].type)]


def _advance(sought: Sought, acts: log.Found, rows: list[Refused], limit: int, given: set[tuple[int, int]]) -> None:
    """Say how far both have been looked through, now that so much is given."""
    if not sought.no_acts:
        left = [record.index for _, record in acts.acts if (_ACT, record.index) not in given]
        sought.before = max(left) + 1 if left else acts.beyond + 1
        sought.no_acts = acts.done and not left
    if not sought.no_refusals:
        late = [row.id for row in rows if (_REFUSAL, row.id) not in given]
        sought.below = max(late) + 1 if late else rows[-1].id if rows else 0
        sought.no_refusals = len(rows) < limit and not late
    if sought.no_acts:
        sought.before = 0
    if sought.no_refusals:
        sought.below = 0


def _is_a(wanted: str, kind: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else wanted in ("", kind)


# ── showing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _act(tag: str, record: Record, incarnation: str) -> AuditRecord:
    event, meta = record.event, record.meta
    fields = {} if isinstance(event, Opaque) else dict(payload(event))
    namespace = log.namespace_of(event, tag)
    target = _target(tag, fields, namespace)
    return AuditRecord(
        id=event_id(incarnation, record.index),
        index=record.index,
        time=stamp(record.time),
        actor=meta.actor or "system",
        address=meta.address,
        request_id=meta.request_id,
        type=tag,
        target=target,
        namespace=namespace,
        outcome="done",
        summary=f"{tag.rpartition('.')[2].replace('_', ' ')}: {target}" if target else tag,
        data={name: said for name, said in fields.items() if name not in _UNTOLD},
        count=1,
        last_time=stamp(record.time),
    )


def _target(tag: str, fields: dict[str, Any], namespace: str) -> str:
    """Name the thing: its kind, its namespace and its name."""
    name = next((str(fields[word]) for word in _NAMES if fields.get(word)), "")
    placed = namespace and not tag.startswith("namespace.")
    return f"{tag.partition('.')[0]} {f'{namespace}/' if placed else ''}{name}" if name else ""


def _refusal(row: Refused) -> AuditRecord:
    login = row.route == _LOGIN
    again = f", {row.count} times" if row.count > 1 else ""
    tried = f" as {row.tried}" if row.tried else ""
    data: dict[str, Any] = {"method": row.method, "route": row.route, "status": row.status, "code": row.code}
    return AuditRecord(
        id=f"ref_{row.id}",
        index=None,
        time=stamp(row.first),
        actor=row.actor,
        address=row.address,
        request_id=row.request_id,
        type="login.refused" if login else "request.refused",
        target=f"user {row.tried}" if row.tried else row.path,
        namespace=row.namespace,
        outcome="refused",
        summary=f"{row.method} {row.path}{tried}: {row.code}{again}",
        data=data | ({"tried": row.tried} if row.tried else {}) | ({"job": row.job} if row.job else {}),
        count=row.count,
        last_time=stamp(row.last),
    )
