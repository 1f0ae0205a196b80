"""Intents on alerts."""

from __future__ import annotations

from heroctl.domain.alerts import MOST, absent, check
from heroctl.domain.errors import Conflict, not_found
from heroctl.domain.events import AlertDeleted, AlertSet
from heroctl.domain.intents.change import NOTHING, Change, claim_stream
from heroctl.domain.state import State


def alert_stream(namespace: str, name: str) -> str:
    """Name the stream of one alert."""
    return claim_stream("alert", f"{namespace}/{name}")


def create_alert(state: State, said: AlertSet) -> Change:
    """Set a new alert. Raises `invalid_alert`, `alert_exists`, `too_many_alerts`."""
    check(said)
    if said.namespace not in state.namespaces:
        raise not_found("namespace", said.namespace)
    if (said.namespace, said.name) in state.alerts:
        raise Conflict("alert_exists", f"alert '{said.name}' exists already")
    if sum(namespace == said.namespace for namespace, _ in state.alerts) >= MOST:
        raise Conflict("too_many_alerts", f"namespace '{said.namespace}' has {MOST} alerts: delete one first")
    return _set(said)


def update_alert(state: State, said: AlertSet) -> Change:
    """Set an alert anew; said so already: nothing. Raises `alert_not_found`, `invalid_alert`."""
    check(said)
    known = state.alerts.get((said.namespace, said.name))
    if known is None:
        raise absent(said.namespace, said.name)
    return NOTHING if known.said == said else _set(said)


def delete_alert(state: State, namespace: str, name: str) -> Change:
    """Drop an alert. Raises `alert_not_found`."""
    if (namespace, name) not in state.alerts:
        raise absent(namespace, name)
    return Change((AlertDeleted(namespace, name),), (alert_stream(namespace, name),))


def _set(said: AlertSet) -> Change:
    return Change((said,), (alert_stream(said.namespace, said.name),))
