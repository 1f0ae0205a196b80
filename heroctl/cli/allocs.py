"""`heroctl alloc`: the replicas of jobs, each on its node."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from heroctl.cli import metrics, output
from heroctl.cli.client import path
from heroctl.cli.options import SCOPE, At, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session
from heroctl.cli.shapes import Allocation

app = App(name="alloc")

Id = Annotated[str, Parameter(help="Its id, or the beginning of it (4 characters at least).")]


@app.command(name="list")
def list_allocations(
    *,
    job: Annotated[str | None, Parameter(metavar="JOB", help="Only this job's.")] = None,
    node: Annotated[str | None, Parameter(metavar="NODE", help="Only those on this node.")] = None,
    status: Annotated[str | None, Parameter(metavar="STATUS", help="Only those in this status.")] = None,
    watch: Watch = False,
    at: At = None,
    scope: Scope = SCOPE,
) -> None:
    """List allocations."""
    query = {"job": job, "node": node, "status": status}
    page = Page(path("allocations"), list[Allocation], lambda all_: [grid(all_)], _names, query, in_namespace=True)
    read(scope, page, watch=watch, at=at)


@app.command
def status(alloc: Id, /, *, watch: Watch = False, at: At = None, scope: Scope = SCOPE) -> None:
    """Show one allocation: where it runs, how it is, and all that happened to it."""
    page = Page(path("allocations", alloc), Allocation, sheet, lambda one: [one.id])
    read(scope, page, watch=watch, at=at)


@app.command
def stats(
    alloc: Id,
    /,
    *,
    once: Annotated[bool, Parameter(negative="", help="Print once, and end, on a terminal, too.")] = False,
    watch: metrics.Watch = False,
    scope: Scope = SCOPE,
) -> None:
    """Show what an allocation uses: processors, memory, network, disks; on a terminal as it goes on."""
    with Session(scope) as session:
        metrics.stats(session, scope, alloc, watch=watch, once=once)


@app.command
def logs(
    alloc: Id,
    /,
    *,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), negative="", help="Go on with what comes.")] = False,
    tail: Annotated[int | None, Parameter(metavar="N", help="So many of the last lines; 100 unless given.")] = None,
    since: Annotated[
        str | None, Parameter(metavar="WHEN", allow_leading_hyphen=True, help="Not before a time, or so long ago: 10m.")
    ] = None,
    grep: Annotated[str | None, Parameter(metavar="TEXT", help="Only lines that hold this text.")] = None,
    scope: Scope = SCOPE,
) -> None:
    """Show what an allocation wrote, for a day after its end, too."""
    from heroctl.cli.logs import show

    with Session(scope) as session:
        show(session, scope, alloc, {"tail": tail, "since": since, "grep": grep}, follow=follow)


@app.command(name="exec")
def exec_(
    alloc: Id,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True, help="What to run, after `--`; /bin/sh if nothing.")],
    stdin: Annotated[
        bool, Parameter(name=("--stdin", "-i"), help="Pass on standard input; on unless --no-stdin.")
    ] = True,
    tty: Annotated[
        bool | None,
        Parameter(name=("--tty", "-t"), help="In a terminal; unless said, where this is one at both ends."),
    ] = None,
    scope: Scope = SCOPE,
) -> int:
    """Run a command beside what runs in an allocation; it ends with the command's exit code."""
    from heroctl.cli.alloc_exec import run

    both = stdin and sys.stdin.isatty() and sys.stdout.isatty()
    with Session(scope) as session:
        words = command or ("/bin/sh",)
        return run(session, alloc, words, interactive=stdin, terminal=both if tty is None else tty)


@app.command
def stop(alloc: Id, /, *, scope: Scope = SCOPE) -> None:
    """Stop an allocation; its job gets another in its place."""
    _ask(alloc, "stop", None, f"allocation {alloc} stops; its slot is filled again", scope)


@app.command
def restart(alloc: Id, /, *, scope: Scope = SCOPE) -> None:
    """Begin an allocation anew, on its node and in its place."""
    _ask(alloc, "restart", None, f"allocation {alloc} begins anew: heroctl alloc status {alloc}", scope)


@app.command
def signal(
    alloc: Id,
    name: Annotated[str, Parameter(metavar="SIGNAL", help="For example SIGHUP, or HUP.")],
    /,
    *,
    scope: Scope = SCOPE,
) -> None:
    """Send a signal to what runs in an allocation: once; its timeline says whether it arrived."""
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    _ask(alloc, "signal", {"signal": full}, f"{full} goes to allocation {alloc}: heroctl alloc status {alloc}", scope)


def _ask(alloc: str, verb: str, body: dict[str, str] | None, said: str, scope: Scope) -> None:
    with Session(scope) as session:
        answer = session.client.ask("POST", path("allocations", alloc, verb), json=body)
    if scope.output in ("json", "yaml"):
        output.dump(answer.raw, scope.output)
    else:
        output.note(said)


def grid(allocations: list[Allocation]) -> Grid:
    """Make the table of a list."""
    titles = ("ID", "JOB", "TASK", "VERSION", "NODE", "STATUS", "HEALTH", "ATTEMPT", "ADDRESS", "CREATED")
    rows = [
        (
            a.id,
            a.job,
            f"{a.task}[{a.slot}]",
            a.version,
            a.node,
            a.status,
            a.health,
            a.attempt,
            _address(a),
            a.created_at,
        )
        for a in allocations
    ]
    return Grid(titles, rows)


def sheet(alloc: Allocation) -> Sheet:
    """Make the page of one."""
    facts = Facts(
        [
            ("ID", alloc.id),
            ("Job", alloc.job),
            ("Namespace", alloc.namespace),
            ("Task", f"{alloc.task}[{alloc.slot}]"),
            ("Version", alloc.version),
            ("Node", alloc.node),
            ("Status", alloc.status),
            ("Wanted", alloc.wanted),
            ("Health", alloc.health),
            ("Attempt", alloc.attempt),
            ("Reason", alloc.reason),
            ("Exit code", alloc.exit_code),
            ("Out of memory", "yes" if alloc.oom else ""),
            *((f"Port {name}", text) for name, text in addresses(alloc).items()),
            ("Created", alloc.created_at),
            ("Started", alloc.started_at),
            ("Finished", alloc.finished_at),
        ]
    )
    steps = [(step.index, step.time, step.event, step.message) for step in alloc.timeline]
    return [facts, Grid(("INDEX", "TIME", "EVENT", "MESSAGE"), steps)] if steps else [facts]


def addresses(alloc: Allocation) -> dict[str, str]:
    """Say where each port can be reached, by its name: `127.0.0.1:20001`."""
    host = alloc.address or ""
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return {name: f"{bracketed}:{port.host}" for name, port in sorted(alloc.ports.items()) if port.host}


def _address(alloc: Allocation) -> str:
    return ",".join(addresses(alloc).values())


def _names(allocations: list[Allocation]) -> list[str]:
    return [alloc.id for alloc in allocations]
