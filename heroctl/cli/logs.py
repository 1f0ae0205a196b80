"""`heroctl logs`: what workloads write, of many allocations in one, now or as it comes."""

from __future__ import annotations

import sys
import time
import urllib.parse
from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from heroctl.cli import output
from heroctl.cli.client import Query, decode, path
from heroctl.cli.faults import Fault, Refused, Unreachable
from heroctl.cli.options import SCOPE, Scope
from heroctl.cli.session import Session
from heroctl.cli.shapes import Allocation

_SILENCE_S: Final = 45.0  # the stream says something at least every 15 s
_PAUSE_S: Final = 1.0
_COLOURS: Final = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_ENDED: Final = frozenset({"complete", "failed", "lost"})

Text = str | None


class Line(Struct, frozen=True, omit_defaults=True):
    """A line, as the API tells it: all of it, as one that follows with `-o json` is given it on."""

    alloc: str
    line: str
    stream: str
    time: str
    job: str
    task: str
    partial: bool = False
    dropped: int = 0


class Message(Struct):
    """One message of a stream."""

    event: str = ""
    id: str = ""
    data: str = ""


def logs(
    job: Annotated[Text, Parameter(help="The job's name; all jobs unless given.")] = None,
    /,
    *,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), negative="", help="Go on with what comes.")] = False,
    tail: Annotated[int | None, Parameter(metavar="N", help="So many of the last lines; 100 unless given.")] = None,
    since: Annotated[
        Text, Parameter(metavar="WHEN", allow_leading_hyphen=True, help="Not before a time, or so long ago: 10m.")
    ] = None,
    grep: Annotated[Text, Parameter(metavar="TEXT", help="Only lines that hold this text.")] = None,
    alloc: Annotated[Text, Parameter(metavar="ID", help="Only of this allocation.")] = None,
    task: Annotated[Text, Parameter(metavar="TASK", help="Only of this task.")] = None,
    node: Annotated[Text, Parameter(metavar="NODE", help="Only of this node.")] = None,
    only: Annotated[
        Literal["stdout", "stderr"] | None,
        Parameter(metavar="OUTPUT", help="Only what is written to stdout or stderr."),
    ] = None,
    previous: Annotated[
        bool, Parameter(negative="", show_default=False, help="Of the allocation of the job that ended last.")
    ] = False,
    scope: Scope = SCOPE,
) -> None:
    """Show what workloads wrote: each line behind its task and the beginning of its allocation's id."""
    query: dict[str, str | int | None] = {"tail": tail, "since": since, "grep": grep, "task": task, "output": only}
    with Session(scope) as session:
        if previous:
            alloc = _previous(session, job, scope)
        if alloc is None:
            query |= {"job": job, "node": node, "namespace": scope.namespace}
        show(session, scope, alloc, query, follow=follow)


def show(session: Session, scope: Scope, alloc: Text, query: Query, *, follow: bool) -> None:
    """Print lines: those of one allocation, or of all that a query means."""
    where = path("logs") if alloc is None else path("logs", alloc)
    if follow:
        for line in _stream(session, where, query):
            _print(line, scope)
        return
    answer = session.client.get(where, query)
    if scope.output == "json":
        output.dump(answer.raw, scope.output)
        return
    for line in decode(answer, list[Line], session.client.caller):
        _print(line, scope)


def _previous(session: Session, job: Text, scope: Scope) -> str:
    if job is None:
        raise Fault("--previous needs a job", hints=["heroctl logs JOB --previous"])
    answer = session.client.get(path("allocations"), {"job": job, "namespace": scope.namespace})
    ended = [each for each in decode(answer, list[Allocation], session.client.caller) if each.status in _ENDED]
    if not ended:
        raise Fault(f"no allocation of {job} has ended that is still known", hints=[f"heroctl alloc list --job {job}"])
    return max(ended, key=lambda each: (str(each.finished_at or ""), each.id)).id


# ── a stream ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stream(session: Session, where: str, query: Query) -> Iterator[Line]:
    """Give lines as they come, for ever: after each break from the last one seen."""
    given = {key: str(value) for key, value in {**query, "stream": "true"}.items() if value is not None}
    asked, seen, told = f"{where}?{urllib.parse.urlencode(given)}", "", False
    while True:
        headers = {"Last-Event-ID": seen} if seen else {}
        try:
            for message in _messages(session.client.lines(asked, silence=_SILENCE_S, headers=headers)):
                told = False
                if message.event == "log":
                    yield msgspec.json.decode(message.data, type=Line)
                    seen = message.id or seen
                elif message.event == "gap":
                    output.note("some lines are missing here: they are not kept any more, or Redis was away")
        except (Unreachable, Refused) as fault:
            if isinstance(fault, Refused) and fault.status < 500:
                raise
            if not told:
                output.note(f"lost contact: {fault.message}; trying again")
            told = True
        time.sleep(_PAUSE_S)


def _messages(lines: Iterator[bytes]) -> Iterator[Message]:
    """Put the lines of a stream together."""
    message = Message()
    for raw in lines:
        name, _, value = raw.decode().partition(": ")
        match name:
            case "":
                if message.data:
                    yield message
                message = Message()
            case "event":
                message.event = value
            case "id":
                message.id = value
            case "data":
                message.data = value
            case _:
                pass


def _print(line: Line, scope: Scope) -> None:
    if scope.output in ("json", "yaml"):
        output.dump(msgspec.json.encode(line), scope.output, compact=True)
        return
    text = output.clean(line.line, keep="\t")
    if scope.output == "name":
        output.lines([text])
        return
    prefix = f"{line.task}/{line.alloc[:8]}"
    if output.colourful(sys.stdout):
        prefix = f"\x1b[{_COLOURS[_sum(line.alloc) % len(_COLOURS)]}m{prefix}\x1b[0m"
        if line.stream != "stdout":
            text = f"\x1b[{'31' if line.stream == 'stderr' else '2'}m{text}\x1b[0m"
    sys.stdout.write(f"{prefix} | {text}\n")
    sys.stdout.flush()


def _sum(text: str) -> int:
    """Give an allocation the same number in every run."""
    return sum(text.encode())
