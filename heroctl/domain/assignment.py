"""What passes between the api and an agent: sessions, assignments, reports. The one wire format of `/v1/agent/*`.

Unknown fields are ignored in both directions, so that an agent may be one release behind the api, and the reverse.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from heroctl.domain.lifecycle import Health, Phase, Wanted
from heroctl.domain.spec import Task

# What an agent says becomes an event for ever: no number that could not be reckoned with, or kept in 64 bits.
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Digest = Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?(?!\n)$")]  # of an image; "": not known
Exit = Annotated[int, Meta(ge=-(2**31), le=2**32 - 1)]
Bytes = Annotated[int, Meta(ge=0, le=2**62)]
Seconds = Annotated[float, Meta(ge=-1e9, le=1e9)]

MOST_SIGNALS: Final = 8  # of one allocation that nothing was heard of yet
MOST_EXECS: Final = 16  # commands of one allocation that are named to its agent: the newest


class Mark(Struct, frozen=True, gc=False):
    """A place that the log came by, and the hash over everything up to it: no other history has that one."""

    index: Annotated[int, Meta(ge=1, le=2**62)]
    chain: Annotated[bytes, Meta(max_length=64)]


class Driver(Struct, frozen=True, gc=False):
    """A runtime that a node offers: whether it answers now, and its version."""

    healthy: bool
    version: str = ""


class Capacity(Struct, frozen=True, gc=False):
    """What a node has for allocations: cores, bytes of memory, bytes of disk."""

    cpu: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    memory: Bytes = 0
    disk: Bytes = 0


class SignalWish(Struct, frozen=True, gc=False):
    """A signal that is to be sent to what runs in an attempt. Numbers of one allocation only rise."""

    number: Count
    attempt: Count
    signal: str


class ExecWish(Struct, frozen=True, gc=False):
    """A command that somebody waits to have run: the agent asks the api at the URL `api` for it, by its id."""

    id: str
    api: str


class Signalled(Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of a signal: sent, or why it was not."""

    number: Count
    fault: str = ""


class Report(Struct, frozen=True, gc=False, omit_defaults=True):
    """The whole observed status of one allocation; the newest wins, intermediate ones may be merged.

    Times are elapsed seconds at the moment of sending, never instants: the agent's clock is not trusted.
    """

    alloc: str
    attempt: Count = 0
    phase: Phase = "pending"
    health: Health = "unknown"
    restarts: Count = 0  # attempts begun again within the spec's restart interval
    exit_code: Exit | None = None  # of the last attempt that ended
    oom: bool = False  # whether the kernel killed that attempt for its memory
    failed_attempt: Count = 0  # the newest attempt that ended unasked; 0: none
    reason: str = ""  # a code for people and machines: image_missing, exited, port_in_use, unhealthy …
    message: str = ""  # prose, at most 1 KiB
    ports: dict[str, Count] = field(default_factory=dict)  # name -> host port
    address: str = ""
    running_for: Seconds | None = None  # since the present attempt's container started
    healthy_for: Seconds | None = None  # continuously, up to now
    container: str = ""  # short id
    image: Digest = ""  # what a tag stood for when the newest container was made from it; "": not known
    signalled: list[Signalled] = field(default_factory=list)  # of the newest signals: what became of each


class Inventory(Struct, frozen=True):
    """All that an agent sees of its own at the start of a session."""

    reports: list[Report] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # containers with our labels that no assignment names


class SessionRequest(Struct, frozen=True):
    """Body of `POST /v1/agent/session`."""

    boot_id: str
    inventory: Inventory
    capacity: Capacity
    drivers: dict[str, Driver]
    address: str
    version: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    incarnation: str = ""
    index: int = 0  # of the assignment the agent holds; 0: none
    mark: Mark | None = None  # the newest that it was told, or that was when it was told that assignment


class RedisAccess(Struct, frozen=True):
    """How an agent reaches its own doorbell, and nothing else, in Redis."""

    url: str
    username: str
    password: str
    stream: str  # the node's command stream


class SessionReply(Struct, frozen=True):
    """The answer: the session's number, and the doorbell (None: Redis is away or not configured)."""

    cluster: str
    node: str
    name: str
    session: int
    incarnation: str
    index: int
    every: float  # seconds between beats
    redis: RedisAccess | None = None


