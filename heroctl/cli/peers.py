"""`heroctl cluster peers`: the processes of the control plane; and who of them coordinates from now on."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from msgspec import Struct

from heroctl.cli import output
from heroctl.cli.client import decode, path
from heroctl.cli.options import ACCESS, Access, Watch
from heroctl.cli.output import Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session


class Peer(Struct, frozen=True):
    """A process, as the API tells of it."""

    id: str
    role: str = ""
    address: str = ""
    version: str = ""
    coordinator: bool = False
    outdated: bool = False
    index: int = 0
    lag: int = 0
    last_seen_s: int = 0


class Transferred(Struct, frozen=True):
    """Who coordinates, and who did."""

    coordinator: str
    previous: str = ""
    epoch: int = 0


def peers(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """List the processes of the control plane: which coordinates, and how far each has read the log."""
    read(
        access, Page(path("cluster", "peers"), list[Peer], _grid, lambda all_: [each.id for each in all_]), watch=watch
    )


def _grid(all_: list[Peer]) -> Sheet:
    heads = ("ID", "ROLE", "ADDRESS", "VERSION", "COORDINATES", "INDEX", "LAG", "SEEN")
    return [Grid(heads, [_row(each) for each in all_])]


def _row(peer: Peer) -> tuple[str | int | None, ...]:
    version = f"{peer.version} (outdated)" if peer.outdated else peer.version
    coordinates = "yes" if peer.coordinator else ""
    return peer.id, peer.role, peer.address, version, coordinates, peer.index, peer.lag, f"{peer.last_seen_s}s ago"


def transfer(
    target: Annotated[
        str | None, Parameter(help="Id, its beginning, or address of a reconciler; the one heard of last by default.")
    ] = None,
    /,
    *,
    access: Access = ACCESS,
) -> None:
    """Let another reconciler coordinate, from now on: before its server is worked upon, for one.

    Nothing that was decided is lost, and nothing is decided twice.
    """
    body = {} if target is None else {"target": target}
    with Session(access) as session:
        answer = session.client.ask("POST", path("raft", "transfer-leadership"), json=body)
        now = decode(answer, Transferred, session.client.caller)
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    elif access.output == "name":
        output.lines([now.coordinator])
    elif now.coordinator == now.previous:
        output.note(f"{now.coordinator} coordinates already")
    else:
        output.note(f"{now.coordinator} coordinates now (epoch {now.epoch}), after {now.previous}")
