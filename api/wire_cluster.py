"""Shapes of the cluster itself in JSON: nodes, members, its status, its log. Clients count on every field."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from heroctl.domain.lifecycle import (
    NodeStatus,
)


class Amount(Struct, frozen=True, gc=False):
    """Of one resource: what the node has, what allocations reserve, what its agent measured last (0: not yet)."""

    total: float
    reserved: float
    used: float


class DriverState(Struct, frozen=True, gc=False):
    """A runtime of a node."""

    healthy: bool
    version: str


class NodeDrain(Struct, frozen=True, gc=False):
    """A drain under way. `remaining`: allocations that have yet to leave; `deadline` null: they are never forced.

    `moved`: those that have left; `stopped`: those that were stopped at the deadline.
    """

    deadline: str | None
    remaining: int
    started_at: str
    moved: int
    stopped: int
    ignore_system: bool


class NodeDrained(Struct, frozen=True, gc=False):
    """How a node's last drain ended: so many allocations left in time, and so many were stopped at its deadline."""

    started_at: str
    finished_at: str
    moved: int
    stopped: int


class NodeItem(Struct, frozen=True, gc=False):
    """A node. `last_seen_s`: seconds since this process saw it beat; null: not since the process started.

    `unknown_containers` are of this cluster, and nobody named them; of those released, the agent stops what is there.
    """

    id: str
    name: str
    status: NodeStatus
    eligibility: str
    drain: NodeDrain | None
    drained: NodeDrained | None
    cpu: Amount
    ram: Amount
    disk: Amount
    labels: dict[str, str]
    attributes: dict[str, str]
    drivers: dict[str, DriverState]
    address: str
    version: str
    allocations: int
    unknown_containers: tuple[str, ...]
    released_containers: tuple[str, ...]
    last_seen_s: int | None
    create_index: int
    modify_index: int


class NodeCounts(Struct, frozen=True, gc=False):
    """How many nodes are in which state."""

    ready: int
    down: int
    draining: int


class Check(Struct, frozen=True, gc=False):
    """One thing that is looked at to say how the cluster is."""

    name: str
    ok: bool
    message: str


class ClusterStatus(Struct, frozen=True, gc=False):
    """How the cluster is, by what this process knows."""

    health: str
    coordinator: str | None
    epoch: int
    members: int
    index: int
    version: str
    level: int
    incarnation: str
    brake: bool
    brake_by: Literal["operator", "coordinator", ""]
    nodes: NodeCounts
    checks: list[Check]


class Peer(Struct, frozen=True, gc=False):
    """A process of the control plane. `lag`: events that its view is behind this one's.

    `level`: the greatest level of the log that its release can fold; `outdated`: the log is above it. `clock_skew_ms`:
    by how much its clock is ahead of the database's, null while it has not found out.
    """

    id: str
    role: str
    address: str
    version: str
    level: int
    outdated: bool
    coordinator: bool
    index: int
    lag: int
    last_seen_s: int
    clock_skew_ms: int | None


class LogRecord(Struct, frozen=True, gc=False):
    """An event as it stands in the log. What this release cannot read has its bytes in `opaque`, in base64."""

    index: int
    last: int  # index of the last event of its append, which is all or nothing
    time: str
    type: str
    schema: int
    actor: str
    request_id: str
    address: str
    data: msgspec.Raw | None
    opaque: str | None
    chain: str | None  # hash over everything up to here; on the last event of an append


class LogAppend(Struct, frozen=True, gc=False):
    """An event, and all that stands in one append with it."""

    event: LogRecord
    first: int
    last: int
    events: list[LogRecord]
