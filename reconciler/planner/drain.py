"""Nodes that are drained: what has not left one in time is stopped, and when the last of it is gone that is said.

Who leaves for another node before that is a matter of its job's rollout. Here is what concerns the node as a whole: at
its deadline all that is left is stopped; those of system jobs go last, when nothing else is there any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from heroctl.domain.draining import leaving
from heroctl.domain.events import AllocStopping, Event, NodeDrainFinished
from heroctl.domain.intents.change import node_stream
from heroctl.domain.lifecycle import DRAIN_DEADLINE
from heroctl.domain.records import Alloc, Drain, Node
from heroctl.domain.state import State
from reconciler.planner.liveness import Census
from reconciler.planner.piece import Piece

DRAINED: Final = "drained"  # why a system job's replica is stopped, the last on its node
_MOST: Final = 1_000  # events of one piece


def drains(state: State, census: Census, now: int) -> tuple[list[Piece], int | None]:
    """Decide for all nodes that are drained; and the moment (ms) at which the next deadline passes."""
    pieces: list[Piece] = []
    wake: int | None = None
    drained = [(node, node.drain) for name in census.drained if (node := state.nodes[name]).drain is not None]
    for node, drain in drained:
        left = list(leaving(state, node.id, ignore_system=drain.ignore_system))
        pieces += _pieces(node, _end(node, drain) if not left else _stops(state, drain, left, now))
        if left and drain.deadline is not None and drain.deadline > now:
            wake = drain.deadline if wake is None else min(wake, drain.deadline)
    return pieces, wake


def _end(node: Node, drain: Drain) -> list[Event]:
    return [NodeDrainFinished(node.id, node.name, drain.moved, drain.stopped)]


def _stops(state: State, drain: Drain, left: list[Alloc], now: int) -> list[Event]:
    live = [alloc for alloc in left if alloc.live]
    if drain.deadline is not None and drain.deadline <= now:
        return [_stopping(alloc, DRAIN_DEADLINE) for alloc in live]
    if all(state.jobs[alloc.uid].type == "system" for alloc in left):
        return [_stopping(alloc, DRAINED) for alloc in live]
    return []


def _stopping(alloc: Alloc, reason: str) -> AllocStopping:
    return AllocStopping(alloc.id, alloc.namespace, alloc.job, reason)


def _pieces(node: Node, events: Sequence[Event]) -> list[Piece]:
    """Let it become true only if the drain is as it was: it may have been cancelled, or put off, meanwhile."""
    reads = (node_stream(node.id),)
    return [Piece(tuple(events[at : at + _MOST]), reads) for at in range(0, len(events), _MOST)]
