"""The shapes of answers. Clients may count on every field; more may follow, none is taken away.

Times are RFC 3339 in UTC, sizes in bytes, cpu in cores; `node` is a node's name wherever it stands in another thing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from api.launch_shapes import LaunchRef
from heroctl.domain.diff import Difference
from heroctl.domain.errors import Problem
from heroctl.domain.lifecycle import (
    AllocationStatus,
    DeploymentKind,
    DeploymentStatus,
    Health,
    JobStatus,
    Wanted,
)

# A spec in its canonical JSON, which is kept and sent as it is.
Spec = Annotated[msgspec.Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Job"})]


class Refused(Struct, frozen=True):
    """Every «no»: a stable code, prose for people, and what is wrong with which field, if anything is."""

    error: str
    message: str
    request_id: str
    details: list[Problem] | msgspec.UnsetType = msgspec.UNSET


class Healthy(Struct, frozen=True):
    """How a process is; `degraded`: reads go on from memory, without the log."""

    status: Literal["ok", "degraded"]


class TaskState(Struct, frozen=True, gc=False):
    """A task of a job: what is wanted, and how much of it is there. `digest`: what its image's name stands for.

    `secrets`: those that its present version was made with, and which version of each; null: there was none.
    """

    name: str
    driver: str
    image: str | None
    digest: str | None
    secrets: dict[str, int | None]
    desired: int
    running: int
    healthy: int


class DeploymentRef(Struct, frozen=True, gc=False):
    """A job's newest deployment."""

    id: str
    status: DeploymentStatus


class JobItem(Struct, frozen=True, gc=False):
    """A job as it stands in a list."""

    name: str
    namespace: str
    type: str
    status: JobStatus
    version: int
    priority: int
    tasks: list[TaskState]
    deployment: DeploymentRef | None
    launch: LaunchRef | None
    next_launch_at: str | None
    blocked: tuple[str, ...]
    created_at: str
    updated_at: str
    create_index: int
    modify_index: int
    spec_index: int


class JobDetail(JobItem, frozen=True, gc=False):
    """A job by itself."""

    spec: Spec
    meta: dict[str, str]
    stable_version: int | None


class VersionItem(Struct, frozen=True, gc=False):
    """A version of a job. `kind`: what made it; `of`: the version that it repeats; `images`: their digests, by task.

    `secrets`: those it was made with, by task, and which version of each; null: there was none.
    """

    version: int
    kind: DeploymentKind
    of: int | None
    images: dict[str, str]
    secrets: dict[str, dict[str, int | None]]
    spec: Spec
    meta: dict[str, str]
    by: str
    created_at: str
    stable: bool
    index: int


class VersionsDiff(Struct, frozen=True, gc=False):
    """What is different between the specs of two versions of a job, every default filled in. `from` null: nothing.

    So is told which versions of secrets their tasks were made with, as `tasks[].secrets`.
    """

    from_: int | None = msgspec.field(name="from")
    to: int
    diff: list[Difference]


class Submitted(Struct, frozen=True):
    """What became of a job that was posted, rolled back, scaled, restarted or dispatched.

    A service has a deployment then; a batch job has none, and, if something runs that did not before, a launch.
    """

    name: str
    namespace: str
    version: int
    index: int
    deployment_id: str
    launch: int | None
    warnings: list[Problem]


class Judged(Struct, frozen=True):
    """What a spec is worth; a valid one has no problems, and may have warnings."""

    valid: bool
    problems: list[Problem]
    warnings: list[Problem]


class Written(Struct, frozen=True):
    """What was written, at which index; where to watch is said by the name or id."""

    index: int
    name: str | msgspec.UnsetType = msgspec.UNSET
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET
    warnings: list[Problem] | msgspec.UnsetType = msgspec.UNSET


class PortMap(Struct, frozen=True, gc=False):
    """Where a port of an allocation is reached: on the node, and within its container."""

    host: int
    container: int | None


class TimelineLine(Struct, frozen=True, gc=False):
    """Something that happened to an allocation."""

    index: int
    time: str
    event: str
    message: str


class AllocationItem(Struct, frozen=True, gc=False):
    """An allocation as it stands in a list."""

    id: str
    job: str
    namespace: str
    task: str
    slot: int
    version: int
    node: str
    status: AllocationStatus
    wanted: Wanted
    health: Health
    attempt: int
    deployment: str
    launch: int | None
    ports: dict[str, PortMap]
    address: str
    exit_code: int | None
    oom: bool
    reason: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    create_index: int
    modify_index: int


class AllocationDetail(AllocationItem, frozen=True, gc=False):
    """An allocation by itself."""

    message: str
    container: str
    timeline: list[TimelineLine]


class TaskRollout(Struct, frozen=True, gc=False):
    """A task within a deployment. `canaries`: new replicas beside the old, until the task is promoted."""

    desired: int
    placed: int
    healthy: int
    unhealthy: int
    canaries: int
    promoted: bool


class DeploymentItem(Struct, frozen=True, gc=False):
    """A deployment. It stands at `step` of `steps`: replicas that are healthy; of a canary, shares of the traffic.

    `weights`: those shares, in percent. `awaiting`: what goes before the promotion stands, so that it may be promoted.
    `revert_of`: the failed deployment that this is the way back from. `deadline`: it fails unless another replica is
    healthy before; null where no clock runs.
    """

    id: str
    job: str
    namespace: str
    version: int
    previous_version: int | None
    status: DeploymentStatus
    reason: str
    strategy: str
    kind: DeploymentKind
    step: int
    steps: int
    weights: tuple[int, ...]
    awaiting: bool
    promoted: bool
    promoted_at: str | None
    revert_of: str | None
    tasks: dict[str, TaskRollout]
    deadline: str | None
    created_at: str
    create_index: int
    modify_index: int


class TrafficShare(Struct, frozen=True, gc=False):
    """What a version has of a task's traffic, in percent; `header_value`: what chooses it, where one can be chosen."""

    version: int
    weight: int
    header_value: str | None


class DeploymentDetail(DeploymentItem, frozen=True, gc=False):
    """A deployment by itself. `traffic`: by task, the present version first; of the job's present deployment only."""

    traffic: dict[str, list[TrafficShare]]


_ENCODER = msgspec.json.Encoder()


def encode(value: Any) -> bytes:  # noqa: ANN401 - any shape of this file
    """Write a shape as JSON."""
    return _ENCODER.encode(value)


def stamp(ms: int) -> str:
    """Write a time given in ms since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def stamp_or_none(ms: int | None) -> str | None:
    """Write a time that may not have come yet."""
    return None if ms is None else stamp(ms)


def whole_stamp(seconds: int) -> str:
    """Write a time given in whole seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def joined(items: list[bytes]) -> bytes:
    """Make one JSON array of items that are encoded already."""
    return b"[" + b",".join(items) + b"]"
