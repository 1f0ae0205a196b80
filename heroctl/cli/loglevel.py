"""`heroctl cluster loglevel`: from which level on the cluster's processes write lines of their logs."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from msgspec import Struct

from heroctl.cli import output
from heroctl.cli.client import path
from heroctl.cli.faults import Fault
from heroctl.cli.options import ACCESS, Access
from heroctl.cli.output import Facts, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session

_OWN = "as each was told at its start"


class Levels(Struct, frozen=True):
    """As the API tells of them."""

    level: str | None = None
    api: str | None = None
    reconciler: str | None = None
    agent: str | None = None


def loglevel(
    level: Annotated[
        Literal["debug", "info", "warning", "error", "default"] | None,
        Parameter(help="From which on lines are written; default: as each process was told at its start."),
    ] = None,
    /,
    *,
    role: Annotated[
        Literal["api", "reconciler", "agent"] | None, Parameter(help="Only of these processes; all of them by default.")
    ] = None,
    access: Access = ACCESS,
) -> None:
    """Show from which level on processes write lines of their logs, or change it while they run.

    All processes follow within seconds. What is asked of all is in place of what was asked of one role before.
    """
    if level is None:
        if role is not None:
            raise Fault("--role needs a level", hints=[f"for example: heroctl cluster loglevel debug --role {role}"])
        return read(access, Page(path("cluster", "loglevel"), Levels, _sheet, lambda now: [now.level or "default"]))
    body = {"level": None if level == "default" else level, "role": role}
    with Session(access) as session:
        answer = session.client.ask("PUT", path("cluster", "loglevel"), json=body)
    if access.output in ("json", "yaml"):
        return output.dump(answer.raw, access.output)
    whose = f"every {role}" if role else "every process"
    return output.note(f"{whose} logs {_OWN if level == 'default' else f'from {level} on'}, within seconds")


def _sheet(now: Levels) -> Sheet:
    rows = [("all", now.level or _OWN), ("api", now.api), ("reconciler", now.reconciler), ("agent", now.agent)]
    return [Facts(rows)]
