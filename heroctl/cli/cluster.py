"""`heroctl status`, how the cluster is, and `heroctl cluster`, the same, who runs it, and what is set for all of it."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.client import path
from heroctl.cli.cluster_settings import settings
from heroctl.cli.loglevel import loglevel
from heroctl.cli.options import ACCESS, Access, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.peers import peers, transfer
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session
from heroctl.cli.shapes import Cluster

app = App(name="cluster")
app.command(settings)
app.command(peers)
app.command(loglevel)
app.command(transfer)


@app.command
def brake(
    want: Annotated[
        Literal["on", "off"], Parameter(help="on: what is on nodes that are down is not replaced; off: it is again.")
    ],
    /,
    *,
    access: Access = ACCESS,
) -> None:
    """Hold the replacement of what is on nodes that are down, or let it go.

    The cluster does so by itself when most nodes vanish at once: `off` tells it that they are really gone. What is put
    on by hand stays on until it is let go by hand.
    """
    with Session(access) as session:
        answer = session.client.ask("POST", path("cluster", "brake"), json={"on": want == "on"})
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    else:
        does = "is not replaced until it is let go" if want == "on" else "is replaced again"
        output.note(f"brake {want}: what is on nodes that are down {does}; heroctl status")


@app.command
def status(*, watch: Watch = False, access: Access = ACCESS) -> None:
    """Show how the cluster is: its coordinator, its members, its nodes and what it checks."""
    page = Page(path("cluster", "status"), Cluster, sheet, lambda cluster: [cluster.incarnation or cluster.health])
    read(access, page, watch=watch)


def sheet(cluster: Cluster) -> Sheet:
    """Make the table."""
    nodes = cluster.nodes
    facts = Facts(
        [
            ("Health", cluster.health),
            ("Coordinator", cluster.coordinator or "none"),
            ("Epoch", cluster.epoch),
            ("Members", cluster.members),
            ("Nodes", f"{nodes.ready} ready, {nodes.down} down, {nodes.draining} draining"),
            ("Index", cluster.index),
            ("Brake", f"on, by the {cluster.brake_by or 'coordinator'}" if cluster.brake else ""),
            ("Version", cluster.version),
        ]
    )
    checks = [(check.name, "ok" if check.ok else "failed", check.message) for check in cluster.checks]
    return [facts, Grid(("CHECK", "STATUS", "MESSAGE"), checks)] if checks else [facts]
