"""`heroctl job explain`: why a job runs, or does not, slot by slot."""

from __future__ import annotations

from msgspec import Struct

from heroctl.cli.client import Client, decode, path
from heroctl.cli.faults import Refused, Unreachable
from heroctl.cli.options import SCOPE, Scope, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.submitting import Name


class Slot(Struct, frozen=True):
    """A place for a replica, and what is to be said of it."""

    task: str
    slot: int = 0
    words: str = ""


class Explained(Struct, frozen=True):
    """Why a job is as it is: in one sentence, and slot by slot."""

    summary: str = ""
    slots: tuple[Slot, ...] = ()


def explain(name: Name, /, *, watch: Watch = False, scope: Scope = SCOPE) -> None:
    """Say in plain words why a job runs, or does not: each replica, what holds it up, and when it is tried again."""
    page = Page(path("jobs", name, "explain"), Explained, _sheet, lambda one: [one.summary], in_namespace=True)
    read(scope, page, watch=watch)


def explained(client: Client, namespace: str, name: str) -> Explained | None:
    """Ask for the explanation of a job; None where there is none to be had."""
    try:
        answer = client.get(path("jobs", name, "explain"), {"namespace": namespace})
        return decode(answer, Explained, client.caller)
    except (Refused, Unreachable):
        return None


def _sheet(one: Explained) -> Sheet:
    rows = [(f"{each.task}[{each.slot}]", each.words) for each in one.slots]
    return [Facts([("Summary", one.summary)]), Grid(("REPLICA", "WHY"), rows)]
