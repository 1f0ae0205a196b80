"""Records: the things that a cluster is made of. They are frozen, and only `evolve` replaces one, as a whole."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from heroctl.domain.assignment import Capacity, Driver, ExecWish, SignalWish
from heroctl.domain.events import TaskSummary
from heroctl.domain.lifecycle import (
    ACTIVE_DEPLOYMENT,
    AllocationStatus,
    DeploymentKind,
    DeploymentStatus,
    Health,
    LaunchKind,
    LaunchStatus,
    NodeStatus,
    Phase,
    Wanted,
    allocation_status,
)
from heroctl.domain.spec import JobType, Strategy

QUARANTINED_AFTER: Final = 3  # plans that failed in a row


class Version(Struct, frozen=True, gc=False):
    """One distinct spec of a job, kept as its canonical JSON."""

    version: int
    spec: bytes
    tasks: tuple[TaskSummary, ...]
    by: str
    created_at: int
    index: int
    stable: bool = False
    strategy: Strategy = "rolling"
    kind: DeploymentKind = "submit"  # of what made it
    of: int | None = None  # the version that it repeats
    priority: int = 50
    type: JobType = "service"
    pinned: int = 0  # index as of which its secrets were looked at: one that changes after it makes another version

    def task(self, name: str) -> TaskSummary | None:
        """Find a task's summary by name."""
        for task in self.tasks:
            if task.name == name:
                return task
        return None


class Job(Struct, frozen=True, gc=False):
    """A job: its versions, and what a user last wanted of it."""

    uid: int
    namespace: str
    name: str
    versions: tuple[Version, ...]  # oldest first; the last is the present one
    deployment: str  # the newest deployment's id; "": it is launched, and never rolled out
    created_at: int
    updated_at: int
    create_index: int
    modify_index: int
    spec_index: int
    next_n: int = 1  # number of its next allocation
    stopped: bool = False
    deleted: bool = False
    blocked: tuple[str, ...] = ()
    plan_failures: int = 0  # in a row, under `plan_release`; the next intent on the job clears them
    plan_release: str = ""
    renewed: int = 0  # index of the last restart: replicas placed before it are outdated
    launched: int = 0  # number of its newest launch
    scheduled: int = 0  # ms: up to here the clock has launched what it was to, or left it out
    rebalance: int = 0  # index of the event since which replicas move to better nodes; 0: they stay
    rebalanced: int = 0  # index of the event with which that ended last

    def quarantined(self, release: str) -> bool:
        """Tell whether a release has failed so often to plan it that it leaves the job alone."""
        return self.plan_failures >= QUARANTINED_AFTER and self.plan_release == release

    @property
    def current(self) -> Version:
        """The version that is wanted."""
        return self.versions[-1]

    @property
    def type(self) -> JobType:
        """What kind of job it is; all its versions are of one."""
        return self.current.type

    @property
    def wanted(self) -> bool:
        """Whether any replica should run at all."""
        return not (self.stopped or self.deleted)

    def version(self, number: int) -> Version | None:
        """Find a kept version by number."""
        for version in reversed(self.versions):
            if version.version == number:
                return version
        return None

    @property
    def stable(self) -> Version | None:
        """The newest version whose deployment was successful."""
        for version in reversed(self.versions):
            if version.stable:
                return version
        return None


class Launch(Struct, frozen=True, gc=False):
    """One run of a batch job to its end: of which version, what began it, and what it was given."""

    number: int
    version: int
    kind: LaunchKind
    by: str
    created_at: int
    index: int  # of the event that began it
    scheduled_at: int | None = None  # ms
    payload: bytes = b""  # forgotten when it is over
    size: int = 0  # of the payload
    meta: tuple[tuple[str, str], ...] = ()
    status: LaunchStatus = "running"
    reason: str = ""
    finished_at: int | None = None
    complete: int = 0  # replicas that ended well
    failed: int = 0  # and allocations that did not
    skipped: int = 0  # scheduled times that were left out while it went on
    skipped_at: int | None = None  # the last of them

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.status == "running"


class Alloc(Struct, frozen=True, gc=False):
    """The placement of one slot on one node. Wanted is the coordinator's, observed the agent's, given up final."""

    id: str
    uid: int
    n: int
    namespace: str
    job: str
    task: str
    slot: int
    version: int
    content: str
    node: str
    cpu: int  # thousandths of a core
    memory: int
    disk: int
    host_ports: tuple[int, ...]
    deployment: str
    replaces: str
    reschedules: int
    created_at: int
    create_index: int
    modify_index: int
    assign_index: int
    wanted: Wanted = "run"
    why: str = ""  # why it is wanted stopped
    stop_requested: bool = False
    misplaced: bool = False  # it is to run on another node; so is all that is on a node that is drained
    given_up: bool = False
    attempt: int = 0
    phase: Phase = "pending"
    health: Health = "unknown"
    restarts: int = 0
    exit_code: int | None = None
    oom: bool = False
    failed_attempt: int = 0
    reason: str = ""
    message: str = ""
    launch: int = 0  # of a batch job: number of the launch that it is of
    ports: tuple[tuple[str, int], ...] = ()
    address: str = ""
    container: str = ""
    image: str = ""  # what its image's tag stood for when it was last started, as far as its agent knew
    started_at: int | None = None
    healthy_since: int | None = None
    first_healthy_at: int | None = None  # whatever became of it since
    finished_at: int | None = None
    timeline: tuple[tuple[int, int, str, str], ...] = ()  # (index, time, event, message), newest last
    topics: tuple[str, ...] = ()  # its own, those of the lists it stands in and its job's: named once, touched often
    volumes: tuple[str, ...] = ()  # `namespace/name` of those that are its alone
    restart: int = 0  # a user wants no attempt up to this one to run
    signals: tuple[SignalWish, ...] = ()  # by number: those that nothing was heard of yet
    signalled: int = 0  # number of the newest signal that its agent answered for
    execs: tuple[ExecWish, ...] = ()  # commands that are run in it, or are to be: the newest of them

    @property
    def terminal(self) -> bool:
        """Whether it is over for good: its last phase was reported, or its node was removed."""
        return self.finished_at is not None

    @property
    def live(self) -> bool:
        """Whether it still fills its slot."""
        return self.wanted == "run" and not self.given_up and self.finished_at is None

    @property
    def status(self) -> AllocationStatus:
        """The one word that people see."""
        return allocation_status(self.wanted, self.phase, given_up=self.given_up)


