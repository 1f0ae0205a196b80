"""Folding what concerns webhooks. What is delivered to them stands in no event, and in no state."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.records import Webhook
from heroctl.domain.state import State
from heroctl.domain.topics import WEBHOOKS, webhook_topic


def _created(state: State, event: e.WebhookCreated, touch: Touch) -> None:
    hook = Webhook(
        id=event.id,
        namespace=event.namespace,
        url=event.url,
        events=event.events,
        row=event.row,
        user=event.user,
        token=event.token,
        description=event.description,
        enabled=event.enabled,
        since=touch.index,
        created_at=touch.time,
        create_index=touch.index,
        modify_index=touch.index,
    )
    _keep(state, hook, touch)


def _updated(state: State, event: e.WebhookUpdated, touch: Touch) -> None:
    hook = state.webhooks.get(event.id)
    if hook is None:
        return
    on = event.enabled and not hook.enabled
    changed = replace(
        hook,
        url=event.url,
        events=event.events,
        user=event.user,
        token=event.token,
        description=event.description,
        enabled=event.enabled,
        since=touch.index if on else hook.since,
        reason="" if event.enabled else hook.reason,
    )
    _keep(state, changed, touch)


def _rotated(state: State, event: e.WebhookRotated, touch: Touch) -> None:
    hook = state.webhooks.get(event.id)
    if hook is not None:
        _keep(state, replace(hook, row=event.row, old_row=hook.row, old_until=event.until), touch)


def _disabled(state: State, event: e.WebhookDisabled, touch: Touch) -> None:
    hook = state.webhooks.get(event.id)
    if hook is not None:
        _keep(state, replace(hook, enabled=False, reason=event.reason), touch)


def _deleted(state: State, event: e.WebhookDeleted, touch: Touch) -> None:
    if state.webhooks.pop(event.id, None) is not None:
        touch.add(WEBHOOKS)
        touch.forget(webhook_topic(event.id))


def _told(state: State, event: e.WebhookPinged | e.WebhookRedelivered, touch: Touch) -> None:
    """Change nothing: who goes through the log event by event does what is asked."""


def forget_reader(state: State, touch: Touch, *, user: str = "", token: str = "") -> None:
    """Let webhooks read for nobody any more: who gets the name that is free now is somebody else."""
    for hook in [hook for hook in state.webhooks.values() if hook.user]:
        if (user and hook.user == user) or (token and hook.token == token):
            _keep(state, replace(hook, user="", token=""), touch)


def _keep(state: State, hook: Webhook, touch: Touch) -> None:
    state.webhooks[hook.id] = replace(hook, modify_index=touch.index)
    touch.add(WEBHOOKS, webhook_topic(hook.id))


FOLDS: Final[dict[type[Event], Fold]] = {
    e.WebhookCreated: _created,
    e.WebhookUpdated: _updated,
    e.WebhookRotated: _rotated,
    e.WebhookDeleted: _deleted,
    e.WebhookDisabled: _disabled,
    e.WebhookPinged: _told,
    e.WebhookRedelivered: _told,
}
