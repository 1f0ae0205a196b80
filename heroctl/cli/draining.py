"""`heroctl node drain` and `undrain`: a node is emptied, and who asked for it sees how far that is."""

from __future__ import annotations

import random
import time
from datetime import datetime
from typing import Annotated, Final

from cyclopts import Parameter
from msgspec import Struct

from heroctl.cli import output
from heroctl.cli.client import Answer, Client, decode, path
from heroctl.cli.faults import BLOCKED, FAILED, Fault, Problem, Refused, Unreachable, counted
from heroctl.cli.options import ACCESS, Access
from heroctl.cli.output import Grid
from heroctl.cli.session import Session
from heroctl.cli.shapes import Node
from heroctl.cli.submitting import Detach, warn
from heroctl.domain.duration import Duration

_PAUSE_S: Final = (0.25, 5.0)  # between two tries, first and at most
NONE: Final = "none"

Name = Annotated[str, Parameter(help="The node's name or id.")]
Deadline = Annotated[
    str | None,
    Parameter(
        metavar="DURATION",
        help="Stop what is left after so long, such as 5m; 0s: at once; none: never. An hour unless told.",
    ),
]
IgnoreSystem = Annotated[bool, Parameter(negative="", show_default=False, help="Leave what system jobs have there.")]
DryRun = Annotated[
    bool, Parameter(negative="", show_default=False, help="Show what would become of what is there; change nothing.")
]
Cancel = Annotated[bool, Parameter(negative="", show_default=False, help="The same as `node undrain`.")]
Ineligible = Annotated[bool, Parameter(negative="", show_default=False, help="Let nothing new come to it, even so.")]


class Share(Struct, frozen=True):
    """How many replicas a node would get."""

    node: str
    replicas: int = 0


class Leaving(Struct, frozen=True):
    """Replicas of a task that are to leave."""

    job: str
    namespace: str = ""
    task: str = ""
    replicas: int = 0
    nodes: tuple[Share, ...] = ()
    stays: int = 0
    why: str = ""
    reasons: tuple[str, ...] = ()


class Began(Struct, frozen=True):
    """When a drain began."""

    started_at: datetime | None = None


class Draining(Struct, frozen=True):
    """What the API answers to a drain."""

    id: str
    name: str = ""
    drain: Began | None = None
    replicas: int = 0
    moves: int = 0
    stays: int = 0
    jobs: tuple[Leaving, ...] = ()
    warnings: tuple[Problem, ...] = ()


def drain(
    node: Name,
    /,
    *,
    deadline: Deadline = None,
    ignore_system: IgnoreSystem = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    cancel: Cancel = False,
    access: Access = ACCESS,
) -> int:
    """Empty a node: nothing new comes to it, and what runs there moves to others, each started there before it stops.

    Asked again it gets a new deadline. It waits until the node is empty; to leave it before that ends nothing. With
    `--dry-run` it ends with 4 where something fits nowhere else.
    """
    if cancel:
        return undrain(node, access=access)
    body: dict[str, object] = {"ignore_system": ignore_system, "dry_run": dry_run}
    if deadline is not None:
        body["deadline_seconds"] = None if deadline == NONE else _seconds(deadline)
    with Session(access) as session:
        answer = session.client.ask("POST", path("nodes", node, "drain"), json=body)
        asked = decode(answer, Draining, session.client.caller)
        if access.output in ("json", "yaml"):
            output.dump(answer.raw, access.output)
        else:
            _show(asked, dry_run=dry_run)
        if dry_run:
            return BLOCKED if any(each.why in ("no_room", "volume") for each in asked.jobs) else 0
        if detach:
            return 0
        try:
            _follow(session.client, asked, answer)
        except KeyboardInterrupt:
            output.note(f"\nthe drain goes on without us: heroctl node status {asked.name} --watch")
            output.note(f"to end it: heroctl node undrain {asked.name}")
            raise
    return 0