class Usage(Struct, frozen=True, gc=False):
    """What is reserved on a node by allocations that are not over."""

    cpu: int = 0  # thousandths of a core
    memory: int = 0
    disk: int = 0
    allocs: int = 0


class Node(Struct, frozen=True, gc=False):
    """A server that runs allocations."""

    id: str
    name: str
    credential: str
    create_index: int
    modify_index: int
    session: int = 0  # index of the event that opened the present session; 0: none yet
    boot_id: str = ""
    up: bool | None = None  # None: never was
    down_at: int | None = None  # ms; None while up
    changed: int = 0  # index of the last node.up or node.down
    eligible: bool = True
    capacity: Capacity = Capacity()
    drivers: dict[str, Driver] = {}
    labels: dict[str, str] = {}
    attributes: dict[str, str] = {}
    address: str = ""
    version: str = ""
    unknown: tuple[str, ...] = ()
    released: tuple[str, ...] = ()  # those of them that its agent may stop
    session_at: int = 0  # ms: when the present session was opened
    drain: Drain | None = None
    drained: Drained | None = None

    @property
    def status(self) -> NodeStatus:
        """The one word that people see."""
        if self.up is None:
            return "unknown"
        if not self.up:
            return "down"
        return "draining" if self.drain is not None else "ready"


class Drain(Struct, frozen=True, gc=False):
    """What is under way on a node that is drained."""

    started_at: int  # ms
    deadline: int | None  # ms: what is there then is stopped; None: never
    ignore_system: bool
    index: int  # of the event that began it
    moved: int = 0  # allocations that have left by now
    stopped: int = 0  # those that had to, at the deadline


class Drained(Struct, frozen=True, gc=False):
    """How the last drain of a node ended: how many left in time, and how many were stopped at its deadline."""

    started_at: int  # ms
    finished_at: int
    moved: int
    stopped: int


class SecretVersion(Struct, frozen=True, gc=False):
    """One value of a secret: where it is kept, sealed, and how it came."""

    version: int
    row: str
    created_at: int  # ms
    index: int
    action: str  # create, update, rollback
    of: int | None = None  # the version that it repeats
    by: str = ""


class Secret(Struct, frozen=True, gc=False):
    """A named secret of a namespace: its versions, oldest first. The last is the present one."""

    namespace: str
    name: str
    versions: tuple[SecretVersion, ...]
    created_at: int  # ms
    create_index: int
    modify_index: int

    @property
    def current(self) -> SecretVersion:
        """The version that is used unless another is pinned."""
        return self.versions[-1]

    def version(self, number: int) -> SecretVersion | None:
        """Find a kept version by number."""
        return next((version for version in self.versions if version.version == number), None)


class Webhook(Struct, frozen=True, gc=False):
    """Where events are told, signed. `user` and `token`: whom it reads for; no user: nobody any more."""

    id: str
    namespace: str  # `*`: of all
    url: str
    events: tuple[str, ...]
    row: str  # of its secret
    user: str
    token: str
    description: str
    enabled: bool
    since: int  # index of the event that made it or last switched it on: what was before is not told
    created_at: int  # ms
    create_index: int
    modify_index: int
    reason: str = ""  # why the cluster switched it off
    old_row: str = ""  # of the secret before
    old_until: int = 0  # ms: until then that one signs, too


class Deployment(Struct, frozen=True, gc=False):
    """One version of a job being rolled out."""

    id: str
    uid: int
    namespace: str
    job: str
    version: int
    previous_version: int | None
    created_at: int
    progress_at: int  # when it was created or a replica last became healthy
    create_index: int
    modify_index: int
    status: DeploymentStatus = "running"
    reason: str = ""
    strategy: Strategy = "rolling"
    topics: tuple[str, ...] = ()  # its own and those of the lists it stands in
    kind: DeploymentKind = "submit"
    promoted: bool = True  # whether its version may follow the old one everywhere
    promoted_at: int | None = None  # when it was, if it had to be
    step: int = 0  # of the canary's shares of the traffic
    step_at: int | None = None  # since when it stands there; None: what goes before the promotion does not stand yet
    resumed_at: int | None = None
    fail_reason: str = ""  # why a user wants it ended
    revert_of: str = ""  # the deployment that failed before it
    told: bool = False  # whether it was told, by job.failed, how this one ended

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.status in ACTIVE_DEPLOYMENT


class Member(Struct, frozen=True, gc=False):
    """An api or reconciler process."""

    id: str
    role: str
    address: str
    version: str
