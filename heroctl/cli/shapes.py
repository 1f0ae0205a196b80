"""What the API answers, as far as the command line looks at it.

Fields it does not know are passed over; what an older API leaves out has a default.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Raw, Struct, field

from heroctl.cli.faults import Problem

Text = str | None


class TaskState(Struct, frozen=True):
    """How a task of a job stands."""

    name: str
    driver: str = ""
    image: Text = None
    digest: Text = None
    secrets: dict[str, int | None] = field(default_factory=dict)
    desired: int = 0
    running: int = 0
    healthy: int = 0


class DeploymentRef(Struct, frozen=True):
    """The deployment a job refers to."""

    id: str
    status: str = ""


class LaunchRef(Struct, frozen=True):
    """The newest launch of a batch job."""

    number: int
    status: str = ""


class Replicas(Struct, frozen=True):
    """How the replicas of a launch are."""

    pending: int = 0
    running: int = 0
    stopping: int = 0
    complete: int = 0
    failed: int = 0


class Launch(Struct, frozen=True):
    """One run of a batch job."""

    number: int
    version: int = 0
    kind: str = ""
    by: str = ""
    status: str = ""
    reason: str = ""
    scheduled_at: datetime | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    allocations: Replicas = Replicas()
    skipped: int = 0


class Job(Struct, frozen=True):
    """A job, as lists and its own page have it."""

    name: str
    namespace: str = "default"
    type: str = "service"
    status: str = ""
    version: int = 0
    priority: int = 50
    tasks: tuple[TaskState, ...] = ()
    deployment: DeploymentRef | None = None
    launch: LaunchRef | None = None
    next_launch_at: datetime | None = None
    blocked: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    stable_version: int | None = None
    spec_index: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Submitted(Struct, frozen=True):
    """The answer to a submit or a stop."""

    name: str = ""
    namespace: str = "default"
    version: int = 0
    index: int = 0
    deployment_id: Text = None
    launch: int | None = None
    warnings: tuple[Problem | str, ...] = ()


class HostPort(Struct, frozen=True):
    """A port of an allocation."""

    host: int | None = None
    container: int | None = None


class Step(Struct, frozen=True):
    """A line of an allocation's timeline."""

    index: int = 0
    time: datetime | None = None
    event: str = ""
    message: str = ""


class Allocation(Struct, frozen=True):
    """A replica on a node."""

    id: str
    job: str = ""
    namespace: str = "default"
    task: str = ""
    slot: int = 0
    version: int = 0
    node: Text = None
    status: str = ""
    wanted: str = ""
    health: str = "unknown"
    attempt: int = 0
    deployment: Text = None
    launch: int | None = None
    ports: dict[str, HostPort] = field(default_factory=dict)
    address: Text = None
    exit_code: int | None = None
    oom: bool = False
    reason: Text = None
    message: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    timeline: tuple[Step, ...] = ()


class Amount(Struct, frozen=True):
    """How much of something a node has, has promised and uses: cores or bytes."""

    total: float = 0
    reserved: float = 0
    used: float | None = None


class Drain(Struct, frozen=True):
    """How far a drain is."""

    deadline: datetime | None = None
    remaining: int = 0
    started_at: datetime | None = None
    moved: int = 0
    stopped: int = 0


class Drained(Struct, frozen=True):
    """How a node's last drain ended."""

    started_at: datetime | None = None
    finished_at: datetime | None = None
    moved: int = 0
    stopped: int = 0


class Driver(Struct, frozen=True):
    """A runtime of a node."""

    healthy: bool = False
    version: Text = None


class Node(Struct, frozen=True):
    """A server that runs allocations."""

    id: str
    name: str = ""
    status: str = ""
    eligibility: str | bool = ""
    drain: Drain | None = None
    drained: Drained | None = None
    cpu: Amount = Amount()
    ram: Amount = Amount()
    disk: Amount = Amount()
    labels: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)
    drivers: dict[str, Driver] = field(default_factory=dict)
    address: Text = None
    version: Text = None
    allocations: int = 0
    unknown_containers: tuple[str, ...] = ()
    released_containers: tuple[str, ...] = ()
    last_seen_s: float | None = None


class Rollout(Struct, frozen=True):
    """How a task stands in a deployment."""

    desired: int = 0
    placed: int = 0
    healthy: int = 0
    unhealthy: int = 0
    canaries: int = 0
    promoted: bool = False


class Share(Struct, frozen=True):
    """What a version has of a task's traffic, in percent, or by a header's value."""

    version: int
    weight: int = 0
    header_value: Text = None


class Deployment(Struct, frozen=True):
    """A version of a job being rolled out."""

    id: str
    job: str = ""
    namespace: str = "default"
    version: int = 0
    previous_version: int | None = None
    status: str = ""
    reason: Text = None
    strategy: str = ""
    kind: str = "submit"
    step: int = 0
    steps: int = 0
    weights: tuple[int, ...] = ()
    awaiting: bool = False
    promoted: bool = False
    promoted_at: datetime | None = None
    revert_of: Text = None
    tasks: dict[str, Rollout] = field(default_factory=dict)
    traffic: dict[str, tuple[Share, ...]] = field(default_factory=dict)
    deadline: datetime | None = None
    created_at: datetime | None = None


class Check(Struct, frozen=True):
    """One thing the cluster looks at."""

    name: str
    ok: bool = True
    message: str = ""


class Counts(Struct, frozen=True):
    """How many nodes are in which state."""

    ready: int = 0
    down: int = 0
    draining: int = 0


class Cluster(Struct, frozen=True):
    """How the cluster is."""

    health: str = ""
    coordinator: Text = None
    epoch: int = 0
    members: int = 0
    index: int = 0
    version: str = ""
    incarnation: str = ""
    brake: bool | str | None = None
    brake_by: Text = None
    nodes: Counts = Counts()
    checks: tuple[Check, ...] = ()


class Record(Struct, frozen=True):
    """An event as it stands in the log."""

    index: int
    last: int
    time: datetime
    type: str
    schema: int = 1
    actor: str = ""
    request_id: str = ""
    address: str = ""
    data: Raw = Raw(b"null")
    opaque: Text = None
    chain: Text = None


class Audited(Struct, frozen=True):
    """Something that somebody did, or was refused."""

    id: str
    time: datetime
    type: str
    actor: str = ""
    address: str = ""
    outcome: str = ""
    summary: str = ""


class Happened(Struct, frozen=True):
    """An event, as it is told."""

    index: int
    id: str
    type: str
    time: datetime
    actor: str = ""
    topics: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


class RecordAppend(Struct, frozen=True):
    """An event, and what stands in one append with it."""

    event: Record
    first: int
    last: int
    events: tuple[Record, ...] = ()


class ProofLine(Struct, frozen=True):
    """A line of a check of the log: `progress`, `fault`, `verdict`, or `broken`, where there will be no verdict."""

    line: str
    checked: int = 0
    head: int = 0
    faults: int = 0
    ok: bool = False
    index: int = 0
    first: int = 0
    last: int = 0
    events: int = 0
    appends: int = 0
    marks: int = 0
    failed_appends: int = 0
    sound_after: int | None = None
    chain: str = ""
    code: str = ""
    problem: str = ""
    message: str = ""


class JoinToken(Struct, frozen=True):
    """A token with which one node may join."""

    token: Annotated[str, "shown once"]
    id: str = ""
    expires_at: Text = None