class Work(Struct, frozen=True, omit_defaults=True):
    """What a launch of a batch job gives each of its replicas: its number, and what it was launched with."""

    launch: int
    scheduled_at: int | None = None  # ms
    payload: bytes = b""
    meta: dict[str, str] = field(default_factory=dict)


class Assigned(Struct, frozen=True, omit_defaults=True):
    """One allocation that a node holds: run it, or stop it."""

    id: str
    namespace: str
    job: str
    task: str
    slot: int
    version: int
    wanted: Wanted
    digest: str  # of what the container is made from; equal digest, same container
    spec: Task  # policies (health, restart) are the job's newest, content is the version's
    cluster: str
    node: str  # the node's name
    address: str  # the node's address
    index: int  # of the event that changed this last
    seen_attempt: int = 0  # the newest attempt the control plane knows of
    work: Work | None = None  # of a batch job: an attempt that ends with exit code 0 is the last, and ends it well
    secrets: tuple[str, ...] = ()  # names of those that its version was made with: to be asked for before a start
    restart: int = 0  # attempts up to this one are to end, and another is to follow
    signals: tuple[SignalWish, ...] = ()  # by number: those that nothing was heard of yet
    cause: int = 0  # index of the event that it is there for: names its trace
    execs: tuple[ExecWish, ...] = ()  # commands that somebody has run, or waits to


class SyncRequest(Struct, frozen=True):
    """Body of `POST /v1/agent/sync`: beat, reports and pull in one. Repeated unchanged until it is answered."""

    session: int
    seq: int
    incarnation: str = ""
    index: int = 0  # of the assignment the agent holds; 0: none, or it asks for all of it
    mark: Mark | None = None  # as in a session's
    state_index: int = 0  # the newest log index the agent has seen
    applied: int | None = None  # ingress nodes: the routes document served
    reports: list[Report] = field(default_factory=list)
    doorbell: str = ""  # id of the last stream entry read; "" when Redis is not used
    need_redis: bool = False  # ask for the Redis user again
    wait: float = 0.0  # seconds to wait for a newer assignment, where Redis is away
    skew: int | None = None  # ms that the agent's clock is ahead of the `time` it heard last


Outcome = Literal["ok", "old", "unknown", "foreign"]


class SyncReply(Struct, frozen=True):
    """The answer: either what changed since the agent's index, or the complete assignment."""

    incarnation: str
    index: int  # of the assignment
    state_index: int
    every: float
    changed: list[Assigned] = field(default_factory=list)
    complete: list[Assigned] | None = None
    results: list[Outcome] = field(default_factory=list)
    doorbell: str = ""  # newest id on the node's stream; older than the agent's: it was flushed
    redis: RedisAccess | None = None
    release: list[str] = field(default_factory=list)  # containers that it told to be unknown, and may stop
    time: int = 0  # ms since the epoch, by the database's clock; 0: the api does not know it yet
    mark: Mark | None = None  # where the log stood
    log_level: str = ""  # from which the agent is to write lines; "": as it was told at its start


class SecretsRequest(Struct, frozen=True):
    """Body of `POST /v1/agent/secrets`: allocations that the node is about to start, or to start anew."""

    session: int
    allocs: list[str]


class SecretsReply(Struct, frozen=True):
    """The answer: by allocation, what its task's secrets hold, in base64 by name; and why some get nothing.

    `foreign`: it is another node's. `unknown`: there is none. `over`: it is to stop, or has ended. `missing`: a secret
    that its version was made with is not there (any more).
    """

    values: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Ring(Struct, frozen=True):
    """One entry of a node's command stream. Applied if `prev` is the index the agent holds, else the agent pulls.

    `changed` is left out (None) when it would be larger than 16 KiB.
    """

    incarnation: str
    index: int
    prev: int
    changed: list[Assigned] | None = None
    mark: Mark | None = None  # where the log stood


def ring_stream(node: str) -> str:
    """Name the Redis stream on which the coordinator rings a node's agent."""
    return f"heroctl:ring:{node}"


def log_keys(node: str) -> str:
    """Name the pattern of Redis keys that a node's agent may write its log tails to."""
    return f"heroctl:logs:{node}:*"
