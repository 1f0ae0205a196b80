"""What a drain is about: the allocations that have to leave a node."""

from __future__ import annotations

from collections.abc import Iterator

from heroctl.domain.records import Alloc
from heroctl.domain.state import State


def leaving(state: State, node: str, *, ignore_system: bool) -> Iterator[Alloc]:
    """Give the allocations that a drained node still holds and has to be rid of, stopping ones too."""
    for alloc in state.allocs_on(node):
        if not (ignore_system and state.jobs[alloc.uid].type == "system"):
            yield alloc


def remaining(state: State, node: str) -> int:
    """Count what has yet to leave a node that is drained; 0 where none is."""
    found = state.nodes.get(node)
    if found is None or found.drain is None:
        return 0
    return sum(1 for _ in leaving(state, node, ignore_system=found.drain.ignore_system))
