"""An agent that knows only what it started itself: no journal, no labels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agents import __main__ as agent
from agents.container import Container, Description
from agents.docker_runtime import DockerRuntime
from agents.process_runtime import ProcessRuntime
from agents.runtime import Runtime


def blind(kind: type[DockerRuntime | ProcessRuntime]) -> None:
    """Hide from an agent what its predecessor left."""
    started: set[str] = set()
    really_list, really_start = kind.list, kind.start

    async def start(self: Runtime, description: Description) -> Container:
        made = await really_start(self, description)  # type: ignore[arg-type] # either kind, as it is itself
        started.add(made.id)
        return made

    async def listed(self: Runtime, alloc: str = "") -> list[Container]:
        return [one for one in await really_list(self, alloc) if one.id in started]  # type: ignore[arg-type] # as above

    kind.start, kind.list = start, listed  # type: ignore[method-assign] # broken on purpose


if __name__ == "__main__":
    for entry in Path(os.environ["HEROCTL_E2E"]).glob("agent-*/allocs/*"):
        entry.unlink()
    blind(DockerRuntime)
    blind(ProcessRuntime)
    sys.exit(agent.main(sys.argv[1:]))
