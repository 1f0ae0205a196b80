"""An agent that takes every assignment at its word: what it does not name is stopped, whoever's history it is of."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from agents import __main__ as main
from agents import agent, desired
from agents.desired import Desired, Heard
from heroctl.domain.assignment import SyncReply

_answered = desired.answered


def answered(held: Desired, reply: SyncReply, now: float) -> Heard:
    """Take it for the next one of the same history."""
    if reply.incarnation != held.incarnation and reply.complete is not None:
        held = replace(held, incarnation=reply.incarnation, index=0)
    return _answered(held, reply, now)


if __name__ == "__main__":
    agent.answered = answered  # type: ignore[assignment, attr-defined] # broken on purpose
    desired.GRACE = 0.0  # type: ignore[misc] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
