"""Intents on what an allocation runs: begin it anew, send it a signal."""

from __future__ import annotations

from typing import NoReturn

from heroctl.domain.assignment import MOST_SIGNALS
from heroctl.domain.errors import Conflict
from heroctl.domain.events import AllocRestartRequested, AllocSignalRequested
from heroctl.domain.intents.change import NOTHING, Change, job_stream
from heroctl.domain.records import Alloc


def restart_alloc(alloc: Alloc) -> Change:
    """End the present attempt, which counts as no failure, and begin another. Asked for already: nothing.

    What is asked is that no attempt up to this one runs: one that ends by itself meanwhile is not ended twice.
    """
    _live(alloc)
    if not alloc.attempt:
        _refuse(alloc, "allocation_not_running", "has not been started yet: there is nothing to start anew")
    if alloc.restart >= alloc.attempt:
        return NOTHING
    event = AllocRestartRequested(alloc.id, alloc.namespace, alloc.job, alloc.attempt)
    return Change((event,), (job_stream(alloc.namespace, alloc.job),))


def signal_alloc(alloc: Alloc, signal: str) -> Change:
    """Send a signal to the attempt that runs now: once, or not at all, and the timeline tells which."""
    _live(alloc)
    if alloc.phase != "running":
        _refuse(alloc, "allocation_not_running", "does not run now: there is nothing to send a signal to")
    if len(alloc.signals) >= MOST_SIGNALS:
        _refuse(alloc, "too_many_signals", f"has {MOST_SIGNALS} signals that its node has not answered for yet")
    number = max([alloc.signalled, *(wish.number for wish in alloc.signals)]) + 1
    event = AllocSignalRequested(alloc.id, alloc.namespace, alloc.job, alloc.attempt, number, signal)
    return Change((event,), (job_stream(alloc.namespace, alloc.job),))


def _live(alloc: Alloc) -> None:
    if alloc.terminal:
        _refuse(alloc, "allocation_over", "is over: nothing of it runs any more")
    if not alloc.live or alloc.stop_requested:
        _refuse(alloc, "allocation_stopping", "is stopping: another takes its place, where one is to")


def _refuse(alloc: Alloc, code: str, why: str) -> NoReturn:
    raise Conflict(code, f"allocation {alloc.id} of job '{alloc.job}' {why}")
