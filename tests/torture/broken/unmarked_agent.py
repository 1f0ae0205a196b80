"""An agent that knows how far a history went, and not which one it was."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from agents import __main__ as main
from agents import agent
from agents.desired import Told

_held = agent.Agent.held


def held(self: agent.Agent) -> Told:
    """Say nothing of the history."""
    return replace(_held(self), mark=None)


if __name__ == "__main__":
    agent.Agent.held = held  # type: ignore[method-assign] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
