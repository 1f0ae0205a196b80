"""`heroctl job dispatch`, `launches` and `periodic force`: runs of a batch job, each to its end."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from heroctl.cli.client import path
from heroctl.cli.faults import Fault
from heroctl.cli.options import SCOPE, At, Name, Scope, Watch
from heroctl.cli.output import Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session
from heroctl.cli.shapes import Launch
from heroctl.cli.submitting import Detach, Timeout, seconds, settle

periodic = App(name="periodic", help="What the clock launches.")


def launches(name: Name, /, *, watch: Watch = False, at: At = None, scope: Scope = SCOPE) -> None:
    """List the launches of a batch job, the newest first."""
    page = Page(
        path("jobs", name, "launches"),
        list[Launch],
        grid,
        lambda all_: [str(each.number) for each in all_],
        in_namespace=True,
    )
    read(scope, page, watch=watch, at=at)


def dispatch(
    name: Name,
    /,
    *,
    payload: Annotated[
        str | None,
        Parameter(metavar="FILE", allow_leading_hyphen=True, help="What to work on; - reads stdin. At most 64 KiB."),
    ] = None,
    meta: Annotated[
        list[str] | None, Parameter(metavar="KEY=VALUE", negative="", help="What goes with it; repeat for more.")
    ] = None,
    key: Annotated[
        str | None, Parameter(metavar="KEY", help="A dispatch under the same key is the same launch: for retries.")
    ] = None,
    detach: Detach = False,
    timeout: Timeout = "15m",
    scope: Scope = SCOPE,
) -> int:
    """Launch a batch job, with something to work on, and wait for what becomes of it. Ends as `job run` does."""
    body = {**_payload(payload), "meta": dict(map(_pair, meta or ()))}
    return _launch(name, "dispatch", body, scope, key=key, detach=detach, timeout=timeout)


@periodic.command
def force(name: Name, /, *, detach: Detach = False, timeout: Timeout = "15m", scope: Scope = SCOPE) -> int:
    """Launch a periodic job now, whatever its clock says, and wait for its end. Ends as `job run` does."""
    return _launch(name, "periodic/force", None, scope, key=None, detach=detach, timeout=timeout)


def grid(found: list[Launch]) -> Sheet:
    """Make the table of a list."""
    titles = (
        "LAUNCH",
        "VERSION",
        "KIND",
        "STATUS",
        "REPLICAS",
        "SCHEDULED",
        "CREATED",
        "FINISHED",
        "SKIPPED",
        "REASON",
    )
    rows = [
        (
            each.number,
            each.version,
            each.kind,
            each.status,
            replicas(each),
            each.scheduled_at,
            each.created_at,
            each.finished_at,
            each.skipped or "",
            each.reason,
        )
        for each in found
    ]
    return [Grid(titles, rows)]


def replicas(launch: Launch) -> str:
    """Say how the replicas of a launch are: `2 complete, 1 running`."""
    of = launch.allocations
    parts = (("complete", of.complete), ("running", of.running), ("pending", of.pending), ("failed", of.failed))
    return ", ".join(f"{number} {word}" for word, number in parts if number) or "none"


def _launch(name: str, verb: str, body: object, scope: Scope, *, key: str | None, detach: bool, timeout: str) -> int:
    patience = None if detach else seconds(timeout)
    with Session(scope) as session:
        where = path("jobs", name, *verb.split("/"))
        answer = session.client.ask("POST", where, query=session.scope, json=body, key=key)
        return settle(session, answer, scope, patience, "is launched")


def _payload(file: str | None) -> dict[str, str]:
    """Read what to work on. What is no text goes in base64."""
    if file is None:
        return {}
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        said = f"--payload: {file} cannot be read: {error.strerror}"
        raise Fault(said, hints=["from stdin: heroctl job dispatch NAME --payload -"]) from error
    try:
        return {"payload": content.decode()}
    except UnicodeDecodeError:
        return {"payload": base64.b64encode(content).decode(), "encoding": "base64"}


def _pair(text: str) -> tuple[str, str]:
    key, given, value = text.partition("=")
    if not given or not key:
        raise Fault(f"--meta {text!r} is no KEY=VALUE", hints=["write it as --meta key=value"])
    return key, value