def undrain(node: Name, /, *, keep_ineligible: Ineligible = False, access: Access = ACCESS) -> int:
    """End a drain before its time: what has not left the node stays there, and new allocations may come again."""
    query = {"eligible": "false"} if keep_ineligible else {}
    with Session(access) as session:
        before = decode(session.client.get(path("nodes", node)), Node, session.client.caller)
        answer = session.client.ask("DELETE", path("nodes", node, "drain"), query=query)
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    elif before.drain is None:
        gets = "" if before.eligibility == "eligible" else f"; to use it again: heroctl node eligibility {node} on"
        output.note(f"node {node} is not being drained{gets}")
    else:
        again = "gets no new allocations" if keep_ineligible else "gets new allocations again"
        output.note(f"node {node} is drained no more, and {again}")
    return 0


def _seconds(text: str) -> int:
    try:
        return round(Duration.parse(text).seconds)
    except ValueError as error:
        raise Fault(f"--deadline {text}: {error}", hints=["give one such as 90s, 5m or 1h; or none"]) from error


def _show(asked: Draining, *, dry_run: bool) -> None:
    """Say what becomes of what is there."""
    rows = [
        (each.job, each.namespace, each.task, each.replicas, _places(each), each.stays or "", _why(each))
        for each in asked.jobs
    ]
    if rows:
        output.show([Grid(("JOB", "NAMESPACE", "TASK", "REPLICAS", "TO", "STAY", "WHY"), rows)])
    warn(asked.warnings)
    if dry_run:
        output.note(f"{asked.moves} of {counted(asked.replicas, 'replica')} would move; nothing was changed")


def _places(each: Leaving) -> str:
    return ", ".join(share.node if share.replicas == 1 else f"{share.node} ({share.replicas})" for share in each.nodes)


def _why(each: Leaving) -> str:
    return "; ".join(each.reasons) or each.why.replace("_", " ")


def _follow(client: Client, asked: Draining, answer: Answer) -> None:
    """Tell how far it is until it is over."""
    began = asked.drain.started_at if asked.drain is not None else None
    start, told, index, pause = time.monotonic(), "", answer.index - 1, _PAUSE_S[0]
    while True:
        try:
            seen = client.poll(path("nodes", asked.id), index=max(index, 0))
        except (Unreachable, Refused) as fault:
            if isinstance(fault, Refused) and fault.status == 404:
                gone = f"node {asked.name} was removed while it was drained"
                raise Fault(gone, code=FAILED, hints=["heroctl job list"]) from fault
            if isinstance(fault, Refused) and fault.status != 429 and fault.status < 500:
                raise
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads retries, keeps no secret
            pause = min(pause * 2, _PAUSE_S[1])
            continue
        index, pause = seen.index, _PAUSE_S[0]
        node = decode(seen, Node, client.caller)
        if node.drain is None:
            _end(node, began)
            return
        said = _progress(node)
        if said != told:
            output.note(f"{time.monotonic() - start:6.1f}s  {said}")
            told = said


def _progress(node: Node) -> str:
    drain = node.drain
    if drain is None:
        return ""
    gone = f", {drain.moved + drain.stopped} gone" if drain.moved + drain.stopped else ""
    forced = f" ({drain.stopped} stopped at the deadline)" if drain.stopped else ""
    down = "; the node is down" if node.status == "down" else ""
    return f"{drain.remaining} left{gone}{forced}{down}"


def _end(node: Node, began: datetime | None) -> None:
    """Say how it ended: as it should, or because somebody cancelled it."""
    last = node.drained
    if last is None or (began is not None and last.started_at != began):
        hints = [f"heroctl node status {node.name}", "by whom: heroctl audit"]
        raise Fault(f"the drain of node {node.name} was cancelled", hints=hints, code=FAILED)
    forced = f", {last.stopped} had to be stopped at the deadline" if last.stopped else ""
    output.note(f"node {node.name} is empty: {counted(last.moved, 'allocation')} left in time{forced}")
    output.note(f"it gets nothing new until: heroctl node eligibility {node.name} on")
