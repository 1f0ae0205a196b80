"""What an agent asks of a container runtime, and the ways in which it may say no.

Three runtimes keep this promise and pass one suite of tests: Docker, plain processes, and a fake with scripted faults.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from agents.attached import Attached
from agents.container import Container, Description
from agents.counters import Counters
from agents.log_lines import Position, Said
from agents.login import Login
from agents.step import Fault
from heroctl.domain.assignment import Driver
from heroctl.domain.execs import Start


class RuntimeFault(Exception):  # noqa: N818 - the word of the lifecycle
    """A runtime did not do what it was asked."""


class Unavailable(RuntimeFault):
    """It cannot be reached, is too slow or too busy. Nothing is known of what was asked: look again, later."""


class Gone(RuntimeFault):
    """There is no such container, or nothing runs in it any more: look again."""


class StartFault(RuntimeFault):
    """A container was not started, and none is left of it. `fault` tells what follows."""

    fault: Fault


class ImageAbsent(StartFault):
    """The image is not on this machine: it must be pulled."""

    def __init__(self, image: str) -> None:
        super().__init__(image)
        self.fault = Fault("absent", "image_absent", f"{image} is not on this node")


class ImageMissing(StartFault):
    """No registry has the image, or none gives it to us: trying again would not help."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("final", "image_missing", message)


class PullFailed(StartFault):
    """The image could not be brought here this time."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("attempt", "image_missing", message)


class PortInUse(StartFault):
    """A host port is taken by someone else; 0: which one is not said."""

    def __init__(self, port: int, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("port", "port_in_use", message, port)


class StartFailed(StartFault):
    """The workload could not be started: no such program, a setting that the runtime refuses."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("attempt", "start_failed", message)


class NotAllowed(StartFault):
    """The workload would reach what this node does not allow."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.fault = Fault("final", "not_allowed", f"this node does not allow {what}")


class HostPathMissing(StartFault):
    """A path of the host is not there: perhaps it will be."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.fault = Fault("attempt", "host_path_missing", f"{path} is not on this node")


class ImageAuthFailed(StartFault):
    """A registry does not take who we say we are, or wants to know it: trying again would not help."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("final", "image_auth_failed", message)


class DiskLow(StartFault):
    """There is too little room on this node's disk to bring an image here: perhaps there will be."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("attempt", "disk_low", message)


class NoTmpfs(StartFault):
    """This node has no place in memory for what must not lie on a disk."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("final", "no_tmpfs", message)


class VolumeUnusable(StartFault):
    """A named volume cannot be made on this node, or is not what a volume is."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = Fault("attempt", "volume_unusable", message)


class DriverMissing(StartFault):
    """This node does not offer the task's driver."""

    def __init__(self, driver: str) -> None:
        super().__init__(driver)
        self.fault = Fault("final", "driver_missing", f"this node does not offer the driver {driver}")


class Ran(NamedTuple):
    """How a command inside a container ended, and the end of what it said."""

    exit_code: int
    output: str


class Runtime(Protocol):
    """Containers of one cluster and node, known by their labels; others are never seen nor touched.

    Every call ends by itself within a bounded time, and may raise Unavailable.
    """

    @property
    def name(self) -> str:
        """The driver's name in a task's spec."""
        ...

    async def open(self) -> None:
        """Begin. May be called before the runtime is there."""
        ...

    async def close(self) -> None:
        """End; containers go on."""
        ...

    async def health(self) -> Driver:
        """Tell whether it answers, and its version. Never raises."""
        ...

    async def list(self, alloc: str = "") -> list[Container]:
        """Return all containers, or those of one allocation."""
        ...

    async def pull(self, image: str, login: Login | None = None) -> None:
        """Bring an image here, unless it is. ImageMissing, ImageAuthFailed, PullFailed, DiskLow."""
        ...

    async def tidy(self, used: Collection[str]) -> None:
        """Where room is short, remove images that it brought here itself and that are none of these. Never raises."""
        ...

    async def start(self, description: Description) -> Container:
        """Make and start a container, and return it running, with what its image's tag stands for here.

        Its files are where the workload reads them, its named volumes are there. StartFault: nothing of it is left.
        """
        ...

    async def signal(self, container: str, signal: str) -> None:
        """Send a signal (`SIGTERM` …) to the workload. Gone where nothing runs."""
        ...

    async def remove(self, container: str) -> None:
        """Remove a container that does not run; one that is gone already is no fault."""
        ...

    async def exec(self, container: str, command: tuple[str, ...], timeout: float) -> Ran:
        """Run a command beside the workload. Gone where nothing runs.

        TimeoutError after `timeout` seconds: it is ended then, with all that it started.
        """
        ...

    def attach(self, container: str, start: Start) -> AbstractAsyncContextManager[Attached]:
        """Run a command beside the workload with somebody attached, until its context is left. Gone where nothing runs.

        One that cannot be begun ends at once, with 126 or 127.
        """
        ...

    async def output(self, container: str) -> str:
        """Return the last lines that the workload wrote, tidied; "" where they cannot be had soon. Never raises."""
        ...

    def follow(self, container: str, position: Position, spare: Callable[[], bool]) -> AsyncGenerator[Said, None]:
        """Give what the workload writes after a position, until it has ended and all is read. Never raises.

        While `spare` says no, lines are only counted.
        """
        ...

    async def usage(self, container: str) -> Counters:
        """Return what the workload has used so far; nothing where it does not run. Never raises."""
        ...

    async def endpoint(self, container: str, port: str) -> tuple[str, int]:
        """Return where this machine reaches a named port of the workload: address and port. Gone where it has none."""
        ...

    def exits(self) -> AsyncIterator[str]:
        """Yield allocations as their containers end; "" when some may have been missed: look at all. Never ends."""
        ...
