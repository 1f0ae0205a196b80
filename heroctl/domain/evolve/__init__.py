"""The fold: state + event → state. One for all processes, so that they cannot disagree.

`evolve` is total over known events and the same on every machine: no clock, no chance, iteration in a fixed order. Each
function below builds new records first and swaps them in at its end, so that one that raises has changed nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heroctl.domain.evolve import (
    access,
    alerts,
    allocs,
    cluster,
    deployments,
    jobs,
    launches,
    namespaces,
    nodes,
    rebalance,
    secrets,
    sessions,
    webhooks,
)
from heroctl.domain.evolve.touch import Fold, Touch

if TYPE_CHECKING:
    from heroctl.domain.events import Event, Record
    from heroctl.domain.state import State

__all__ = ["FOLDS", "Touch", "apply", "evolve"]

FOLDS: dict[type[Event], Fold] = {
    **cluster.FOLDS,
    **access.FOLDS,
    **namespaces.FOLDS,
    **sessions.FOLDS,
    **jobs.FOLDS,
    **launches.FOLDS,
    **deployments.FOLDS,
    **allocs.FOLDS,
    **nodes.FOLDS,
    **secrets.FOLDS,
    **rebalance.FOLDS,
    **webhooks.FOLDS,
    **alerts.FOLDS,
}


def evolve(state: State, record: Record) -> set[str]:
    """Apply one event and return the topics it touched. An event that this release does not know changes nothing."""
    touch = Touch()
    apply(state, record, touch)
    return touch.settle(state)


def apply(state: State, record: Record, touch: Touch) -> None:
    """Apply one of a run of events; `touch.settle` after the last makes the topics' indexes true."""
    touch.index = state.index = record.index
    touch.time = state.time = record.time
    fold = FOLDS.get(type(record.event))
    if fold is not None:
        fold(state, record.event, touch)
