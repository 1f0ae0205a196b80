"""`heroctl service`: where the healthy replicas of jobs take connections."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from msgspec import Struct

from heroctl.cli.client import path
from heroctl.cli.options import SCOPE, Scope, Watch
from heroctl.cli.output import Grid, Sheet
from heroctl.cli.reading import Page, read

app = App(name="service")


class Instance(Struct, frozen=True):
    """One healthy replica."""

    alloc: str
    node: str = ""
    address: str = ""
    port: int = 0
    version: int = 0


class Service(Struct, frozen=True):
    """A port of a task, and who offers it."""

    job: str
    namespace: str
    task: str
    port: str
    instances: list[Instance] = []

    @property
    def name(self) -> str:
        """The name that stands in a spec, between `${service.` and `}`."""
        return f"{self.job}.{self.task}.{self.port}"


@app.command(name="list")
def list_services(
    job: Annotated[str | None, Parameter(help="Only this job's.")] = None,
    /,
    *,
    watch: Watch = False,
    scope: Scope = SCOPE,
) -> None:
    """List services, and where each is found: at its healthy replicas."""
    where = path("services") if job is None else path("services", job)
    read(scope, Page(where, list[Service], _grid, lambda all_: [each.name for each in all_], None, True), watch=watch)


def _grid(services: list[Service]) -> Sheet:
    rows: list[tuple[str | int | None, ...]] = []
    for each in services:
        found = [_row(one) for one in each.instances]
        rows += [(each.name, each.namespace, *row) for row in found or [("none healthy", None, None, None)]]
    return [Grid(("SERVICE", "NAMESPACE", "ADDRESS", "NODE", "VERSION", "ALLOCATION"), rows)]


def _row(one: Instance) -> tuple[str | int | None, ...]:
    host = f"[{one.address}]" if ":" in one.address else one.address
    return f"{host}:{one.port}", one.node, one.version, one.alloc
