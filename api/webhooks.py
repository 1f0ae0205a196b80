"""Webhooks as they are read, and what they were told. A secret is shown once, to its maker, and never here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from api.allocations import SHORTEST_PREFIX, hidden, one_of
from api.answer import Answer, Header, answer
from api.call import Call
from api.contract import tells
from api.paging import Asked, limit_of, next_page, place_of
from api.reads import Query, Reading
from api.wire import encode, stamp, stamp_or_none
from api.world import World
from eventstore.deliveries import END, Delivery
from heroctl.domain.delivery import DeliveryState
from heroctl.domain.errors import Invalid, Problem, not_found
from heroctl.domain.records import Webhook
from heroctl.domain.state import State
from heroctl.domain.topics import WEBHOOKS, webhook_topic
from heroctl.domain.visibility import Need
from heroctl.domain.webhooks import may_know

Sees = Callable[[str], bool]  # by namespace
_USUAL: Final = 100
_MOST: Final = 1000
_STATES: Final = ("pending", "delivered", "failed", "dropped")
_NUMBER: Final = 18  # digits


class WebhookItem(Struct, frozen=True, gc=False):
    """Where events are told. `reason`: why the cluster switched it off; `reads_for`: what this user may read is told.

    `rotating_until`: until then the secret before the present one signs as well.
    """

    id: str
    namespace: str
    url: str
    events: tuple[str, ...]
    description: str
    state: Literal["enabled", "disabled"]
    reason: str
    reads_for: str
    rotating_until: str | None
    created_at: str
    create_index: int
    modify_index: int


class DeliveryItem(Struct, frozen=True, gc=False):
    """What a webhook is told of an event, whose index is its `number`. `attempts`: ever; `status`: of the last answer.

    `next_at`: when it is tried next; `ms`: how long the last attempt took.
    """

    number: int
    id: str
    type: str
    time: str
    state: DeliveryState
    attempts: int
    last_at: str | None
    next_at: str | None
    status: int | None
    ms: int | None
    error: str


class DeliveryDetail(DeliveryItem, frozen=True, gc=False):
    """The same, with what is sent, and what the last answer said, at most 1 KiB of it."""

    payload: dict[str, Any]
    answer: str


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[WebhookItem])
def listing(world: World, query: Query) -> Reading:
    """All webhooks that one may see, oldest first; never a secret."""
    sees = query.sees

    def make() -> bytes:
        found = sorted(world.state.webhooks.values(), key=lambda hook: (hook.create_index, hook.id))
        seen = [hook for hook in found if sees(hook.namespace) and query.passes("namespace", hook.namespace)]
        return encode([show(world.state, hook) for hook in seen])

    return Reading(WEBHOOKS, make)


@tells(WebhookItem, "webhook_not_found", "ambiguous_id")
def detail(world: World, query: Query) -> Reading:
    """One webhook, by id or a prefix of it."""
    wanted, sees = query.path["id"], query.sees
    hook = find(world.state, wanted, sees)
    identity = hook.id if hook else hidden(wanted, world.state.webhooks)
    topic = webhook_topic(identity)

    def make() -> bytes:
        return encode(show(world.state, need(world.state, identity or wanted, sees)))

    return Reading(topic, make)


def find(state: State, wanted: str, sees: Sees) -> Webhook | None:
    """Find a webhook that may be seen by its id, or by a prefix of it that no other such one has.

    Raises `ambiguous_id`.
    """
    found = state.webhooks.get(wanted)
    if found is not None or len(wanted) < SHORTEST_PREFIX:
        return found if found is not None and sees(found.namespace) else None
    begins = (hook for name, hook in state.webhooks.items() if name.startswith(wanted))
    return one_of([hook for hook in begins if sees(hook.namespace)], wanted)


def need(state: State, wanted: str, sees: Sees) -> Webhook:
    """The same. Raises `webhook_not_found`, too."""
    found = find(state, wanted, sees)
    if found is None:
        raise not_found("webhook", wanted)
    return found


def asked(call: Call) -> Webhook:
    """Find the webhook that a call is about, for a caller who may do to it what it asks."""
    wanted = call.path["id"]
    hook = need(call.parts.view.state, wanted, call.sees)
    call.allow(hook.namespace, absent=not_found("webhook", wanted))
    return hook


def show(state: State, hook: Webhook) -> WebhookItem:
    """Show a webhook."""
    return WebhookItem(
        id=hook.id,
        namespace=hook.namespace,
        url=hook.url,
        events=hook.events,
        description=hook.description,
        state="enabled" if hook.enabled else "disabled",
        reason=hook.reason,
        reads_for=hook.user,
        rotating_until=stamp_or_none(hook.old_until if hook.old_until > state.time else None),
        created_at=stamp(hook.created_at),
        create_index=hook.create_index,
        modify_index=hook.modify_index,
    )


# ── what they were told ──────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[DeliveryItem], "webhook_not_found", "ambiguous_id", "invalid_state", "invalid_limit", "invalid_cursor")
async def deliveries(call: Call) -> Answer:
    """What a webhook was told, or is to be, the newest event first; what is over is kept for a while."""
    hook, state = asked(call), _state(call)
    limit = limit_of(call.args, _MOST) or _USUAL
    about = Asked.of(f"/v1/webhooks/{hook.id}/deliveries", call.args)
    place = place_of(call.parts.marks, about, call.args)
    before = int(place[0]) if place else END
    found = await call.parts.deliveries.listed(hook.id, limit + 1, before=before, state=state)
    headers: list[Header] = []
    if len(found) > limit:
        headers = next_page(call.parts.marks, about, [found[limit - 1].index], call.number("limit"))
    index = call.parts.view.topic_index(webhook_topic(hook.id))
    return answer([_item(each) for each in found[:limit]], index=index, headers=headers)


@tells(DeliveryDetail, "webhook_not_found", "delivery_not_found", "ambiguous_id")
async def delivery(call: Call) -> Answer:
    """What a webhook was told of one event, by the event's index, and what it answered last."""
    hook = asked(call)
    found = await call.parts.deliveries.found(hook.id, number_of(call))
    if found is None:
        raise not_found("delivery", call.path["n"])
    shown = {name: getattr(_item(found), name) for name in DeliveryItem.__struct_fields__}
    need = msgspec.json.decode(found.needs, type=Need | None)
    if not may_know(call.principal.grants, need):
        raise not_found("delivery", call.path["n"])  # whoever holds the webhook may not know of everything
    body = msgspec.json.decode(found.body)
    said = DeliveryDetail(**shown, payload=body, answer=found.answer.decode(errors="replace"))
    return answer(said, index=call.parts.view.topic_index(webhook_topic(hook.id)))


def number_of(call: Call) -> int:
    """Read the number of a delivery. Raises `delivery_not_found`."""
    text = call.path["n"]
    if not text.isascii() or not text.isdecimal() or len(text) > _NUMBER:
        raise not_found("delivery", text)
    return int(text)


def _state(call: Call) -> str:
    state = call.args.get("state", "")
    if state not in ("", *_STATES):
        problem = Problem("state", "invalid_state", f"one of {', '.join(_STATES)}")
        raise Invalid("invalid_state", f"state: {problem.message}", details=(problem,))
    return state


def _item(row: Delivery) -> DeliveryItem:
    return DeliveryItem(
        number=row.index,
        id=row.id,
        type=row.type,
        time=stamp(row.at),
        state=row.state,
        attempts=row.attempts,
        last_at=stamp_or_none(row.last_at),
        next_at=stamp(row.due) if row.state == "pending" else None,
        status=row.status or None,
        ms=row.took,
        error=row.error,
    )
