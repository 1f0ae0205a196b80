"""Intents of those who run the cluster as a whole: its brake, and moving replicas to better nodes."""

from __future__ import annotations

from heroctl.domain.errors import Conflict
from heroctl.domain.events import BrakeRequested, JobRebalanceRequested
from heroctl.domain.intents.change import NOTHING, Change, claim_stream, job_stream
from heroctl.domain.records import Job
from heroctl.domain.state import State


def set_brake(state: State, *, on: bool) -> Change:
    """Hold the replacement of what is on nodes that are down, until it is let go; or let it go. So already: nothing."""
    if on == (state.brake_wanted is True) and (on or not state.brake or state.brake_wanted is False):
        return NOTHING
    return Change((BrakeRequested(on),), (claim_stream("cluster", "brake"),))


def rebalance_job(job: Job) -> Change:
    """Have those replicas of a job move that would be clearly better elsewhere; asked already: nothing."""
    if job.stopped:
        raise Conflict("job_stopped", f"job '{job.name}' is stopped: there is nothing to move")
    if job.type != "service":
        raise Conflict("not_movable", f"job '{job.name}' is of type {job.type}: its replicas stay where they are")
    if job.rebalance:
        return NOTHING
    return Change((JobRebalanceRequested(job.uid, job.namespace, job.name),), (job_stream(job.namespace, job.name),))
