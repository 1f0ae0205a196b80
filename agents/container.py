"""From an assigned allocation to the container that runs it. Pure: what a runtime is asked for, and what it shows.

Labels are the memory that survives everything: an agent that lost its files finds its containers by them again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct, field

from heroctl.domain.allowance import NOTHING, Allowance
from heroctl.domain.assignment import Assigned, Work
from heroctl.domain.checks_launches import variable
from heroctl.domain.references import SECRET, Reference, UnknownReference, parse, render, render_bytes
from heroctl.domain.spec import Capabilities, Device, File, Task, Volume

PREFIX: Final = "heroctl."
CLUSTER: Final = PREFIX + "cluster"
NODE: Final = PREFIX + "node"
ALLOC: Final = PREFIX + "alloc"
DIGEST: Final = PREFIX + "digest"
ATTEMPT: Final = PREFIX + "attempt"
INCARNATION: Final = PREFIX + "incarnation"
PORTS: Final = PREFIX + "ports"

State = Literal["created", "running", "exited"]

_NOT_A_WORD: Final = re.compile(r"\W", re.ASCII)
_NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})
_NOWHERE: Final[Mapping[str, str]] = MappingProxyType({})


class Node(Struct, frozen=True):
    """What containers may know of their node, and what it allows. `id` and `cluster` go into the labels."""

    id: str
    name: str
    cluster: str
    address: str
    labels: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    allowance: Allowance = NOTHING


class Publish(Struct, frozen=True, gc=False):
    """A port of the workload and the host port that leads to it."""

    name: str
    container: int
    host: int


class Content(Struct, frozen=True):
    """A file of a workload, filled in. `secret`: it must not lie on a disk."""

    path: str
    content: bytes
    mode: int
    secret: bool = False


class Description(Struct, frozen=True):
    """All that a runtime needs to make and start one container; nothing is left to choose."""

    name: str
    alloc: str
    image: str
    command: tuple[str, ...]  # docker: the entrypoint ((): the image's own); process: argv together with `args`
    args: tuple[str, ...]
    env: dict[str, str]
    labels: dict[str, str]
    cpu: float  # cores, a hard limit
    memory: int  # bytes, a hard limit
    ports: tuple[Publish, ...] = ()
    stop_signal: str = "SIGTERM"
    log_bytes: int = 10 * 1024 * 1024  # of each log file
    log_files: int = 3
    privileged: bool = False
    network: Literal["bridge", "host"] = "bridge"
    pid: Literal["host"] | None = None
    ipc: Literal["host"] | None = None
    devices: tuple[Device, ...] = ()
    capabilities: Capabilities = Capabilities()
    volumes: tuple[Volume, ...] = ()
    files: tuple[Content, ...] = ()
    namespace: str = "default"  # whose named volumes are meant
    secret: bool = False  # whether something in `env` must not lie on a disk

    @property
    def key(self) -> str:
        """What tells this attempt from every other one on the node."""
        return f"{self.alloc}.{self.labels[ATTEMPT]}"


class Container(Struct, frozen=True):
    """One container as its runtime shows it. Times are of this machine's monotonic clock, in seconds."""

    id: str
    alloc: str
    digest: str
    attempt: int
    state: State
    incarnation: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    started_at: float | None = None
    exit_code: int | None = None
    oom: bool = False
    message: str = ""  # what the runtime says of its end
    image: str = ""  # what the tag that it was made from stands for here; "": not known
    run: str = ""  # tells it from itself after somebody else ended and started it again; "": never so
    output: str = ""  # the last that it said itself, where it ended unasked: a few tidy lines


def describe(
    assigned: Assigned,
    node: Node,
    attempt: int,
    ports: Mapping[str, int],
    incarnation: str,
    *,
    secrets: Mapping[str, bytes] = _NOTHING,
    services: Mapping[str, str] = _NOWHERE,
) -> Description:
    """Describe the container of one attempt. `ports` holds a host port for every port of the task.

    UnknownReference says which `${…}` means nothing here.
    """
    spec = assigned.spec
    publish = tuple(Publish(name, spec.ports[name].container, ports[name]) for name in sorted(spec.ports))
    listen = {port.name: port.host if _on_host(spec) else port.container for port in publish}
    known = _references(assigned, node, attempt, listen) | {f"service.{name}": at for name, at in services.items()}
    hidden = {key: value.encode() for key, value in known.items()}
    if assigned.work is not None:
        hidden["launch.payload"] = assigned.work.payload  # which need not be a text, in a file
    hidden |= {f"{SECRET}.{name}": value for name, value in secrets.items()}
    env = {name: _variable(name, value, hidden) for name, value in spec.env.items()}
    return Description(
        name=f"{assigned.job}.{assigned.task}.{assigned.slot}.{assigned.id}.{attempt}",
        alloc=assigned.id,
        image=spec.image or "",
        command=tuple(render(word, known) for word in spec.command),
        args=tuple(render(word, known) for word in spec.args),
        env=env | _given(assigned, node, attempt) | _port_variables(publish, listen, node.address),
        labels=_labels(assigned, node, attempt, ports, incarnation),
        cpu=spec.resources.cpu,
        memory=spec.resources.memory.bytes,
        ports=publish,
        stop_signal=spec.stop_signal,
        privileged=spec.privileged,
        network=spec.network,
        pid=spec.pid,
        ipc=spec.ipc,
        devices=spec.devices,
        capabilities=spec.capabilities,
        volumes=spec.volumes,
        files=tuple(_file(file, hidden) for file in spec.files),
        namespace=assigned.namespace,
        secret=any(_holds_secret(value) for value in spec.env.values()),
    )


