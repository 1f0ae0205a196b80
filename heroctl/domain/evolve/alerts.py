"""Folding what concerns alerts."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.alerts import Alert
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.state import State
from heroctl.domain.topics import ALERTS, alert_topic


def _set(state: State, event: e.AlertSet, touch: Touch) -> None:
    """Another threshold is judged anew: it does not fire, until it does."""
    old = state.alerts.get((event.namespace, event.name))
    made = (old.created_at, old.create_index) if old is not None else (touch.time, touch.index)
    _keep(state, Alert(event, *made, touch.index), touch)


def _fired(state: State, event: e.AlertFired, touch: Touch) -> None:
    alert = state.alerts.get((event.namespace, event.name))
    if alert is not None:
        changed = replace(alert, fired_at=touch.time, of=event.of, value=event.value, modify_index=touch.index)
        _keep(state, changed, touch)


def _resolved(state: State, event: e.AlertResolved, touch: Touch) -> None:
    alert = state.alerts.get((event.namespace, event.name))
    if alert is not None:
        _keep(state, replace(alert, fired_at=None, of="", value=0.0, modify_index=touch.index), touch)


def _deleted(state: State, event: e.AlertDeleted, touch: Touch) -> None:
    forget(state, (event.namespace, event.name), touch)


def forget(state: State, key: tuple[str, str], touch: Touch) -> None:
    """Drop an alert."""
    if state.alerts.pop(key, None) is not None:
        touch.add(ALERTS)
        touch.forget(alert_topic(*key))


def _keep(state: State, alert: Alert, touch: Touch) -> None:
    state.alerts[alert.key] = alert
    touch.add(ALERTS, alert_topic(*alert.key))


FOLDS: Final[dict[type[Event], Fold]] = {
    e.AlertSet: _set,
    e.AlertFired: _fired,
    e.AlertResolved: _resolved,
    e.AlertDeleted: _deleted,
}
