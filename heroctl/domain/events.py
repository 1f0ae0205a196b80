"""Every event there is. A tag is a domain word and stays for ever; a changed payload raises its schema number.

Each class names its writer: `intent` (an api, for a user or an agent's session), `report` (an api, for an agent's
observations) or `decision` (the coordinator, under its epoch). Payloads hold no secret value and no hash: credentials
are rows of the vault, named here by their id. Times that an agent gives are elapsed seconds, never instants.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import msgspec
from msgspec import Struct, field

from heroctl.domain.assignment import Capacity, Driver, Report
from heroctl.domain.spec import decode_hook, encode_hook

Writer = Literal["intent", "report", "decision"]


class Event(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something that happened. Subclasses are the payloads."""

    TAG: ClassVar[str] = ""
    SCHEMA: ClassVar[int] = 1
    WRITER: ClassVar[Writer] = "intent"


class Opaque(Event, frozen=True, gc=False):
    """An event that this release does not know, kept byte for byte."""

    tag: str
    schema: int
    data: bytes


class Meta(Struct, frozen=True, gc=False, omit_defaults=True):
    """Who caused an append, and under which request."""

    actor: str = ""
    request_id: str = ""
    address: str = ""


class Record(Struct, frozen=True, gc=False):
    """An event in its place: `index` in the log, `last` index of its append, `time` in ms since the epoch."""

    index: int
    last: int
    time: int
    event: Event
    meta: Meta = Meta()


# ── the cluster ──────────────────────────────────────────────────────────────────────────────────────────────────────


class ClusterCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """Index 1 of every log: the cluster's name for itself and this history's identity."""

    TAG: ClassVar[str] = "cluster.created"
    cluster: str
    incarnation: str


class IncarnationDrawn(Event, frozen=True, gc=False, omit_defaults=True):
    """From here on this is another history than one that was read before: events were lost or brought back."""

    TAG: ClassVar[str] = "cluster.incarnation_drawn"
    incarnation: str
    reason: str = ""


class CoordinatorElected(Event, frozen=True, gc=False, omit_defaults=True):
    """A reconciler took the lease. Written by the take-over transaction itself."""

    TAG: ClassVar[str] = "coordinator.elected"
    WRITER: ClassVar[Writer] = "decision"
    holder: str
    epoch: int


class MemberJoined(Event, frozen=True, gc=False, omit_defaults=True):
    """An api or reconciler process was first seen."""

    TAG: ClassVar[str] = "member.joined"
    WRITER: ClassVar[Writer] = "decision"
    id: str
    role: str
    address: str
    version: str = ""


class MemberLeft(Event, frozen=True, gc=False, omit_defaults=True):
    """A member has not renewed its row for 15 seconds, or said goodbye."""

    TAG: ClassVar[str] = "member.left"
    WRITER: ClassVar[Writer] = "decision"
    id: str


class BrakeOn(Event, frozen=True, gc=False, omit_defaults=True):
    """So many nodes are down at once that it is more likely us who are cut off: replacement of them is held."""

    TAG: ClassVar[str] = "cluster.brake_on"
    WRITER: ClassVar[Writer] = "decision"
    down: int
    of: int


class BrakeOff(Event, frozen=True, gc=False, omit_defaults=True):
    """Few enough nodes are down again, or an operator said go."""

    TAG: ClassVar[str] = "cluster.brake_off"
    WRITER: ClassVar[Writer] = "decision"
    reason: str = ""


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class UserCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """A user exists; the password's hash is the vault row `credential`."""

    TAG: ClassVar[str] = "user.created"
    name: str
    roles: tuple[str, ...]
    credential: str


class TokenCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """An ACL token exists; the hash of its secret is the vault row `credential`."""

    TAG: ClassVar[str] = "token.created"
    id: str
    name: str
    user: str
    roles: tuple[str, ...]
    credential: str
    expires_at: int | None = None  # ms since the epoch


class TokenDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """An ACL token is no more."""

    TAG: ClassVar[str] = "token.deleted"
    id: str


class JoinTokenCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """A server may join, once, until `expires_at` (ms since the epoch)."""

    TAG: ClassVar[str] = "join_token.created"
    id: str
    credential: str
    expires_at: int
    by: str


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class NodeRegistered(Event, frozen=True, gc=False, omit_defaults=True):
    """A server joined with a join token, which is spent by this; its own token's hash is the row `credential`."""

    TAG: ClassVar[str] = "node.registered"
    id: str
    name: str
    join_token: str
    credential: str


class NodeSessionOpened(Event, frozen=True, gc=False, omit_defaults=True):
    """An agent process speaks for the node from here on. Its inventory's reports are events of the same append."""

    TAG: ClassVar[str] = "node.session_opened"
    node: str
    boot_id: str
    capacity: Capacity
    drivers: dict[str, Driver]
    address: str
    version: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)


class NodeUnknownContainers(Event, frozen=True, gc=False, omit_defaults=True):
    """The node holds containers of this cluster that its assignment does not name. They are kept."""

    TAG: ClassVar[str] = "node.unknown_containers"
    node: str
    containers: tuple[str, ...]


class NodeUp(Event, frozen=True, gc=False, omit_defaults=True):
    """The node beats, after a full inventory: it takes allocations."""

    TAG: ClassVar[str] = "node.up"
    WRITER: ClassVar[Writer] = "decision"
    node: str
    name: str


class NodeDown(Event, frozen=True, gc=False, omit_defaults=True):
    """The node has been silent for `silent` seconds."""

    TAG: ClassVar[str] = "node.down"
    WRITER: ClassVar[Writer] = "decision"
    node: str
    name: str
    silent: float
    allocations: tuple[str, ...] = ()


class NodeEligibilitySet(Event, frozen=True, gc=False, omit_defaults=True):
    """Whether new allocations may be placed on the node."""

    TAG: ClassVar[str] = "node.eligibility_set"
    node: str
    eligible: bool


class NodeRemoved(Event, frozen=True, gc=False, omit_defaults=True):
    """The node is no more, and with it all it held."""

    TAG: ClassVar[str] = "node.removed"
    node: str
    name: str


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class TaskSummary(Struct, frozen=True, gc=False, array_like=True):
    """What the fold needs of a task without reading the spec."""

    name: str
    count: int
    content: str  # digest of what its containers are made from
    policy: str = ""  # digest of what its agent does with them: health and restart


class JobSubmitted(Event, frozen=True, gc=False, omit_defaults=True):
    """An accepted new version. `uid` 0: the job is new, and this event's index becomes its uid."""

    TAG: ClassVar[str] = "job.submitted"
    uid: int
    namespace: str
    name: str
    version: int
    spec: msgspec.Raw
    tasks: tuple[TaskSummary, ...]
    by: str = ""


