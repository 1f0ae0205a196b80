"""The job spec: what a user asks for, with every default filled in.

A spec is read by `validate.parse` (all problems at once) and kept as its canonical JSON; `decode` gives it back.
The structs forbid nothing by themselves, so that a spec written by a newer release survives in an older one.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from heroctl.domain.duration import Duration, Size
from heroctl.domain.ids import digest
from heroctl.domain.scraping import Metrics

MAX_COUNT: Final = 50_000
MAX_TASKS: Final = 100
MAX_ENV: Final = 256
DYNAMIC_PORTS: Final = range(20_000, 32_001)  # the agent picks from these; nobody may ask for one of them

Driver = Literal["docker", "process"]
JobType = Literal["service", "batch", "system"]
Strategy = Literal["rolling", "canary", "blue-green", "rainbow"]
Percent = Annotated[int, Meta(ge=0, le=100)]
Operator = Literal["=", "!=", ">", ">=", "<", "<=", "regexp", "version", "in", "not_in", "is_set", "distinct_hosts"]


class Port(Struct, frozen=True, omit_defaults=True):
    """A named port: what the workload listens on, and the host port (0: the agent picks one)."""

    container: Annotated[int, Meta(ge=1, le=65_535)]
    host: Annotated[int, Meta(ge=0, le=65_535)] = 0


class Resources(Struct, frozen=True):
    """What is reserved for one replica: cores, memory (enforced), disk (measured)."""

    cpu: Annotated[float, Meta(ge=0.01, le=1024)] = 0.5
    memory: Size = Size(256 * 10**6)
    disk: Size = Size(300 * 10**6)


class Health(Struct, frozen=True):
    """One check, of exactly one kind: `http` (a path), `tcp` (a port's name) or `command`."""

    http: str | None = None
    tcp: str | None = None
    command: tuple[str, ...] | None = None
    port: str | None = None  # for http; the only port when there is just one
    interval: Duration = Duration(10_000)
    timeout: Duration = Duration(2_000)
    retries: Annotated[int, Meta(ge=1, le=100)] = 3
    start_period: Duration = Duration(5_000)


class Restart(Struct, frozen=True):
    """What the agent does on the same node when an attempt ends unasked.

    `attempts` restarts within `interval`, `delay` apart (jittered); then `fail`: the allocation fails, or
    `delay`: wait for the interval's end and go on.
    """

    attempts: Annotated[int, Meta(ge=0, le=10_000)] = 2
    interval: Duration = Duration(30 * 60_000)
    delay: Duration = Duration(15_000)
    mode: Literal["fail", "delay"] = "fail"


class Reschedule(Struct, frozen=True):
    """When a failed allocation's slot is placed again: after `delay`, doubled each time up to `max_delay`.

    Not `unlimited`: once only.
    """

    delay: Duration = Duration(30_000)
    max_delay: Duration = Duration(3_600_000)
    unlimited: bool = True


class Canary(Struct, frozen=True):
    """A few replicas of the new version beside all of the old, and their share of the traffic, step by step.

    `weight` (percent) is the first step's, where it is not the first of `steps`. With `auto_promote` a step lasts
    `pause`, and after the last one the rest follows; without it each waits for somebody to promote.
    """

    count: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1
    weight: Percent | None = None
    steps: tuple[Percent, ...] = (10, 50, 100)
    pause: Duration = Duration(5 * 60_000)
    auto_promote: bool = False

    @property
    def weights(self) -> tuple[int, ...]:
        """The shares of the traffic, one after the other."""
        if self.weight is None:
            return self.steps or (10,)
        return (self.weight, *(step for step in self.steps if step > self.weight))


class BlueGreen(Struct, frozen=True):
    """A full new set beside the old; a promotion gives it the traffic, and the old is kept for a while."""

    auto_promote: bool = False
    keep_old: Duration = Duration(10 * 60_000)


class Rainbow(Struct, frozen=True):
    """A full set of the new version beside those of up to `keep` older ones, each chosen by a header."""

    keep: Annotated[int, Meta(ge=1, le=20)] = 3
    header: str = "X-Version"


class Update(Struct, frozen=True):
    """How a new version replaces the old: the strategy, its budget, its three clocks and the way back."""

    strategy: Strategy = "rolling"
    max_parallel: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1
    order: Literal["start-first", "stop-first"] = "start-first"
    min_healthy_time: Duration = Duration(10_000)
    healthy_deadline: Duration = Duration(5 * 60_000)
    progress_deadline: Duration = Duration(10 * 60_000)
    auto_revert: bool = True
    canary: Canary | None = None
    blue_green: BlueGreen | None = None
    rainbow: Rainbow | None = None


class Device(Struct, frozen=True):
    """A device of the host, or a folder of them, in the container: at `target`, or where it is on the host."""

    source: str
    target: str | None = None
    permissions: Literal["r", "w", "m", "rw", "rm", "wm", "rwm"] = "rwm"  # read, write, make


class Capabilities(Struct, frozen=True):
    """What root may in the container, beside or less than what it may by default. Names are those of Linux."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class Volume(Struct, frozen=True, omit_defaults=True):
    """A named volume, kept by the node, at a path in the container; or, where `source` is a path, one of the host.

    A named one that is written to and not `shared` belongs to one replica at a time, and that stays where it is.
    """

    source: str
    target: str
    read_only: bool = False
    shared: bool = False

    @property
    def named(self) -> bool:
        """Whether it has a name, and is not a path of the host."""
        return "/" not in self.source


class File(Struct, frozen=True):
    """A file in the container, with `${…}` filled in."""

    path: str
    content: str
    mode: str = "0440"  # octal


class Constraint(Struct, frozen=True):
    """What a node must be like. `distinct_hosts` stands alone: no two replicas of the task on one node."""

    attribute: str = ""  # `${node.labels.disk}`, `${node.attributes.arch}`, `${node.name}` …
    operator: Operator = "="
    value: str | tuple[str, ...] = ""  # several for `in` and `not_in`


class Affinity(Struct, frozen=True):
    """What a node should be like, or, where `weight` is below 0, should not."""

    attribute: str
    operator: Operator = "="
    value: str | tuple[str, ...] = ""
    weight: Annotated[int, Meta(ge=-100, le=100)] = 50


class Spread(Struct, frozen=True):
    """How replicas are shared out over the values of an attribute: evenly, or by `targets` in per cent.

    Values that are not named, `*` for short, share evenly what is left.
    """

    attribute: str
    targets: dict[str, Percent] = field(default_factory=dict)


class Migrate(Struct, frozen=True):
    """How replicas leave a node that is drained."""

    max_parallel: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1
    order: Literal["start-first", "stop-first"] = "start-first"


class OnDisconnect(Struct, frozen=True):
    """What becomes of a replica whose node is silent for `lost_after` longer than it takes to call it down."""

    lost_after: Duration = Duration(0)
    mode: Literal["replace", "keep", "stop"] = "replace"


class Periodic(Struct, frozen=True):
    """When a batch job is launched, by the wall clock of a time zone. Without `overlap` one launch waits for none.

    What would be launched while another launch goes on is then left out.
    """

    cron: str
    time_zone: str = "UTC"
    overlap: bool = False


class Dispatch(Struct, frozen=True):
    """A batch job that runs when it is dispatched, and only then; and what it is to be given with each launch."""

    payload: Literal["optional", "required", "forbidden"] = "optional"
    meta_required: tuple[str, ...] = ()
    meta_optional: tuple[str, ...] = ()


class Dependency(Struct, frozen=True):
    """Another job of the namespace, or another task of this one, that must have got so far first."""

    job: str | None = None
    task: str | None = None
    condition: Literal["running", "healthy", "complete"] = "healthy"


class Task(Struct, frozen=True):
    """A part of a job with its own image (or program) and its own number of replicas."""

    name: str
    driver: Driver = "docker"
    image: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 1
    env: dict[str, str] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    resources: Resources = Resources()
    health: Health | None = None
    restart: Restart = Restart()
    reschedule: Reschedule = Reschedule()
    update: Update = Update()
    kill_timeout: Duration = Duration(5_000)
    stop_signal: str = "SIGTERM"
    shutdown_delay: Duration = Duration(0)
    privileged: bool = False
    network: Literal["bridge", "host"] = "bridge"
    pid: Literal["host"] | None = None
    ipc: Literal["host"] | None = None
    devices: tuple[Device, ...] = ()
    capabilities: Capabilities = Capabilities()
    volumes: tuple[Volume, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    affinities: tuple[Affinity, ...] = ()
    spread: tuple[Spread, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    files: tuple[File, ...] = ()
    image_auth: str | None = None  # `${secret.NAME}`, of a user and password
    on_secret_change: Literal["restart", "none"] = "restart"  # noqa: S105 - a word of the spec
    migrate: Migrate = Migrate()
    on_disconnect: OnDisconnect = OnDisconnect()


class Job(Struct, frozen=True):
    """A named spec. In JSON its name is `job`; `name` is read as the same."""

    name: str = field(name="job")
    tasks: tuple[Task, ...]
    namespace: str = "default"
    type: JobType = "service"
    priority: Annotated[int, Meta(ge=1, le=100)] = 50
    meta: dict[str, str] = field(default_factory=dict)
    periodic: Periodic | None = None
    dispatch: Dispatch | None = None
    metrics: Metrics | None = None

    @property
    def launched_at_once(self) -> bool:
        """Whether a submit launches it: neither the clock nor a dispatch does."""
        return self.type == "batch" and self.periodic is None and self.dispatch is None

    def task(self, name: str) -> Task | None:
        """Find a task by its name."""
        return next((task for task in self.tasks if task.name == name), None)

    @property
    def strategy(self) -> Strategy:
        """How its versions follow one another: as the first task says that does not just roll."""
        return next((task.update.strategy for task in self.tasks if task.update.strategy != "rolling"), "rolling")


def decode_hook(kind: type, value: Any) -> Any:  # noqa: ANN401 - msgspec's signature
    """Read the two value types that JSON has no word for."""
    if kind is not Duration and kind is not Size:
        raise TypeError(kind)
    return _read(kind, value) if type(value) is str else kind.parse(value)


def encode_hook(value: Any) -> Any:  # noqa: ANN401 - msgspec's signature
    """Write the two value types in their canonical spelling."""
    if isinstance(value, Duration | Size):
        return _spelled(value)
    raise TypeError(type(value))


# The same few stand in every spec a dozen times; reading and spelling them was most of the work of a submit.
@lru_cache(maxsize=4096)
def _read(kind: type[Duration | Size], text: str) -> Duration | Size:
    return kind.parse(text)


@lru_cache(maxsize=4096)
def _spelled(value: Duration | Size) -> str:
    return str(value)


_DECODER: Final = msgspec.json.Decoder(Job, dec_hook=decode_hook)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=encode_hook, order="deterministic")

# What a container is made from. A change of one of these replaces the allocation; all else is applied in place.
_CONTENT: Final = (
    "driver",
    "image",
    "command",
    "args",
    "env",
    "ports",
    "resources",
    "kill_timeout",
    "stop_signal",
)
# The same, of fields that few tasks use: they count where something is said in them, so that no others' digest changes.
_CONTENT_SAID: Final = (
    "shutdown_delay",
    "privileged",
    "network",
    "pid",
    "ipc",
    "devices",
    "capabilities",
    "volumes",
    "files",
)
_PLAIN: Final = Task(name="")
# What a task of a batch job has that says nothing of it: it is to come to an end, and to tell if it cannot.
BATCH_RESTART: Final = Restart(attempts=3, interval=Duration(24 * 3_600_000))
BATCH_RESCHEDULE: Final = Reschedule(delay=Duration(5_000), unlimited=False)


def encode(job: Job) -> bytes:
    """Return the canonical JSON of a spec: every field, keys of maps sorted."""
    return _ENCODER.encode(job)


@lru_cache(maxsize=8192)
def decode(raw: bytes) -> Job:
    """Give back the spec that `encode` wrote. Fields this release does not know are passed over."""
    return _DECODER.decode(raw)


def content(task: Task) -> list[Any]:
    """Give what a task's containers are made from."""
    made = [getattr(task, name) for name in _CONTENT]
    said = {name: value for name in _CONTENT_SAID if (value := getattr(task, name)) != getattr(_PLAIN, name)}
    return [*made, said] if said else made


def policy(task: Task) -> list[Any]:
    """Give what an agent does with a task's containers: applied in place, so agents must hear of a change."""
    return [task.health, task.restart, *([task.image_auth] if task.image_auth else [])]


def content_digest(task: Task, image: str = "", pins: Collection[tuple[str, int]] = ()) -> str:
    """Stand for a task's content, with what its image's tag stands for where that is known, and its secrets' versions.

    Another release may give another: stored where it is made, never recomputed.
    """
    made: list[Any] = content(task)
    more = [image, pins] if pins else [image] if image else []
    return digest(_ENCODER.encode([made, *more] if more else made))


def policy_digest(task: Task) -> str:
    """Stand for a task's policy, as `content_digest` does for its content."""
    return digest(_ENCODER.encode(policy(task)))
