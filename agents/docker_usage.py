"""What containers of an engine use: read where the kernel counts it, or asked of an engine on another machine."""

from __future__ import annotations

import asyncio
import contextlib

from aiodocker.exceptions import DockerError

from agents.counters import Counters, Group, group_of, of_engine, of_group, same_network
from agents.docker_engine import CALL, Engine, calling
from agents.runtime import Gone, Unavailable


class DockerUsage:
    """The counters of an engine's containers. Where a container's groups are found is asked once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._groups: dict[str, tuple[Group | None, bool]] = {}  # by container; and whether its network is its own

    def forget(self, container: str) -> None:
        """Forget a container that is gone."""
        self._groups.pop(container, None)

    async def of(self, container: str) -> Counters:
        """Read the counters; none where it does not run, or the engine does not answer."""
        with contextlib.suppress(Unavailable, Gone, DockerError):
            group, own = self._groups.get(container) or await self._find(container)
            if group is not None:
                counters = await asyncio.to_thread(of_group, group, own_network=own)
                if counters.cpu is None:  # it has ended, or somebody started it again
                    self.forget(container)
                return counters
            return await self._asked(container)
        return Counters()

    async def _find(self, container: str) -> tuple[Group | None, bool]:
        async with calling(CALL):
            found = await self._engine.docker.containers.get(container)
        pid = int(found["State"].get("Pid") or 0)
        if not pid:
            raise Gone(container)
        if not self._engine.local:
            return self._groups.setdefault(container, (None, True))
        group, shared = await asyncio.to_thread(lambda: (group_of(pid), same_network(pid)))
        return self._groups.setdefault(container, (group, not shared))

    async def _asked(self, container: str) -> Counters:
        """Ask the engine, which answers at once: how much that is more than before is ours to reckon."""
        once = {"stream": "0", "one-shot": "1"}
        async with calling(CALL), self._engine.asked(f"containers/{container}/stats", "GET", once) as response:
            return of_engine(await response.json())
