"""One kit for each runtime: how to make a workload that behaves in a certain way there."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from agents.clock import RealClock
from agents.container import ALLOC, ATTEMPT, CLUSTER, DIGEST, INCARNATION, NODE, PORTS, Description, Publish
from agents.docker_runtime import DockerRuntime
from agents.fake_runtime import FakeRuntime, Script
from agents.ground import Ground
from agents.host_files import HostFiles
from agents.memory import Memory
from agents.process_runtime import ProcessRuntime
from agents.runtime import Runtime, Unavailable
from agents.volumes import Volumes
from tests import image
from tests.waiting import eventually

Behaviour = Literal["stays", "exits", "talks", "deaf", "refused", "greedy", "serves", "hangs up", "unknown image"]

SCRIPTS: Final[dict[str, str]] = {
    "stays": "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done",
    "exits": "exit 3",
    "talks": r"printf '1\n2\nfour\nfive \377\n\033[31mred\033[0m\n\n'; sleep 0.2; printf 'seven\neig\000ht' >&2; false",
    "deaf": "trap '' TERM; while :; do sleep 3600 & wait $!; done",
    "hangs up": "trap 'exit 7' HUP; echo ready; while :; do sleep 3600 & wait $!; done",
    "greedy": "x=0123456789abcdef; while :; do x=$x$x$x$x; done",
}
_numbers = itertools.count(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


class Kit(Protocol):
    """What the contract's tests need of a runtime."""

    cluster: str

    @property
    def runtime(self) -> Runtime:
        """One that is open."""
        ...

    @property
    def memory(self) -> Path:
        """Where secret files are, below."""
        ...

    def path(self, name: str) -> str:
        """Name a place as files and volumes are placed there."""
        ...

    def again(self) -> Runtime:
        """Make another one over the same containers, as an agent does that was started again."""
        ...

    def describe(self, behaviour: Behaviour, *, attempt: int = 1, alloc: str = "", port: int = 0) -> Description:
        """Describe a workload that behaves so."""
        ...


def description(cluster: str, alloc: str, attempt: int, port: int, **more: object) -> Description:
    alloc = alloc or f"a{next(_numbers)}{secrets.token_hex(4)}"
    ports = (Publish("http", 8080, port),) if port else ()
    labels = {
        CLUSTER: cluster,
        NODE: "n1",
        ALLOC: alloc,
        DIGEST: "d1",
        ATTEMPT: str(attempt),
        INCARNATION: "i1",
        PORTS: f"http={port}" if port else "",
    }
    filled: dict[str, object] = {
        "name": f"shop.web.0.{alloc}.{attempt}",
        "alloc": alloc,
        "image": "",
        "command": (),
        "args": (),
        "env": {"GREETING": "hello there", "HEROCTL_PORT_HTTP": str(port)},
        "labels": labels,
        "cpu": 0.5,
        "memory": 32 * 1024 * 1024,
        "ports": ports,
    }
    return Description(**(filled | more))  # type: ignore[arg-type] # fields by name


def ground(folder: Path, memory: Path, driver: str) -> Ground:
    return Ground(Volumes(folder / "volumes"), HostFiles(folder / "files", Memory("node", str(memory)), driver))


def memory() -> Path:
    """Name a place in memory; whoever has it removes it."""
    return Path(f"/dev/shm/heroctl-test-{secrets.token_hex(4)}")


@dataclass
class FakeKit:
    cluster: str = "test"
    memory: Path = Path("/nowhere")
    runtime: FakeRuntime = field(default_factory=lambda: FakeRuntime(RealClock()))

    def __post_init__(self) -> None:
        self.runtime.scripts = {
            "exits": Script(exits_after=0.01, exit_code=3),
            "talks": Script(exits_after=0.01, exit_code=3, says="four\nfive \ufffd\n\x1b[31mred\nseven\neig\0ht"),
            "deaf": Script(stop_takes=None),
            "refused": Script(refused="no such program"),
            "greedy": Script(exits_after=0.01, exit_code=137, oom=True),
            "hangs up": Script(hung_up=7, says="ready"),
            "unknown image": Script(missing=True),
        }

    def path(self, name: str) -> str:
        return f"/{name}"

    def again(self) -> FakeRuntime:
        other = FakeRuntime(RealClock())
        other.__dict__.update({**self.runtime.__dict__, "_timers": set()})
        return other

    def describe(self, behaviour: Behaviour, *, attempt: int = 1, alloc: str = "", port: int = 0) -> Description:
        return description(self.cluster, alloc, attempt, port, image=behaviour)


@dataclass
class ProcessKit:
    folder: Path
    cluster: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")
    memory: Path = field(default_factory=memory)

    def __post_init__(self) -> None:
        self.runtime = self.again()

    def path(self, name: str) -> str:
        return name

    def again(self) -> ProcessRuntime:
        own = ground(self.folder.with_name(f"{self.folder.name}-host"), self.memory, "process")
        return ProcessRuntime(self.cluster, "n1", self.folder, "boot1", own)

    def describe(self, behaviour: Behaviour, *, attempt: int = 1, alloc: str = "", port: int = 0) -> Description:
        if behaviour == "refused":
            command: tuple[str, ...] = ("/no/such/program",)
        elif behaviour == "serves":
            command = ("python3", "-m", "http.server", str(port))
        else:
            command = ("/bin/sh", "-c", SCRIPTS[behaviour])
        return description(self.cluster, alloc, attempt, port, command=command)


@dataclass
class DockerKit:
    folder: Path | None = None  # of volumes and files; None: there are none
    cluster: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")
    memory: Path = field(default_factory=memory)

    def __post_init__(self) -> None:
        self.runtime = self.again()

    def path(self, name: str) -> str:
        return f"/{name}"

    def again(self) -> DockerRuntime:
        own = ground(self.folder, self.memory, "docker") if self.folder is not None else None
        return DockerRuntime(self.cluster, "n1", ground=own)

    def describe(self, behaviour: Behaviour, *, attempt: int = 1, alloc: str = "", port: int = 0) -> Description:
        name = "heroctl-test/nowhere:1" if behaviour == "unknown image" else image.NAME
        if behaviour == "refused":
            command: tuple[str, ...] = ("/no/such/program",)
        elif behaviour == "serves":
            command = ("httpd", "-f", "-p", "8080", "-h", "/tmp")
        else:
            command = ("/bin/sh", "-c", SCRIPTS.get(behaviour, SCRIPTS["stays"]))
        return description(self.cluster, alloc, attempt, port, image=name, command=command)


@contextlib.asynccontextmanager
async def opened(kind: str) -> AsyncIterator[Kit]:
    """Open a kit of this kind; leave nothing running."""
    with tempfile.TemporaryDirectory(prefix="heroctl-agents-") as folder:
        own = Path(folder) / "own"
        kit: Kit = FakeKit() if kind == "fake" else DockerKit(own) if kind == "docker" else ProcessKit(own)
        await kit.runtime.open()
        try:
            yield kit
        finally:
            await clear(kit.runtime)
            await kit.runtime.close()
            shutil.rmtree(kit.memory, ignore_errors=True)


async def clear(runtime: Runtime) -> None:
    for container in await runtime.list():
        with contextlib.suppress(Exception):
            await runtime.signal(container.id, "SIGKILL")
    await eventually(lambda: _removed(runtime), what="the removal of containers")


async def _removed(runtime: Runtime) -> bool:
    for container in await runtime.list():
        with contextlib.suppress(Unavailable):
            await runtime.remove(container.id)
    return not await runtime.list()


def lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
