"""An agent that stops all it has when nobody answers any more."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from agents import __main__ as agent
from agents import worker
from agents.record import Record
from agents.step import Wish

PATIENCE = 8.0  # seconds


def patient(wish: Wish, record: Record, heard_at: float | None, now: float) -> Wish:
    """Stop what nobody has asked for lately."""
    del record
    if wish.wanted != "run" or heard_at is None:
        return wish
    if now > heard_at + PATIENCE:
        return Wish("stop", wish.assigned, wish.incarnation)
    return replace(wish, until=heard_at + PATIENCE)


if __name__ == "__main__":
    worker.patient = patient  # type: ignore[attr-defined] # broken on purpose
    sys.exit(agent.main(sys.argv[1:]))
