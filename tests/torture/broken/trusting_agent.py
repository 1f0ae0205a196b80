"""An agent that takes an engine that does not answer for one without containers."""

from __future__ import annotations

import sys

from agents import __main__ as agent
from agents.container import Container
from agents.docker_runtime import DockerRuntime
from agents.runtime import Unavailable

_list = DockerRuntime.list


async def listed(self: DockerRuntime, alloc: str = "") -> list[Container]:
    """Say that there is nothing where nobody knows."""
    try:
        return await _list(self, alloc)
    except Unavailable:
        return []


if __name__ == "__main__":
    DockerRuntime.list = listed  # type: ignore[method-assign] # broken on purpose
    sys.exit(agent.main(sys.argv[1:]))
