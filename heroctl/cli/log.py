"""`heroctl log`: the cluster's history, event by event, its proof, and what it amounted to at any moment."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.client import decode, path
from heroctl.cli.faults import FAILED, Fault, counted
from heroctl.cli.options import ACCESS, Access
from heroctl.cli.output import Facts, Grid
from heroctl.cli.records import data_of, exact, head, line, pages, tell
from heroctl.cli.session import Session
from heroctl.cli.shapes import Allocation, ProofLine, Record, RecordAppend

app = App(name="log")

_SILENCE_S: Final = 60.0

Type = Annotated[str | None, Parameter(name="--type", metavar="TYPE", help="Only these, such as 'alloc.*'.")]


class Sieve:
    """Which events to show. `allocs`: the job's allocations that are known, since reports do not name their job."""

    def __init__(self, kind: str | None, job: str | None, allocs: Iterable[str] = ()) -> None:
        self._kind = kind
        self._job = job
        self._allocs = set(allocs)

    def passes(self, record: Record) -> bool:
        """Tell whether an event is one of them."""
        data = data_of(record)
        mine = self._job is None or data.get("job", data.get("name")) == self._job
        if mine and record.type == "alloc.placed":
            self._allocs.add(str(data.get("id")))
        report = data.get("report")
        mine = mine or (isinstance(report, dict) and report.get("alloc") in self._allocs)
        return mine and (self._kind is None or fnmatchcase(record.type, self._kind))


@app.command
def tail(
    *,
    last: Annotated[int, Parameter(metavar="COUNT", help="How many of the newest to begin with.")] = 20,
    after: Annotated[int | None, Parameter(metavar="INDEX", help="Begin after this index instead.")] = None,
    follow: Annotated[bool, Parameter(negative="--no-follow", help="Go on as events come.")] = True,
    kind: Type = None,
    job: Annotated[str | None, Parameter(metavar="JOB", help="Only events that name this job.")] = None,
    access: Access = ACCESS,
) -> None:
    """Show the newest events, and each new one when it comes."""
    with Session(access) as session:
        sieve = Sieve(kind, job, _allocations(session, job) if job is not None else ())
        start = after if after is not None else max(0, head(session.client) - max(last, 0))
        for page in pages(session.client, start, follow=follow):
            for raw, record in page:
                if sieve.passes(record):
                    _print(raw, record, access)
            sys.stdout.flush()


@app.command
def show(
    index: Annotated[int, Parameter(help="The event's index.")],
    /,
    *,
    access: Access = ACCESS,
) -> None:
    """Show one event in full, and what happened in one append with it."""
    with Session(access) as session:
        answer = session.client.get(path("log", str(index)))
        shown = decode(answer, RecordAppend, session.client.caller)
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
        return
    event = shown.event
    if access.output == "name":
        output.lines([event.type])
        return
    facts = Facts(
        [
            ("Index", event.index),
            ("Type", event.type + (f" (schema {event.schema})" if event.schema != 1 else "")),
            ("Time", exact(event)),
            ("Actor", event.actor),
            ("Request", event.request_id),
            ("Address", event.address),
            ("Append", f"{shown.first} to {shown.last}" if shown.last > shown.first else ""),
            ("Unreadable", f"{event.opaque} (base64)" if event.opaque else ""),
        ]
    )
    others = [line(record) for record in shown.events] if len(shown.events) > 1 else []
    output.show([facts, Grid(("INDEX", "TIME", "TYPE", "ACTOR", "SUMMARY"), others)] if others else [facts])
    if event.opaque is None:
        text = msgspec.json.format(bytes(event.data), indent=2).decode()
        sys.stdout.write("\n" + output.clean(text, keep="\n") + "\n")


@app.command
def verify(*, access: Access = ACCESS) -> int:
    """Prove that nobody has changed, removed, moved or added an event; ends with 2 if somebody has."""
    verdict: ProofLine | None = None
    with Session(access) as session:
        for raw in session.client.lines(path("log", "verify"), silence=_SILENCE_S):
            if access.output == "json":
                sys.stdout.write(raw.decode() + "\n")
                sys.stdout.flush()
            said = msgspec.json.decode(raw, type=ProofLine)
            if said.line in ("verdict", "broken"):
                verdict = said
            else:
                _tell(said)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if verdict is None or verdict.line == "broken":
        why = verdict.message if verdict else "the connection ended before the check did"
        raise Fault(f"there is no verdict: {why}", hints=["try again: heroctl log verify"])
    return _judge(verdict, access)


def _allocations(session: Session, job: str) -> list[str]:
    answer = session.client.get(path("allocations"), {"job": job})
    return [alloc.id for alloc in decode(answer, list[Allocation], session.client.caller)]


def _tell(said: ProofLine) -> None:
    if said.line == "fault":
        output.note(f"event {said.index}: {said.problem}")
    elif output.fancy(sys.stderr):
        sys.stderr.write(f"\r\x1b[Kchecked {said.checked:,} of {said.head:,}")
        sys.stderr.flush()


def _judge(verdict: ProofLine, access: Access) -> int:
    if not verdict.ok:
        sound = f"all after {verdict.sound_after} follows from it" if verdict.sound_after else "it is wrong to its end"
        raise Fault(
            f"the log is not what was written: {verdict.problem}",
            facts=[
                ("first", f"event {verdict.index}" + (f" to {verdict.last}" if verdict.last > verdict.index else "")),
                ("faults", f"{counted(verdict.faults, 'fault')}, {counted(verdict.failed_appends, 'append')} broken"),
                ("then", sound),
            ],
            hints=[
                "compare with the audit exports: python -m eventstore verify --dsn DSN --against FOLDER",
                f"heroctl log show {verdict.index}",
            ],
            code=FAILED,
        )
    if access.output != "json":
        facts = Facts(
            [
                ("Verdict", "ok"),
                ("Events", f"{verdict.first} to {verdict.index}"),
                ("Appends", verdict.appends),
                ("Snapshots", verdict.marks),
                ("Chain", verdict.chain),
            ]
        )
        output.show([facts])
    return 0


@app.command
def replay(
    *,
    to: Annotated[str | None, Parameter(metavar="MOMENT", allow_leading_hyphen=True, help="Stop there.")] = None,
    since: Annotated[
        str | None,
        Parameter(name="--from", metavar="MOMENT", allow_leading_hyphen=True, help="Show each event from there on."),
    ] = None,
    speed: Annotated[
        float | None, Parameter(metavar="FACTOR", help="Show each event in its time, so many times faster.")
    ] = None,
    diff: Annotated[
        tuple[str, str] | None,
        Parameter(metavar="MOMENT", allow_leading_hyphen=True, negative="", help="What changed between two."),
    ] = None,
    access: Access = ACCESS,
) -> None:
    """Fold the log here, event by event, and show what it amounts to at its end, or at any moment before."""
    from heroctl.cli import replaying

    with Session(access) as session:
        if diff is not None:
            replaying.compare(session.client, diff, access.output)
        else:
            replaying.play(session.client, replaying.Wish(to, since, speed), access.output)


def _print(raw: msgspec.Raw, record: Record, access: Access) -> None:
    if access.output in ("json", "yaml"):
        output.dump(bytes(raw), access.output, compact=True)
    elif access.output == "name":
        output.lines([record.type])
    else:
        tell(record)
