"""`heroctl apply`: make a cluster's jobs what the files of a folder say, as a pipeline does after each merge."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from heroctl.cli import output, plans, rollout
from heroctl.cli.client import Answer, Query, decode, path
from heroctl.cli.faults import FAILED, HEALTHY, Fault, counted
from heroctl.cli.options import SCOPE, Scope
from heroctl.cli.plan_shapes import Planned
from heroctl.cli.planning import CHANGES, DetailedExit
from heroctl.cli.session import Session
from heroctl.cli.shapes import Job, Submitted
from heroctl.cli.specfiles import Judged, judge, spec_files
from heroctl.cli.submitting import Detach, Timeout, awaited, seconds, warn
from heroctl.cli.validating import refuse

SOURCE: Final = "heroctl.source"  # of a job's meta: who applied it
_NAME: Final = re.compile(r"[\w./:@-]{1,200}", re.ASCII)


@dataclass(slots=True)
class Piece:
    """A job of the files: as it is to be, what that would do, and what came of it."""

    judged: Judged
    document: dict[str, Any]
    plan: Planned = field(default_factory=Planned)
    told: Answer | None = None
    made: Answer | None = None
    outcome: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Its namespace and its name."""
        return self.document["namespace"], self.document["job"]


def apply(
    *,
    file: Annotated[
        list[str],
        Parameter(name=("--file", "-f"), metavar="PATH", negative="", help="A job spec, or a folder; repeat for more."),
    ],
    source: Annotated[
        str | None, Parameter(metavar="NAME", help="Where these come from, such as a repository; kept in their meta.")
    ] = None,
    prune: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Delete what the same source applied before and has no file any more."
        ),
    ] = False,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False, help="Only show what would be done.")] = False,
    detailed_exitcode: DetailedExit = False,
    yes: Annotated[
        bool, Parameter(name=("--yes", "-y"), negative="", show_default=False, help="Delete without asking.")
    ] = False,
    detach: Detach = False,
    timeout: Timeout = "15m",
    scope: Scope = SCOPE,
) -> int:
    """Make a cluster's jobs what files say; `heroctl.cli.tree` tells people more."""
    patience = seconds(timeout)
    _check(source, prune=prune)
    judged = [judge(each) for each in spec_files(file)]
    refuse(judged)
    with Session(scope) as session:
        pieces = _pieces(judged, source, session.namespace)
        for piece in pieces:
            _plan(session, piece)
        stale = _stale(session, source, pieces) if prune and source else []
        _show(pieces, stale, scope, source)
        moves = bool(stale) or any(piece.plan.moves for piece in pieces)
        if not dry_run and moves:
            _confirm(stale, yes=yes)
            code = _carry_out(session, pieces, stale, patience=None if detach else patience)
        else:
            code = CHANGES if detailed_exitcode and moves else HEALTHY
    _report(pieces, stale, scope)
    return code


def _check(source: str | None, *, prune: bool) -> None:
    if prune and source is None:
        hints = ["name where these files come from: heroctl apply -f DIR --source NAME --prune"]
        raise Fault("--prune deletes what a source applied before: it needs --source", hints=hints)
    if source is not None and not _NAME.fullmatch(source):
        raise Fault(f"--source {source!r}: use 1 to 200 letters, digits and . / : @ _ -", hints=["such as git/shop"])


def _pieces(judged: Sequence[Judged], source: str | None, namespace: str | None) -> list[Piece]:
    """Say of each file which job it is, in which namespace, and who applies it."""
    pieces: dict[tuple[str, str], Piece] = {}
    for each in judged:
        fields = dict(each.document)
        fields["job"] = fields.pop("name", fields.get("job"))
        if namespace is not None and fields.setdefault("namespace", namespace) != namespace:
            said = f"{each.file.name} is for namespace {fields['namespace']}, and you say {namespace}"
            raise Fault(said, hints=["leave out --namespace (or HEROCTL_NAMESPACE)"])
        fields.setdefault("namespace", "default")
        if source is not None:
            fields["meta"] = {**(fields.get("meta") or {}), SOURCE: source}
        piece = Piece(each, fields)
        if other := pieces.get(piece.key):
            said = f"{each.file.name} and {other.judged.file.name} are both job {piece.key[1]} in {piece.key[0]}"
            raise Fault(said, hints=["keep one of them"])
        pieces[piece.key] = piece
    return list(pieces.values())


def _plan(session: Session, piece: Piece) -> None:
    piece.told = session.client.ask("POST", path("jobs", "plan"), json=piece.document)
    piece.plan = decode(piece.told, Planned, session.client.caller)


