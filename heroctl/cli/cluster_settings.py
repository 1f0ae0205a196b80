"""`heroctl cluster settings`: what an operator may change of the cluster while it runs."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter
from msgspec import Struct

from heroctl.cli import output
from heroctl.cli.client import path
from heroctl.cli.faults import Fault
from heroctl.cli.options import ACCESS, Access, Watch
from heroctl.cli.output import Facts, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session

settings = App(name="settings", help="Look at the settings of the cluster, and change them.")

_WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}

Pairs = Annotated[list[str], Parameter(metavar="KEY=VALUE", help="`placement=spread`, `preemption=off` …")]
CheckIndex = Annotated[int | None, Parameter(help="Only if the settings last changed at this index; 0: never.")]


class Settings(Struct, frozen=True):
    """As the API tells of them."""

    placement: str
    preemption: bool
    auto_rebalance: bool
    index: int


@settings.command
def get(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """Show the settings."""
    read(access, Page(path("cluster", "settings"), Settings, _sheet, lambda now: [f"index {now.index}"]), watch=watch)


def _sheet(now: Settings) -> Sheet:
    return [
        Facts(
            [
                ("placement", now.placement),
                ("preemption", _word(on=now.preemption)),
                ("auto_rebalance", _word(on=now.auto_rebalance)),
            ]
        )
    ]


def _word(*, on: bool) -> str:
    return "on" if on else "off"


@settings.command(name="set")
def change(pairs: Pairs, /, *, check_index: CheckIndex = None, access: Access = ACCESS) -> None:
    """Set some of them; the others stay as they are."""
    given = dict(_pair(pair) for pair in pairs)
    query = {} if check_index is None else {"check_index": str(check_index)}
    with Session(access) as session:
        answer = session.client.ask("PUT", path("cluster", "settings"), json=given, query=query)
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    elif access.output != "name":
        output.note(f"set: {', '.join(pairs)}")


def _pair(pair: str) -> tuple[str, Any]:
    key, equals, value = pair.partition("=")
    if not (key and equals):
        raise Fault(f"{pair!r} is no KEY=VALUE", hints=["heroctl cluster settings get lists the keys"])
    return key, _WORDS.get(value, value)
