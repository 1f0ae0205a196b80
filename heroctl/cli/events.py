"""`heroctl events`: what happened in the cluster, and what happens, as far as one may know of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from heroctl.cli import output
from heroctl.cli.chronicle import Chronicle, stamp
from heroctl.cli.client import Answer, Query, path
from heroctl.cli.faults import Refused
from heroctl.cli.options import SCOPE, Access, Scope
from heroctl.cli.reading import patiently
from heroctl.cli.session import Session
from heroctl.cli.shapes import Happened

PAGE: Final = 1000
_RECENT: Final = "-1h"
_TITLES: Final = ("TIME", "INDEX", "TYPE", "ABOUT", "BY", "WHAT")
_TOLD: Final = ("reason", "message", "reasons", "error", "status", "version", "exit_code", "action")  # of its data

Text = str | None


def events(
    *,
    topic: Annotated[
        list[str] | None,
        Parameter(metavar="TOPIC", negative="", help="Only about this, such as 'job:web' or 'node'; repeat for more."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        Parameter(name="--type", metavar="TYPE", negative="", help="Only these, such as 'alloc.*'; repeat for more."),
    ] = None,
    request: Annotated[Text, Parameter(name="--request-id", metavar="ID", help="All that one request caused.")] = None,
    since: Annotated[
        Text,
        Parameter(metavar="WHEN", allow_leading_hyphen=True, help="From a time, from '-1h', or after an index."),
    ] = None,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), negative="", help="Go on with what comes.")] = False,
    access: Scope = SCOPE,
) -> None:
    """Show what happened, oldest first: in the last hour, unless `--since` says otherwise."""
    query: dict[str, Any] = {
        "topic": ",".join(topic) if topic else None,
        "type": ",".join(kind) if kind else None,
        "request_id": request,
        "namespace": access.namespace,
    }
    begin = _begin(since, follow=follow)
    with Session(access) as session:
        if follow:
            _follow(session, query, begin, access)
        else:
            _EVENTS.show(list(happenings(session, {**query, **begin})), access.output)


def _begin(since: Text, *, follow: bool) -> dict[str, str]:
    """Say where to begin, in words of the API."""
    if since is None:
        return {"index": "now"} if follow else {"from": _RECENT}
    return {"index": since} if since.isdecimal() and int(since) else {"from": since} if not since.isdecimal() else {}


def happenings(session: Session, query: Query) -> Iterator[msgspec.Raw]:
    """Give events, page after page until there is nothing more, oldest first."""
    while True:
        answer = session.client.get(path("events"), {**query, "limit": PAGE, "wait": "0s"})
        yield from _items(answer)
        if str(answer.index) == str(query.get("index")):
            return
        query = {**query, "from": None, "index": answer.index}


def _follow(session: Session, query: Query, begin: dict[str, str], access: Access) -> None:
    """Print what was, and whatever is new, for ever: each once."""
    where = path("events")
    wanted = {**query, "limit": PAGE}
    answer = session.client.get(where, {**wanted, **begin, "wait": "0s"})
    while True:
        for raw in _items(answer):
            _EVENTS.tell(raw, access.output)
        sys.stdout.flush()
        try:
            answer = patiently(lambda at=answer.index: session.client.poll(where, wanted, index=at))  # type: ignore[misc] # the default binds this round's index
        except Refused as fault:
            if fault.error != "index_compacted":
                raise
            output.note(f"events after {answer.index} are not kept any more; going on with the oldest that are")
            answer = session.client.get(where, {**wanted, "wait": "0s"})


def _items(answer: Answer) -> list[msgspec.Raw]:
    return msgspec.json.decode(answer.raw, type=list[msgspec.Raw])


def _row(event: Happened) -> tuple[str, ...]:
    return stamp(event.time), str(event.index), event.type, _about(event), event.actor, _what(event)


def _about(event: Happened) -> str:
    """Name what it is about: the last of each kind, which is its name where it has an id, too; long ids are cut."""
    named = dict(each.partition(":")[::2] for each in event.topics)
    words = [f"{kind} {name[:8] if kind in ('alloc', 'deployment') else name}" for kind, name in named.items() if name]
    told = [word for word in words if not word.startswith("namespace ") or event.type.startswith("namespace.")]
    return ", ".join(told) or "-"


def _what(event: Happened) -> str:
    said = event.data.get("report") or event.data
    if event.type == "alloc.reported":
        return " ".join(filter(None, (said.get("phase", "pending"), said.get("health", ""), said.get("reason", ""))))
    words = [f"{name} {_plain(said[name])}" for name in _TOLD if said.get(name) not in (None, "", [])]
    return output.clean(", ".join(words)) or "-"


def _plain(value: Any) -> str:  # noqa: ANN401 - JSON
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.split())[:120]


_EVENTS: Final = Chronicle(Happened, _TITLES, _row, lambda event: event.id)
