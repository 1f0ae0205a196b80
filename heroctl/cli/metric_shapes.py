"""What the API answers about metrics, as far as the command line looks at it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field


class Series(Struct, frozen=True):
    """One line."""

    labels: dict[str, str] = field(default_factory=dict)
    points: list[tuple[int, float]] = field(default_factory=list)


class Queried(Struct, frozen=True):
    """What was kept of a metric."""

    metric: str
    unit: str = ""
    step: int = 1
    series: list[Series] = field(default_factory=list)


class Usage(Struct, frozen=True):
    """Of one resource."""

    used: float | None = None
    limit: float | None = None
    percent: float | None = None


class Traffic(Struct, frozen=True):
    """Bytes a second."""

    network_in: float | None = None
    network_out: float | None = None
    disk_read: float | None = None
    disk_write: float | None = None


class AllocStats(Struct, frozen=True):
    """What an allocation uses."""

    alloc: str
    namespace: str = ""
    job: str = ""
    task: str = ""
    node: str = ""
    status: str = ""
    time: datetime | None = None
    cpu: Usage = Usage()
    memory: Usage = Usage()
    traffic: Traffic = Traffic()
    restarts: int = 0


class Total(Struct, frozen=True):
    """Of one resource, in all."""

    used: float = 0.0
    total: float = 0.0


class Counts(Struct, frozen=True):
    """Allocations."""

    running: int = 0
    pending: int = 0
    failed: int = 0


class NodeNow(Struct, frozen=True):
    """A node, as it was measured last."""

    name: str
    status: str = ""
    time: datetime | None = None
    cpu: Usage = Usage()
    mem: Usage = Usage()
    disk: Usage = Usage()
    network_in: float = 0.0
    network_out: float = 0.0
    load: float = 0.0
    uptime_s: float = 0.0
    allocations: int = 0


class Snapshot(Struct, frozen=True):
    """How things stand."""

    cpu: Total = Total()
    mem: Total = Total()
    allocs: Counts = Counts()
    nodes: list[NodeNow] = field(default_factory=list)
