"""`heroctl namespace`: spaces for names of jobs, each with rights of its own."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from heroctl.cli.acl import tell
from heroctl.cli.acl_shapes import Namespace
from heroctl.cli.client import path
from heroctl.cli.options import ACCESS, Access, Watch
from heroctl.cli.output import Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session

app = App(name="namespace")

Name = Annotated[str, Parameter(help="Its name.")]
Description = Annotated[str, Parameter(metavar="TEXT", help="What it is for.")]


@app.command(name="list")
def list_namespaces(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """List the namespaces that you may see."""
    read(
        access, Page(path("namespaces"), list[Namespace], _grid, lambda all_: [each.name for each in all_]), watch=watch
    )


@app.command
def create(name: Name, /, *, description: Description = "", access: Access = ACCESS) -> None:
    """Make a namespace."""
    with Session(access) as session:
        answer = session.client.ask("POST", path("namespaces"), json={"name": name, "description": description})
    tell(access, answer, f"namespace {name} is made", name)


@app.command
def update(name: Name, /, *, description: Description, access: Access = ACCESS) -> None:
    """Describe a namespace anew."""
    with Session(access) as session:
        answer = session.client.ask("PUT", path("namespaces", name), json={"description": description})
    tell(access, answer, f"namespace {name} is changed", name)


@app.command
def delete(name: Name, /, *, access: Access = ACCESS) -> None:
    """Remove a namespace without jobs."""
    with Session(access) as session:
        answer = session.client.ask("DELETE", path("namespaces", name))
    tell(access, answer, f"namespace {name} is removed", name)


def _grid(namespaces: list[Namespace]) -> Sheet:
    rows = [(each.name, each.description, each.created_at) for each in namespaces]
    return [Grid(("NAME", "DESCRIPTION", "CREATED"), rows)]