def _stale(session: Session, source: str, pieces: Sequence[Piece]) -> list[Job]:
    """Find the jobs that this source applied and has no file for any more."""
    query = {**session.scope, "meta": f"{SOURCE}={source}"}
    answer = session.client.get(path("jobs"), query)
    known = decode(answer, list[Job], session.client.caller)
    kept = {piece.key for piece in pieces}
    return [job for job in known if (job.namespace, job.name) not in kept]


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def _show(pieces: Sequence[Piece], stale: Sequence[Job], scope: Scope, source: str | None) -> None:
    for piece in pieces:
        warn(piece.plan.warnings)
        for row in piece.plan.diff:
            if row.path == f'meta["{SOURCE}"]' and row.from_ not in (None, source):
                output.note(
                    f"warning: {piece.key[1]} was applied by source {row.from_}, and is {source}'s from here on"
                )
    if scope.output != "table":
        return
    for piece in pieces:
        output.patch([*plans.lines(piece.plan)] if piece.plan.moves else [plans.headline(piece.plan)])
        output.lines([""] if piece.plan.moves else [])
    output.patch([f"- {_label(job)}: to be deleted; {source} applied it, and has no file for it" for job in stale])
    pruned = f", {len(stale)} to delete" if stale else ""
    output.lines([plans.summary([piece.plan for piece in pieces]) + pruned])


def _label(job: Job) -> str:
    return job.name if job.namespace == "default" else f"{job.name} in {job.namespace}"


def _report(pieces: Sequence[Piece], stale: Sequence[Job], scope: Scope) -> None:
    if scope.output == "name":
        output.lines([piece.key[1] for piece in pieces])
    elif scope.output != "table":
        rows = [_row(piece) for piece in pieces]
        rows += [{"namespace": job.namespace, "name": job.name, "action": "delete"} for job in stale]
        output.dump(msgspec.json.encode(rows), scope.output)


def _row(piece: Piece) -> dict[str, object]:
    action = "none" if not piece.plan.moves else "change" if piece.plan.check_index else "create"
    return {
        "namespace": piece.key[0],
        "name": piece.key[1],
        "file": piece.judged.file.name,
        "action": action,
        "plan": msgspec.Raw(piece.told.raw) if piece.told else None,
        "result": msgspec.Raw(piece.made.raw) if piece.made else None,
        "outcome": piece.outcome,
    }


def _confirm(stale: Sequence[Job], *, yes: bool) -> None:
    if yes or not stale:
        return
    what = f"{counted(len(stale), 'job')} would be deleted: {', '.join(_label(job) for job in stale)}"
    if not sys.stdin.isatty():
        hints = ["see all of it: heroctl apply ... --dry-run", "to delete without being asked: heroctl apply ... --yes"]
        raise Fault(f"{what}; nothing has been done", hints=hints)
    sys.stderr.write(f"{output.clean(what)}. Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Fault("nothing has been done", hints=["without deleting: heroctl apply ..., without --prune"])


# ── what is done ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _carry_out(session: Session, pieces: Sequence[Piece], stale: Sequence[Job], *, patience: float | None) -> int:
    begun = [piece for piece in pieces if piece.plan.moves]
    for at, piece in enumerate(begun):
        try:
            query = {"check_index": piece.plan.check_index}
            piece.made = session.client.ask("POST", path("jobs"), query=query, json=piece.document)
        except Fault as fault:
            done = ", ".join(each.key[1] for each in begun[:at]) or "nothing"
            hints = [*fault.hints, "then run the same again: what is done stays done"]
            said = f"{piece.judged.file.name}: {fault.message} (submitted before it: {done})"
            raise Fault(said, hints=hints, facts=fault.facts, problems=fault.problems) from fault
    code = HEALTHY if patience is None else _wait(session, begun, patience)
    if code != HEALTHY and stale:
        output.note(f"{counted(len(stale), 'job')} not deleted, because not all went well")
    elif code == HEALTHY:
        _prune(session, stale)
    return code


def _wait(session: Session, begun: Sequence[Piece], patience: float) -> int:
    """Wait for all, one after the other: they go out side by side. Returns the worst of their ends."""
    from heroctl.cli.waiting import follow

    until, codes = time.monotonic() + patience, []
    for piece in begun:
        if piece.made is None:
            continue
        asked = awaited(session, decode(piece.made, Submitted, session.client.caller))
        if asked is None:
            piece.outcome = "waits to be launched"
            continue
        what = "its launch has ended" if asked.launch else "it is healthy"
        output.note(f"{asked.name} version {asked.version} is submitted; waiting until {what}")
        verdict = follow(session.client, asked, timeout=max(1.0, until - time.monotonic())).verdict
        _tell(verdict)
        piece.outcome = verdict.message
        codes.append(verdict.code)
    return FAILED if FAILED in codes else max(codes, default=HEALTHY)


def _tell(verdict: rollout.Verdict) -> None:
    if verdict.code == HEALTHY:
        output.note(verdict.message)
        for hint in verdict.hints:
            output.note(f"next: {hint}")
        return
    output.fault(
        Fault(verdict.message, facts=verdict.facts, problems=verdict.problems, hints=verdict.hints, code=verdict.code)
    )


def _prune(session: Session, stale: Sequence[Job]) -> None:
    for job in stale:
        query: Query = {"namespace": job.namespace, "check_index": job.spec_index}
        session.client.ask("DELETE", path("jobs", job.name), query=query)
        output.note(f"{_label(job)} is deleted; its replicas stop")
