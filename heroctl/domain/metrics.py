"""What is measured of nodes and allocations: names, units, and where each stands in a sample.

A sample is one value for each of `METRICS`, in that order, NaN where there is none. The order is that of rows in the
database: a new metric goes to the end, and none ever leaves its place.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Kind = Literal["node", "alloc"]

STEP: Final = 10  # seconds between two samples of the same thing
NONE: Final = float("nan")


class Metric(Struct, frozen=True):
    """Something that is measured. `of`: the kinds of things that have it."""

    name: str
    unit: Literal["cores", "percent", "bytes", "bytes/s", "count", "load", "seconds"]
    help: str
    of: tuple[Kind, ...] = ("node", "alloc")

    @property
    def digits(self) -> int:
        """How many digits after the point are worth telling."""
        return {"cores": 4, "percent": 2, "load": 2}.get(self.unit, 0)


METRICS: Final = (
    Metric("cpu", "cores", "Processors in use"),
    Metric("cpu_percent", "percent", "Of a node: share of its processors in use; of an allocation: of what it may use"),
    Metric("memory", "bytes", "Memory in use, without what the kernel would give back"),
    Metric("memory_percent", "percent", "Of a node: share of its memory; of an allocation: of what it may use"),
    Metric("network_in", "bytes/s", "Received over networks other than loopback"),
    Metric("network_out", "bytes/s", "Sent over networks other than loopback"),
    Metric("disk_read", "bytes/s", "Read from disks"),
    Metric("disk_write", "bytes/s", "Written to disks"),
    Metric("restarts", "count", "Attempts that were begun after the first one", ("alloc",)),
    Metric("disk", "bytes", "Disk in use, where the agent keeps its data", ("node",)),
    Metric("disk_percent", "percent", "Share of that disk in use", ("node",)),
    Metric("load", "load", "Tasks that run or wait, over the last minute", ("node",)),
    Metric("uptime", "seconds", "Since the machine was started", ("node",)),
    Metric("forward_dropped", "count", "Lines that were not taken by what logs are forwarded to", ("node",)),
)
PLACES: Final[dict[str, int]] = {metric.name: place for place, metric in enumerate(METRICS)}


def row(values: dict[str, float]) -> list[float]:
    """Put values in their places; names that this release does not know are passed over."""
    return [values.get(metric.name, NONE) for metric in METRICS]
