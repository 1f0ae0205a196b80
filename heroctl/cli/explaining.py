"""`heroctl job explain`: why a job runs, or does not, slot by slot."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from heroctl.cli.client import Client, decode, path
from heroctl.cli.faults import Refused, Unreachable
from heroctl.cli.options import SCOPE, Name, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read

TIMEOUT_S: Final = 5.0


class Replica(Struct, frozen=True):
    """An allocation, as far as it explains anything."""

    id: str
    node: str = ""
    message: str = ""


class Slot(Struct, frozen=True):
    """A place for a replica, and what is to be said of it. `last`: who filled it before, where nobody does."""

    task: str
    slot: int = 0
    standing: str = ""
    words: str = ""
    alloc: Replica | None = None
    last: Replica | None = None


class Rolling(Struct, frozen=True):
    """What the newest deployment waits for."""

    id: str = ""
    status: str = ""
    words: str = ""


class Explained(Struct, frozen=True):
    """Why a job is as it is: in one sentence, and slot by slot."""

    summary: str = ""
    status: str = ""
    version: int = 0
    deployment: Rolling | None = None
    slots: tuple[Slot, ...] = ()
    left_out: int = 0


def explain(name: Name, /, *, watch: Watch = False, scope: Scope = SCOPE) -> None:
    """Say in plain words why a job runs, or does not: each replica, what holds it up, and when it is tried again."""
    page = Page(path("jobs", name, "explain"), Explained, _sheet, lambda one: [one.summary], in_namespace=True)
    read(scope, page, watch=watch)


def explained(client: Client, namespace: str, name: str) -> Explained | None:
    """Ask for the explanation of a job; None where there is none to be had at once: it must not hold up a wait."""
    try:
        where, query = path("jobs", name, "explain"), {"namespace": namespace}
        answer = client.ask("GET", where, query=query, timeout=TIMEOUT_S, patience=0.0)
        return decode(answer, Explained, client.caller)
    except (Refused, Unreachable):
        return None


def _sheet(one: Explained) -> Sheet:
    facts = Facts(
        [
            ("Summary", one.summary),
            ("Status", one.status),
            ("Version", one.version),
            ("Deployment", f"{one.deployment.id[:8]}: {one.deployment.words}" if one.deployment else ""),
            ("Left out", f"{one.left_out} replicas that are as they should be" if one.left_out else ""),
        ]
    )
    rows = []
    for each in one.slots:
        replica = f"{each.task}[{each.slot}]"
        rows.append((replica, each.standing.replace("_", " "), _id(each), each.words.removeprefix(f"{replica}: ")))
    return [facts, Grid(("REPLICA", "STANDING", "ALLOCATION", "WHY"), rows)]


def _id(slot: Slot) -> str:
    replica = slot.alloc or slot.last
    return replica.id[:8] if replica is not None else ""
