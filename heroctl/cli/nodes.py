"""`heroctl node`: the servers that run allocations."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from heroctl.cli import output
from heroctl.cli.client import decode, path
from heroctl.cli.draining import drain, undrain
from heroctl.cli.faults import counted
from heroctl.cli.options import ACCESS, Access, At, Watch
from heroctl.cli.output import Facts, Grid, Sheet, size
from heroctl.cli.reading import Page, read
from heroctl.cli.session import Session
from heroctl.cli.shapes import Amount, JoinToken, Node

app = App(name="node")
app.command(drain)
app.command(undrain)

_ALLOWS: Final = "docker."  # begins the attributes in which an agent says what containers may reach there

Name = Annotated[str, Parameter(help="The node's name or id.")]


@app.command(name="list")
def list_nodes(*, watch: Watch = False, at: At = None, access: Access = ACCESS) -> None:
    """List the nodes."""
    page = Page(path("nodes"), list[Node], grid, lambda nodes: [node.name or node.id for node in nodes])
    read(access, page, watch=watch, at=at)


@app.command
def status(node: Name, /, *, watch: Watch = False, at: At = None, access: Access = ACCESS) -> None:
    """Show one node: its state, its capacity, its drivers and labels."""
    page = Page(path("nodes", node), Node, sheet, lambda one: [one.name or one.id])
    read(access, page, watch=watch, at=at)


@app.command
def eligibility(
    node: Name,
    want: Annotated[Literal["on", "off"], Parameter(help="on: it may get new allocations; off: it keeps what it has.")],
    /,
    *,
    access: Access = ACCESS,
) -> None:
    """Let a node get new allocations, or not."""
    with Session(access) as session:
        answer = session.client.ask("POST", path("nodes", node, "eligibility"), json={"eligible": want == "on"})
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    else:
        output.note(f"node {node} gets {'new' if want == 'on' else 'no new'} allocations")


@app.command
def release(
    node: Name,
    containers: Annotated[list[str] | None, Parameter(help="Which ones; all of them unless told.")] = None,
    /,
    *,
    access: Access = ACCESS,
) -> None:
    """Let a node stop containers of this cluster that nobody named: those it kept when the log was restored."""
    body = {"containers": containers} if containers else {}
    with Session(access) as session:
        answer = session.client.ask("POST", path("nodes", node, "unknown", "release"), json=body)
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    else:
        which = counted(len(containers), "unknown container") if containers else "all unknown containers"
        output.note(f"node {node} stops {which}: heroctl node status {node} --watch")


@app.command(name=("remove", "purge"))
def remove(node: Name, /, *, access: Access = ACCESS) -> None:
    """Remove a node for good: it stops everything, and what it ran is placed elsewhere."""
    with Session(access) as session:
        answer = session.client.ask("DELETE", path("nodes", node))
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
    else:
        output.note(f"node {node} is removed")


@app.command
def join_token(*, access: Access = ACCESS) -> None:
    """Make a token with which one node may join, once and soon. It is shown once."""
    with Session(access) as session:
        answer = session.client.ask("POST", path("cluster", "join-tokens"), json={})
    if access.output in ("json", "yaml"):
        output.dump(answer.raw, access.output)
        return
    made = decode(answer, JoinToken, session.client.caller)
    output.lines([made.token])
    until = f", until {made.expires_at}" if made.expires_at else ""
    address = session.client.caller.address
    output.note(f"good for one node{until}. On that node: heroctl agent --api {address} --join-token TOKEN")


def grid(nodes: list[Node]) -> Sheet:
    """Make the table of a list."""
    titles = ("NAME", "STATUS", "ELIGIBILITY", "CPU", "MEMORY", "ALLOCATIONS", "DRIVERS", "ADDRESS", "ID")
    rows = [
        (
            node.name,
            node.status,
            _eligibility(node),
            _share(node.cpu, "{:g}"),
            f"{size(node.ram.reserved)}/{size(node.ram.total)}",
            node.allocations,
            ",".join(name for name, driver in sorted(node.drivers.items()) if driver.healthy),
            node.address,
            node.id,
        )
        for node in nodes
    ]
    return [Grid(titles, rows)]


def sheet(node: Node) -> Sheet:
    """Make the page of one."""
    facts = Facts(
        [
            ("ID", node.id),
            ("Name", node.name),
            ("Status", node.status),
            ("Eligibility", _eligibility(node)),
            ("Drain", _drain(node)),
            ("Address", node.address),
            ("Version", node.version),
            ("Last seen", f"{node.last_seen_s:.0f}s ago" if node.last_seen_s is not None else ""),
            ("Allocations", node.allocations),
            *(("Unknown container", f"{each}{_released(node, each)}") for each in node.unknown_containers),
            *((f"Label {name}", value) for name, value in sorted(node.labels.items())),
            *((f"Allows {name}", value) for name, value in _allowed(node)),
        ]
    )
    amounts = [
        ("cpu", *(_number(value, "{:g}") for value in (node.cpu.total, node.cpu.reserved, node.cpu.used))),
        ("memory", size(node.ram.total), size(node.ram.reserved), _used(node.ram)),
        ("disk", size(node.disk.total), size(node.disk.reserved), _used(node.disk)),
    ]
    drivers = [(name, "yes" if d.healthy else "no", d.version) for name, d in sorted(node.drivers.items())]
    return [
        facts,
        Grid(("RESOURCE", "TOTAL", "RESERVED", "USED"), amounts),
        Grid(("DRIVER", "HEALTHY", "VERSION"), drivers),
    ]


def _drain(node: Node) -> str:
    """Say how far a drain is, or how the last one ended."""
    drain, last = node.drain, node.drained
    if drain is not None:
        until = f"until {drain.deadline:%Y-%m-%dT%H:%M:%SZ}" if drain.deadline is not None else "without a deadline"
        return f"{until}, {drain.remaining} left"
    if last is None:
        return ""
    forced = f", {last.stopped} stopped at the deadline" if last.stopped else ""
    return f"ended {last.finished_at:%Y-%m-%dT%H:%M:%SZ}, {last.moved} left in time{forced}"


def _released(node: Node, container: str) -> str:
    return " (released: it is being stopped)" if container in node.released_containers else ""


def _allowed(node: Node) -> list[tuple[str, str]]:
    """List what containers may reach there, as the agent says it."""
    said = sorted(node.attributes.items())
    return [(name.removeprefix(_ALLOWS), str(value)) for name, value in said if name.startswith(_ALLOWS)]


def _eligibility(node: Node) -> str:
    if isinstance(node.eligibility, bool):
        return "eligible" if node.eligibility else "ineligible"
    return node.eligibility


def _share(amount: Amount, form: str) -> str:
    return f"{form.format(amount.reserved)}/{form.format(amount.total)}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _used(amount: Amount) -> str:
    return "" if amount.used is None else size(amount.used)
