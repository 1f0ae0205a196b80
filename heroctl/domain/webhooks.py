"""What webhooks are told: which events of the log have a name outside, what is said of each, and who may be told.

What is said comes from the event alone, so that a repetition says the same. Who may be told is judged when it is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from heroctl.domain import events as e
from heroctl.domain.events import Event, Record
from heroctl.domain.holders import grants_of
from heroctl.domain.ids import event_id
from heroctl.domain.policy import Grants
from heroctl.domain.records import Webhook
from heroctl.domain.state import State
from heroctl.domain.visibility import Need, subject

NAMES: Final = (
    "job.submitted",
    "job.deployed",
    "job.failed",
    "alloc.failed",
    "node.down",
    "cert.renewed",
    "secret.changed",
    "alert.fired",
    "alert.resolved",
)
ALL: Final = "*"  # of names: each of them, and each that a later release adds; of namespaces: all
PING: Final = "ping"
LARGEST: Final = 20_000  # bytes of a payload, and fewer
NOBODY: Final = Need("")  # a right that nobody has
_LONGEST: Final = 1_000  # characters of a text in it


class News(Struct, frozen=True):
    """What an event is outside: its name there, where it happened, and what is said of it."""

    type: str
    namespace: str  # "": in none
    data: dict[str, Any]


def news(event: Event) -> News | None:
    """Say what an event of the log is outside; None: nothing that anybody is told."""
    match event:
        case e.JobSubmitted():
            data = {"job": event.name, "version": event.version, "kind": event.kind, "by": event.by}
            return News("job.submitted", event.namespace, data)
        case e.JobDeployed():
            data = {"job": event.name, "version": event.version, "deployment": event.deployment}
            return News("job.deployed", event.namespace, data)
        case e.JobFailed():
            data = {
                "job": event.name,
                "version": event.version,
                "deployment": event.deployment,
                "reason": _cut(event.reason),
                "reverted_to": event.reverted_to,
            }
            return News("job.failed", event.namespace, data)
        case e.AllocFailed():
            return News("alloc.failed", event.namespace, _failed(event))
        case e.NodeDown():
            data = {"node": event.name, "silent_seconds": event.silent, "allocations": len(event.allocations)}
            return News("node.down", "", data)
        case e.SecretWritten():
            return _secret(event.namespace, event.name, event.version, event.action)
        case e.SecretDeleted():
            return _secret(event.namespace, event.name, event.version, "delete")
        case e.AlertFired() | e.AlertResolved():
            return News(event.TAG, event.namespace, _alert(event))
        case e.WebhookPinged():
            namespace = "" if event.namespace == ALL else event.namespace
            return News(PING, namespace, {"webhook": event.id})
        case _:
            return None


def _failed(event: e.AllocFailed) -> dict[str, Any]:
    return {
        "alloc": event.alloc,
        "job": event.job,
        "task": event.task,
        "slot": event.slot,
        "node": event.node,
        "attempt": event.attempt,
        "reason": _cut(event.reason),
        "message": _cut(event.message),
        "exit_code": event.exit_code,
        "oom": event.oom,
        "will_restart": event.will_restart,
    }


def _secret(namespace: str, name: str, version: int, action: str) -> News:
    return News("secret.changed", namespace, {"name": name, "version": version, "action": action})


def _alert(event: e.AlertFired | e.AlertResolved) -> dict[str, Any]:
    data: dict[str, Any] = {
        "alert": event.name,
        "metric": event.metric,
        "condition": event.condition,
        "job": event.job or None,
    }
    if isinstance(event, e.AlertFired):
        data |= {"of": event.of, "value": event.value, "description": event.description}
    return data


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def payload(record: Record, told: News, cluster: str, incarnation: str) -> bytes:
    """Write what is sent, the same bytes each time."""
    return msgspec.json.encode(
        {
            "id": event_id(incarnation, record.index),
            "type": told.type,
            "index": record.index,
            "time": _stamp(record.time),
            "cluster": cluster,
            "namespace": told.namespace or None,
            "data": told.data,
        }
    )


def _stamp(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


# ── who is told ──────────────────────────────────────────────────────────────────────────────────────────────────────


def wants(hook: Webhook, record: Record, told: News) -> bool:
    """Tell whether a webhook is to be told, as far as it says itself: what its reader may know is another question."""
    if not hook.enabled or record.index <= hook.since:
        return False
    if isinstance(record.event, e.WebhookPinged):
        return record.event.id == hook.id
    return (ALL in hook.events or told.type in hook.events) and (
        not told.namespace or hook.namespace in (ALL, told.namespace)
    )


def readers(state: State, hook: Webhook, now: int) -> tuple[Grants, ...]:
    """Give what whoever a webhook reads for may, all of it at once; nothing: he is no more. `now` in ms."""
    user = state.users.get(hook.user)
    if user is None:
        return ()
    own = grants_of(user, state.roles, state.policies)
    if not hook.token:
        return (own,)
    token = state.tokens.get(hook.token)
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        return ()
    given = grants_of(token, state.roles, state.policies)
    return (given,) if token.kind == "service" else (given, own)


def need(state: State, event: Event) -> Need | None:
    """Say what an event asks of whoever a webhook reads for; None: nothing, it is about the webhook alone."""
    if isinstance(event, e.WebhookPinged):
        return None
    return subject(event.TAG, event, state).need or NOBODY


def may_know(grants: tuple[Grants, ...], needed: Need | None) -> bool:
    """Tell whether somebody may be told. Who is no more may be told nothing."""
    return bool(grants) and (needed is None or needed.met(grants))
