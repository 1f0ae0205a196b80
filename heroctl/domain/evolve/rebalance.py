"""Folding what concerns the moving of replicas to better nodes."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.jobs import release_quarantine
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.state import State


def _begun(state: State, event: e.JobRebalanceRequested | e.JobRebalanceBegun, touch: Touch) -> None:
    if event.uid not in state.jobs:
        return
    if isinstance(event, e.JobRebalanceRequested):
        release_quarantine(state, event.uid, touch)
    _set(state, event.uid, touch, rebalance=touch.index)


def _ended(state: State, event: e.JobRebalanced, touch: Touch) -> None:
    if event.uid not in state.jobs:
        return
    _set(state, event.uid, touch, rebalance=0, rebalanced=touch.index)
    for alloc in [each for each in state.allocs_of(event.uid) if each.misplaced and each.live]:
        state.allocs[alloc.id] = replace(alloc, misplaced=False, modify_index=touch.index)
        touch.all(alloc.topics)


def _set(state: State, uid: int, touch: Touch, **fields: int) -> None:
    job = replace(state.jobs[uid], modify_index=touch.index, **fields)
    state.jobs[uid] = job
    touch.job(job)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.JobRebalanceRequested: _begun,
    e.JobRebalanceBegun: _begun,
    e.JobRebalanced: _ended,
}
