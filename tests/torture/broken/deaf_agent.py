"""An agent that lives by the doorbell alone: it pulls once, and never asks for another key to the bell."""

from __future__ import annotations

import sys

from agents import __main__ as main
from agents.agent import Agent
from agents.doorbell import Doorbell
from heroctl.domain.assignment import SyncReply

_take = Agent.take


def take(self: Agent, reply: SyncReply) -> bool:
    """Take the first assignment and no other."""
    return _take(self, reply) if not self.held().index else False


if __name__ == "__main__":
    Agent.take = take  # type: ignore[method-assign] # broken on purpose
    Doorbell.lacks = False  # type: ignore[assignment, method-assign] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
