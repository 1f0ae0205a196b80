"""Intents on webhooks. Whoever changes where one leads, or what it tells, has it read for himself from then on."""

from __future__ import annotations

from typing import Final

from heroctl.domain.errors import Conflict, not_found
from heroctl.domain.events import (
    WebhookCreated,
    WebhookDeleted,
    WebhookPinged,
    WebhookRedelivered,
    WebhookRotated,
    WebhookUpdated,
)
from heroctl.domain.intents.change import NOTHING, Change, claim_stream
from heroctl.domain.intents.namespaces import find_namespace
from heroctl.domain.records import Webhook
from heroctl.domain.state import State
from heroctl.domain.webhooks import ALL

MOST: Final = 100  # of a namespace


def webhook_stream(identity: str) -> str:
    """Name the stream of a webhook."""
    return claim_stream("webhook", identity)


def find_webhook(state: State, identity: str) -> Webhook:
    """Return a webhook, or refuse with `webhook_not_found`."""
    found = state.webhooks.get(identity)
    if found is None:
        raise not_found("webhook", identity)
    return found


def find_enabled(state: State, identity: str) -> Webhook:
    """Return a webhook that is switched on, or refuse with `webhook_disabled`."""
    found = find_webhook(state, identity)
    if not found.enabled:
        raise Conflict("webhook_disabled", f"webhook '{identity}' is switched off: switch it on first")
    return found


def create_webhook(state: State, event: WebhookCreated) -> Change:
    """Make a webhook, whose secret is kept already. Refuses with `too_many_webhooks` and `namespace_not_found`."""
    if event.id in state.webhooks:
        raise Conflict("webhook_exists", f"webhook '{event.id}' exists already")
    if event.namespace != ALL:
        find_namespace(state, event.namespace)
    if sum(hook.namespace == event.namespace for hook in state.webhooks.values()) >= MOST:
        raise Conflict("too_many_webhooks", f"namespace '{event.namespace}' has {MOST} webhooks: delete some first")
    reads = () if event.namespace == ALL else (claim_stream("namespace", event.namespace),)
    return Change((event,), (webhook_stream(event.id),), reads)


def update_webhook(state: State, event: WebhookUpdated) -> Change:
    """Make a webhook be as an event says; so already, for whomever it reads: nothing."""
    hook = find_webhook(state, event.id)
    wanted = (event.url, event.events, event.description, event.enabled)
    if hook.user and wanted == (hook.url, hook.events, hook.description, hook.enabled):
        return NOTHING
    return Change((event,), (webhook_stream(event.id),))


def rotate_webhook(state: State, event: WebhookRotated) -> Change:
    """Give a webhook another secret, which is kept already."""
    find_webhook(state, event.id)
    return Change((event,), (webhook_stream(event.id),))


def delete_webhook(state: State, identity: str) -> Change:
    """Remove a webhook, and all that waits for it."""
    hook = find_webhook(state, identity)
    return Change((WebhookDeleted(hook.id, hook.namespace),), (webhook_stream(identity),))


def ping_webhook(state: State, identity: str) -> Change:
    """Have a webhook told of nothing but that it works."""
    hook = find_enabled(state, identity)
    return Change((WebhookPinged(hook.id, hook.namespace),), (webhook_stream(identity),))


def redeliver(state: State, identity: str, first: int, last: int, *, failed_only: bool = False) -> Change:
    """Have a webhook told again what it was told by events `first` to `last`."""
    hook = find_enabled(state, identity)
    event = WebhookRedelivered(hook.id, hook.namespace, first, last, failed_only)
    return Change((event,), (webhook_stream(identity),))
