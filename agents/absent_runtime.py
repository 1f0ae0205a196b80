"""Stands in for a driver that this node does not offer: it has no containers and starts none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from typing import Final

from agents.attached import Attached
from agents.container import Container, Description
from agents.counters import Counters
from agents.health import Probe
from agents.log_lines import Position, Said
from agents.login import Login
from agents.runtime import DriverMissing, Gone, Ran, Runtime
from heroctl.domain.assignment import Driver
from heroctl.domain.execs import Start


class AbsentRuntime:
    """A runtime that is not there, and never will be."""

    def __init__(self, name: str) -> None:
        self.name: Final = name

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def health(self) -> Driver:
        """Say no."""
        return Driver(healthy=False)

    async def list(self, alloc: str = "") -> list[Container]:
        """Return nothing."""
        del alloc
        return []

    async def pull(self, image: str, login: Login | None = None) -> None:
        """Refuse."""
        del image, login
        raise DriverMissing(self.name)

    async def tidy(self, used: Collection[str]) -> None:
        """Have nothing."""

    async def start(self, description: Description) -> Container:
        """Refuse."""
        del description
        raise DriverMissing(self.name)

    async def signal(self, container: str, signal: str) -> None:
        """Have nothing to signal."""
        del signal
        raise Gone(container)

    async def remove(self, container: str) -> None:
        """Have nothing to remove."""

    async def exec(self, container: str, command: tuple[str, ...], timeout: float) -> Ran:
        """Have nothing to run it in."""
        del command, timeout
        raise Gone(container)

    def attach(self, container: str, start: Start) -> contextlib.AbstractAsyncContextManager[Attached]:
        """Have nothing to run it in."""
        del start
        raise Gone(container)

    async def output(self, container: str) -> str:
        """Have nothing that could have said something."""
        del container
        return ""

    async def follow(self, container: str, position: Position, spare: Callable[[], bool]) -> AsyncGenerator[Said, None]:
        """Have nothing that writes."""
        del container, position, spare
        nothing: tuple[Said, ...] = ()
        for said in nothing:
            yield said

    async def usage(self, container: str) -> Counters:
        """Have nothing that uses anything."""
        del container
        return Counters()

    async def endpoint(self, container: str, port: str) -> tuple[str, int]:
        """Have nothing to reach."""
        raise Gone(f"{container} {port}")

    async def exits(self) -> AsyncIterator[str]:
        """Have nothing to tell."""
        yield ""
        await asyncio.Event().wait()


def absent(driver: str) -> tuple[Runtime, Probe]:
    """Make one, and what would look at the health of its workloads."""

    async def probe(*_: object) -> str:
        return ""

    return AbsentRuntime(driver), probe
