"""`heroctl status`, how the cluster is, and `heroctl cluster`, what is set for all of it."""

from __future__ import annotations

from cyclopts import App

from heroctl.cli.client import path
from heroctl.cli.cluster_settings import settings
from heroctl.cli.options import ACCESS, Access, Watch
from heroctl.cli.output import Facts, Grid, Sheet
from heroctl.cli.reading import Page, read
from heroctl.cli.shapes import Cluster

app = App(name="cluster")
app.command(settings)


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
            ("Brake", "on" if cluster.brake else ""),
            ("Version", cluster.version),
        ]
    )
    checks = [(check.name, "ok" if check.ok else "failed", check.message) for check in cluster.checks]
    return [facts, Grid(("CHECK", "STATUS", "MESSAGE"), checks)] if checks else [facts]
