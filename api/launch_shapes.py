"""What is told of launches, the runs of batch jobs."""

from __future__ import annotations

from msgspec import Struct

from heroctl.domain.lifecycle import LaunchKind, LaunchStatus


class LaunchRef(Struct, frozen=True, gc=False):
    """A batch job's newest launch."""

    number: int
    status: LaunchStatus


class Replicas(Struct, frozen=True, gc=False):
    """How a launch's replicas are. `failed`: allocations, of which a replica may have had several."""

    pending: int
    running: int
    stopping: int
    complete: int
    failed: int


class LaunchItem(Struct, frozen=True, gc=False):
    """One run of a batch job. `kind`: what began it; `skipped`: scheduled times that were left out as it went on."""

    number: int
    version: int
    kind: LaunchKind
    by: str
    status: LaunchStatus
    reason: str
    scheduled_at: str | None
    created_at: str
    finished_at: str | None
    allocations: Replicas
    payload_bytes: int
    meta: dict[str, str]
    skipped: int
    skipped_at: str | None
    index: int
