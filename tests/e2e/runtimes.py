"""What really runs: workloads as the machine shows them, whatever the cluster says of them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import docker
from docker.errors import NotFound

from tests import image
from tests.waiting import until

RUNTIMES: Final = ("process", "docker")
Name = Literal["process", "docker"]


class Workload(NamedTuple):
    """One running container or process. `id` and `started` tell it from every other one there ever was."""

    alloc: str
    attempt: int
    job: str
    version: int
    id: str
    started: str


class Runtime(Protocol):
    """How tests see and hurt workloads of one cluster."""

    @property
    def name(self) -> Name:
        """Its name in a task's spec."""
        ...

    def running(self, cluster: str) -> list[Workload]:
        """Return what runs, sorted by allocation."""
        ...

    def left(self, cluster: str) -> int:
        """Count what there is of the cluster, what has ended included."""
        ...

    def crash(self, workload: Workload) -> None:
        """End a workload unasked, and wait for its end."""
        ...

    def task(self, script: str) -> dict[str, Any]:
        """Return the part of a task's spec that runs a shell script."""
        ...


@dataclass(frozen=True, slots=True)
class Processes:
    """The process runtime: a workload is the outermost process with the variables of its allocation."""

    name: Name = "process"

    def running(self, cluster: str) -> list[Workload]:
        """Look through all processes of the machine."""
        found = {pid: env for pid, env in _environments() if env.get("HEROCTL_CLUSTER") == cluster}
        workloads = []
        for pid, env in found.items():
            with contextlib.suppress(OSError):
                stat = _stat(pid)
                if int(stat[1]) not in found and stat[0] != "Z" and _writes_a_log(pid):
                    workloads.append(_workload(env, str(pid), stat[19]))
        return sorted(workloads)

    def left(self, cluster: str) -> int:
        """Nothing is left of a process that has ended, but files."""
        return len(self.running(cluster))

    def crash(self, workload: Workload) -> None:
        """Kill it."""
        pid = int(workload.id)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _lives(pid, workload.started), what=f"the end of process {pid}")

    def task(self, script: str) -> dict[str, Any]:
        """Run it in this machine's shell."""
        return {"driver": "process", "command": ["/bin/sh", "-c", script]}


@dataclass(frozen=True, slots=True)
class Containers:
    """The Docker runtime on one engine; `url` None: the machine's own."""

    url: str | None = None
    name: Name = "docker"

    def running(self, cluster: str) -> list[Workload]:
        """Ask the engine."""
        with self._engine() as engine:
            listed = engine.containers.list(filters={"label": f"heroctl.cluster={cluster}"}, ignore_removed=True)
            return sorted(_container(found.attrs) for found in listed)

    def left(self, cluster: str) -> int:
        """Ask the engine for all containers, but those that it could not remove itself."""
        with self._engine() as engine:
            label = f"heroctl.cluster={cluster}"
            listed = engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
            return sum(found.status != "dead" for found in listed)

    def crash(self, workload: Workload) -> None:
        """Kill it behind the agent's back."""
        with self._engine() as engine, contextlib.suppress(NotFound):
            found = engine.containers.get(workload.id)
            os.kill(int(found.attrs["State"]["Pid"]), signal.SIGKILL)
            found.wait(timeout=10)

    def task(self, script: str) -> dict[str, Any]:
        """Run it in the tests' image."""
        return {"driver": "docker", "image": image.NAME, "command": ["/bin/sh", "-c", script]}

    @contextlib.contextmanager
    def _engine(self) -> Iterator[docker.DockerClient]:
        client = docker.DockerClient(base_url=self.url) if self.url else docker.from_env()
        with contextlib.closing(client):
            yield client


def _container(attrs: dict[str, Any]) -> Workload:
    env = dict(entry.partition("=")[::2] for entry in attrs["Config"]["Env"])
    return _workload(env, attrs["Id"], attrs["State"]["StartedAt"])


def _workload(env: dict[str, str], identity: str, started: str) -> Workload:
    return Workload(
        alloc=env["HEROCTL_ALLOC"],
        attempt=int(env["HEROCTL_ATTEMPT"]),
        job=env["HEROCTL_JOB"],
        version=int(env["HEROCTL_VERSION"]),
        id=identity,
        started=started,
    )


def _environments() -> Iterator[tuple[int, dict[str, str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                raw = (entry / "environ").read_bytes()
                if b"HEROCTL_ALLOC=" in raw:
                    pairs = (part.partition("=")[::2] for part in raw.decode(errors="replace").split("\0"))
                    yield int(entry.name), dict(pairs)


def _writes_a_log(pid: int) -> bool:
    """Tell a workload from a health check beside it, whose output goes to the agent."""
    return Path(f"/proc/{pid}/fd/1").readlink().name == "stdout.log"


def _stat(pid: int) -> list[str]:
    """Return the fields after the name: state, parent, …; the 20th is the start time."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _lives(pid: int, started: str) -> bool:
    with contextlib.suppress(OSError):
        stat = _stat(pid)
        return stat[0] != "Z" and stat[19] == started
    return False