def _variable(name: str, text: str, known: Mapping[str, bytes]) -> str:
    filled = render_bytes(text, known)
    try:
        value = filled.decode()
    except UnicodeDecodeError:
        value = "\0"
    if "\0" in value:
        raise UnknownReference(f"{name} would hold what is no text: such a secret can only go into a file") from None
    return value


def _file(file: File, known: Mapping[str, bytes]) -> Content:
    content = render_bytes(file.content, known)
    return Content(file.path, content, int(file.mode, 8), secret=_holds_secret(file.content))


def _holds_secret(text: str) -> bool:
    return "${" in text and any(isinstance(part, Reference) and part.kind == SECRET for part in parse(text))


def _on_host(spec: Task) -> bool:
    return spec.driver == "process" or spec.network == "host"


def identified(labels: Mapping[str, str], *, id: str, state: State, **seen: object) -> Container | None:  # noqa: A002 - a field's name
    """Read back from its labels which allocation a container runs; None where they do not say so."""
    alloc, digest, attempt = (labels.get(label, "") for label in (ALLOC, DIGEST, ATTEMPT))
    if not alloc or not attempt.isdecimal():
        return None
    pairs = (pair.partition("=") for pair in labels.get(PORTS, "").split(",") if pair)
    return Container(
        id=id,
        alloc=alloc,
        digest=digest,
        attempt=int(attempt),
        state=state,
        incarnation=labels.get(INCARNATION, ""),
        ports={name: int(port) for name, _, port in pairs if port.isdecimal()},
        **seen,  # type: ignore[arg-type] # the remaining fields of Container, by name
    )


def _labels(assigned: Assigned, node: Node, attempt: int, ports: Mapping[str, int], incarnation: str) -> dict[str, str]:
    return {
        CLUSTER: node.cluster,
        NODE: node.id,
        ALLOC: assigned.id,
        DIGEST: assigned.digest,
        ATTEMPT: str(attempt),
        INCARNATION: incarnation,
        PORTS: ",".join(f"{name}={port}" for name, port in sorted(ports.items())),
        PREFIX + "namespace": assigned.namespace,
        PREFIX + "job": assigned.job,
        PREFIX + "task": assigned.task,
    }


def _given(assigned: Assigned, node: Node, attempt: int) -> dict[str, str]:
    return _worked_on(assigned.work) | {
        "HEROCTL_CLUSTER": node.cluster,
        "HEROCTL_NODE": node.name,
        "HEROCTL_NAMESPACE": assigned.namespace,
        "HEROCTL_JOB": assigned.job,
        "HEROCTL_TASK": assigned.task,
        "HEROCTL_SLOT": str(assigned.slot),
        "HEROCTL_ALLOC": assigned.id,
        "HEROCTL_VERSION": str(assigned.version),
        "HEROCTL_ATTEMPT": str(attempt),
    }


def _worked_on(work: Work | None) -> dict[str, str]:
    """Tell a replica of a batch job what it was launched with. What is no text comes in base64."""
    if work is None:
        return {}
    given = {"HEROCTL_LAUNCH": str(work.launch)}
    if work.scheduled_at is not None:
        at = datetime.fromtimestamp(work.scheduled_at / 1000, UTC)
        given["HEROCTL_SCHEDULED_AT"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if work.payload:
        text = _text(work.payload)
        encoded = base64.b64encode(work.payload).decode()
        given |= {"HEROCTL_PAYLOAD_BASE64": encoded} if text is None else {"HEROCTL_PAYLOAD": text}
    return given | {variable(key): value for key, value in work.meta.items()}


def _text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _port_variables(publish: tuple[Publish, ...], listen: Mapping[str, int], address: str) -> dict[str, str]:
    """HEROCTL_PORT_<NAME> is where the workload listens, HEROCTL_ADDR_<NAME> where others reach it."""
    variables = {}
    for port in publish:
        name = _NOT_A_WORD.sub("_", port.name).upper()
        variables[f"HEROCTL_PORT_{name}"] = str(listen[port.name])
        variables[f"HEROCTL_ADDR_{name}"] = f"{_host(address)}:{port.host}"
    return variables


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _references(assigned: Assigned, node: Node, attempt: int, listen: Mapping[str, int]) -> dict[str, str]:
    known = {f"node.{key}": value for key, value in node.attributes.items()}
    known |= {f"node.attributes.{key}": value for key, value in node.attributes.items()}
    known |= {f"node.labels.{key}": value for key, value in node.labels.items()}
    known |= {"node.id": node.id, "node.name": node.name, "node.address": node.address}
    if assigned.work is not None:
        known |= {f"launch.meta.{key}": value for key, value in assigned.work.meta.items()}
        known |= {"launch.number": str(assigned.work.launch), "launch.payload": _text(assigned.work.payload) or ""}
    known |= {
        "alloc.id": assigned.id,
        "alloc.namespace": assigned.namespace,
        "alloc.job": assigned.job,
        "alloc.task": assigned.task,
        "alloc.slot": str(assigned.slot),
        "alloc.version": str(assigned.version),
        "alloc.attempt": str(attempt),
    }
    return known | {f"port.{name}": str(port) for name, port in listen.items()}