class JobStopped(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants none of the job's replicas; the job itself stays."""

    TAG: ClassVar[str] = "job.stopped"
    uid: int
    namespace: str
    name: str


class JobDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """The name is free from here on; the record stays until the last allocation is confirmed stopped."""

    TAG: ClassVar[str] = "job.deleted"
    uid: int
    namespace: str
    name: str


class JobBlocked(Event, frozen=True, gc=False, omit_defaults=True):
    """Some replicas fit nowhere, and why; no reasons: everything fits again."""

    TAG: ClassVar[str] = "job.blocked"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    reasons: tuple[str, ...] = ()


class JobDeployed(Event, frozen=True, gc=False, omit_defaults=True):
    """All replicas of a version have been healthy for their min_healthy_time; once per deployment."""

    TAG: ClassVar[str] = "job.deployed"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    deployment: str


class JobFailed(Event, frozen=True, gc=False, omit_defaults=True):
    """A deployment failed, and the way back is complete or there is none."""

    TAG: ClassVar[str] = "job.failed"
    WRITER: ClassVar[Writer] = "decision"
    uid: int
    namespace: str
    name: str
    version: int
    deployment: str
    reason: str
    reverted_to: int | None = None


class DeploymentFinished(Event, frozen=True, gc=False, omit_defaults=True):
    """A deployment ended, with which status and why."""

    TAG: ClassVar[str] = "deployment.finished"
    WRITER: ClassVar[Writer] = "decision"
    deployment: str
    uid: int
    namespace: str
    name: str
    status: Literal["successful", "failed", "cancelled"]
    reason: str = ""


# ── allocations ──────────────────────────────────────────────────────────────────────────────────────────────────────


class AllocPlaced(Event, frozen=True, gc=False, omit_defaults=True):
    """A slot of a task goes to a node. `n` numbers the job's allocations and never goes back."""

    TAG: ClassVar[str] = "alloc.placed"
    WRITER: ClassVar[Writer] = "decision"
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
    cpu: float
    memory: int
    disk: int
    host_ports: tuple[int, ...] = ()
    deployment: str = ""
    replaces: str = ""
    reschedules: int = 0  # how often this slot has been rescheduled after failures, in a row


class AllocStopRequested(Event, frozen=True, gc=False, omit_defaults=True):
    """A user wants this one stopped; its slot is filled again."""

    TAG: ClassVar[str] = "alloc.stop_requested"
    alloc: str
    namespace: str
    job: str


class AllocStopping(Event, frozen=True, gc=False, omit_defaults=True):
    """The coordinator wants it stopped: scaled_down, updated, job_stopped, job_deleted, requested …"""

    TAG: ClassVar[str] = "alloc.stopping"
    WRITER: ClassVar[Writer] = "decision"
    alloc: str
    namespace: str
    job: str
    reason: str


class AllocGivenUp(Event, frozen=True, gc=False, omit_defaults=True):
    """Final: the slot may be replaced, and should the node come back it stops this one."""

    TAG: ClassVar[str] = "alloc.given_up"
    WRITER: ClassVar[Writer] = "decision"
    alloc: str
    namespace: str
    job: str
    reason: str


class AllocReported(Event, frozen=True, gc=False, omit_defaults=True):
    """The whole observed status of an allocation, as its agent saw it."""

    TAG: ClassVar[str] = "alloc.reported"
    WRITER: ClassVar[Writer] = "report"
    node: str
    report: Report


class AllocFailed(Event, frozen=True, gc=False, omit_defaults=True):
    """An attempt ended unasked. In the same append as the report that shows it."""

    TAG: ClassVar[str] = "alloc.failed"
    WRITER: ClassVar[Writer] = "report"
    alloc: str
    namespace: str
    job: str
    task: str
    slot: int
    node: str  # the node's name
    attempt: int
    reason: str
    message: str = ""
    exit_code: int | None = None
    oom: bool = False
    will_restart: bool = False


def _classes(parent: type[Event]) -> dict[str, type[Event]]:
    return {kind.TAG: kind for kind in parent.__subclasses__() if kind.TAG}


EVENTS: Final[dict[str, type[Event]]] = _classes(Event)
_DECODERS: Final[dict[tuple[str, int], msgspec.json.Decoder[Event]]] = {
    (tag, kind.SCHEMA): msgspec.json.Decoder(kind, dec_hook=decode_hook) for tag, kind in EVENTS.items()
}
_ENCODER: Final = msgspec.json.Encoder(enc_hook=encode_hook)
_META_DECODER: Final = msgspec.json.Decoder(Meta)


def encode(event: Event) -> tuple[str, int, bytes]:
    """Return an event's tag, schema number and payload (JSON)."""
    if isinstance(event, Opaque):
        return event.tag, event.schema, event.data
    return event.TAG, event.SCHEMA, _ENCODER.encode(event)


def decode(tag: str, schema: int, data: bytes) -> Event:
    """Read an event back. One whose tag or schema is unknown comes back `Opaque`; a broken payload raises."""
    decoder = _DECODERS.get((tag, schema))
    if decoder is None:
        return Opaque(tag, schema, data)
    return decoder.decode(data)


def encode_meta(meta: Meta) -> bytes:
    """Write who and why of an append."""
    return _ENCODER.encode(meta)


def decode_meta(data: bytes) -> Meta:
    """Read who and why of an append."""
    return _META_DECODER.decode(data)


def payload(event: Event) -> Any:  # noqa: ANN401 - JSON
    """Return an event's payload as plain JSON values, for those who show it."""
    return msgspec.json.decode(encode(event)[2])
