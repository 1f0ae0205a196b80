"""Allocations that are over, as far as they are kept: so many of a slot, and of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from heroctl.domain.evolve.touch import Touch
from heroctl.domain.records import Alloc
from heroctl.domain.state import State
from heroctl.domain.topics import alloc_topic

KEPT_FINISHED_PER_SLOT: Final = 5
KEPT_FINISHED_PER_JOB: Final = 100


def shelve(state: State, newest: Alloc, touch: Touch) -> None:
    """Keep an allocation as history, and forget what is too old beside it."""
    finished = state.finished.setdefault(newest.uid, {})
    finished[newest.id] = None
    if len(finished) <= KEPT_FINISHED_PER_SLOT:
        return
    same_slot = [alloc for alloc in finished if _slot(state.allocs[alloc]) == _slot(newest)]
    gone = dict.fromkeys(same_slot[:-KEPT_FINISHED_PER_SLOT])
    gone.update(dict.fromkeys([alloc for alloc in finished if alloc not in gone][:-KEPT_FINISHED_PER_JOB]))
    for alloc in gone:
        del finished[alloc]
        _forget(state, newest.uid, alloc, touch)


def shelve_all(state: State, uid: int, allocs: Sequence[str], touch: Touch) -> None:
    """Keep allocations of a job as history, the oldest first. Of very many most are not looked at: they are too old."""
    for alloc in allocs[:-KEPT_FINISHED_PER_JOB]:
        _forget(state, uid, alloc, touch)
    for alloc in allocs[-KEPT_FINISHED_PER_JOB:]:
        shelve(state, state.allocs[alloc], touch)


def _slot(alloc: Alloc) -> tuple[int, str, int]:
    return alloc.launch, alloc.task, alloc.slot


def _forget(state: State, uid: int, alloc: str, touch: Touch) -> None:
    del state.allocs[alloc], state.by_job[uid][alloc]
    touch.forget(alloc_topic(alloc))
