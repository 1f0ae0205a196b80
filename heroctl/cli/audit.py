"""`heroctl audit`: who did what, when, from where, and what was refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import takewhile
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from heroctl.cli.chronicle import Chronicle, stamp
from heroctl.cli.client import Answer, path
from heroctl.cli.options import SCOPE, Access, Scope
from heroctl.cli.reading import patiently
from heroctl.cli.session import Session
from heroctl.cli.shapes import Audited

PAGE: Final = 1000
_WAIT_S: Final = 5  # refusals have no index: they are looked for as often
_REMEMBERED: Final = 100_000
_TITLES: Final = ("TIME", "ACTOR", "ADDRESS", "OUTCOME", "WHAT")

Text = str | None


def audit(
    *,
    actor: Annotated[Text, Parameter(metavar="ACTOR", help="Only by this one, such as 'user:admin'.")] = None,
    kind: Annotated[Text, Parameter(name="--type", metavar="TYPE", help="Only these, such as 'job.*'.")] = None,
    job: Annotated[Text, Parameter(metavar="JOB", help="Only about this job.")] = None,
    request: Annotated[Text, Parameter(name="--request-id", metavar="ID", help="All that one request did.")] = None,
    address: Annotated[Text, Parameter(metavar="ADDRESS", help="Only from this address.")] = None,
    since: Annotated[
        Text, Parameter(metavar="TIME", allow_leading_hyphen=True, help="Not before: a time, or '-1h'.")
    ] = None,
    until: Annotated[
        Text, Parameter(metavar="TIME", allow_leading_hyphen=True, help="Not after: a time, or '-1h'.")
    ] = None,
    outcome: Annotated[Text, Parameter(metavar="OUTCOME", help="'done' or 'refused'.")] = None,
    last: Annotated[int, Parameter(metavar="COUNT", help="How many of the newest; 0: all.")] = 100,
    follow: Annotated[bool, Parameter(negative="", help="Go on with what comes, oldest first.")] = False,
    access: Scope = SCOPE,
) -> None:
    """Show who did what, newest first: what was done, logins, and what was refused."""
    query = {
        "actor": actor, "type": kind, "job": job, "request_id": request, "address": address,
        "from": since, "to": until, "outcome": outcome, "namespace": access.namespace,
    }  # fmt: skip
    with Session(access) as session:
        found, index = _newest(session, query, last)
        if not follow:
            _AUDIT.show(found, access.output)
            return
        _follow(session, query, found, index, access)


def _newest(session: Session, query: dict[str, str | None], last: int) -> tuple[list[msgspec.Raw], int]:
    """Read so many of the newest, page by page; 0: all. Return the index of the first page, too."""
    found: list[msgspec.Raw] = []
    index = 0
    for answer in _pages(session, query, last or PAGE):
        found += msgspec.json.decode(answer.raw, type=list[msgspec.Raw])
        index = index or answer.index
        if last and len(found) >= last:
            break
    return found[: last or None], index


def _pages(session: Session, query: dict[str, str | None], limit: int) -> Iterator[Answer]:
    cursor: str | None = None
    while cursor != "":
        wanted = {**query, "limit": min(limit, PAGE), "cursor": cursor}
        answer = session.client.get(path("audit"), wanted)
        yield answer
        cursor = answer.cursor


def _follow(
    session: Session, query: dict[str, str | None], found: list[msgspec.Raw], index: int, access: Access
) -> None:
    """Print what was found, and whatever is new, for ever: each once."""
    seen: set[str] = set()
    wanted = {**query, "limit": PAGE}
    while True:
        fresh = list(takewhile(lambda raw, seen=seen: _AUDIT.read(raw).id not in seen, found))  # type: ignore[misc] # as below
        seen = {_AUDIT.read(raw).id for raw in found} | (seen if len(seen) < _REMEMBERED else set())
        for raw in reversed(fresh):
            _AUDIT.tell(raw, access.output)
        sys.stdout.flush()
        answer = patiently(lambda at=index: session.client.poll(path("audit"), wanted, index=at, wait=_WAIT_S))  # type: ignore[misc] # the default binds this round's index
        found, index = msgspec.json.decode(answer.raw, type=list[msgspec.Raw]), answer.index


def _row(record: Audited) -> tuple[str, ...]:
    return stamp(record.time), record.actor, record.address or "-", record.outcome, record.summary


_AUDIT: Final = Chronicle(Audited, _TITLES, _row, lambda record: record.type)
