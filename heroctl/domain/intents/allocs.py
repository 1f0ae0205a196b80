"""Intents on what an allocation runs: begin it anew, send it a signal, run a command beside it."""

from __future__ import annotations

from heroctl.domain.assignment import MOST_SIGNALS
from heroctl.domain.errors import Conflict
from heroctl.domain.events import AllocExecRequested, AllocRestartRequested, AllocSignalRequested
from heroctl.domain.intents.change import NOTHING, Change, job_stream
from heroctl.domain.records import Alloc


def restart_alloc(alloc: Alloc) -> Change:
    """End the present attempt, which counts as no failure, and begin another. Asked for already: nothing.

    What is asked is that no attempt up to this one runs: one that ends by itself meanwhile is not ended twice.
    """
    _live(alloc)
    if not alloc.attempt:
        raise Conflict("allocation_not_running", _told(alloc, "has not been started yet"))
    if alloc.restart >= alloc.attempt:
        return NOTHING
    event = AllocRestartRequested(alloc.id, alloc.namespace, alloc.job, alloc.attempt)
    return Change((event,), (job_stream(alloc.namespace, alloc.job),))


def signal_alloc(alloc: Alloc, signal: str) -> Change:
    """Send a signal to the attempt that runs now: once, or not at all, and the timeline tells which."""
    _live(alloc)
    if alloc.phase != "running":
        raise Conflict("allocation_not_running", _told(alloc, "does not run now"))
    if len(alloc.signals) >= MOST_SIGNALS:
        raise Conflict("too_many_signals", _told(alloc, f"has {MOST_SIGNALS} signals that were not answered for yet"))
    number = max([alloc.signalled, *(wish.number for wish in alloc.signals)]) + 1
    event = AllocSignalRequested(alloc.id, alloc.namespace, alloc.job, alloc.attempt, number, signal)
    return Change((event,), (job_stream(alloc.namespace, alloc.job),))


def exec_alloc(alloc: Alloc, request: AllocExecRequested) -> Change:
    """Have a command run beside what runs now."""
    _live(alloc)
    if alloc.phase != "running":
        raise Conflict("allocation_not_running", _told(alloc, "does not run now"))
    return Change((request,), (job_stream(alloc.namespace, alloc.job),))


def _live(alloc: Alloc) -> None:
    if alloc.terminal:
        raise Conflict("allocation_over", _told(alloc, "is over: nothing of it runs any more"))
    if not alloc.live or alloc.stop_requested:
        raise Conflict("allocation_stopping", _told(alloc, "is stopping: another takes its place, where one is to"))


def _told(alloc: Alloc, why: str) -> str:
    return f"allocation {alloc.id} of job '{alloc.job}' {why}"
