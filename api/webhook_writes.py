"""Webhooks as they are written: made, changed, given another secret, tried, and told again what they were told."""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from typing import Annotated, Final

import httpx2
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from api import webhooks
from api.access import forbidden
from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.tokens import new_id
from api.users import refuse
from api.webhooks import WebhookItem, asked, number_of, show
from api.wire import Written
from api.write import Done
from eventstore.deliveries import Again
from heroctl.domain.errors import Forbidden, Problem, not_found
from heroctl.domain.events import (
    WebhookCreated,
    WebhookPinged,
    WebhookRedelivered,
    WebhookRotated,
    WebhookUpdated,
)
from heroctl.domain.intents import webhooks as intents
from heroctl.domain.intents.change import Change
from heroctl.domain.records import Webhook
from heroctl.domain.state import State
from heroctl.domain.topics import webhook_topic
from heroctl.domain.webhooks import ALL, NAMES
from heroctl.outside import Barred, Unanswered

SECRET: Final = "whsec_"  # noqa: S105 - how one begins whose rest is its bytes, in base64
_MADE: Final = 32  # bytes of a secret that is made
_SHORTEST, _LONGEST = 8, 256  # characters of one that is given
_URL: Final = 2_048  # characters
_LOOKUP: Final = 2.0  # seconds that a write waits for where a name leads
_DAY: Final = 86_400

Events = Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)]
Description = Annotated[str, Meta(max_length=256)]


class NewWebhook(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/webhooks`. Without a secret one is made."""

    url: str
    events: Events
    secret: str | None = None
    description: Description = ""
    enabled: bool = True


class WebhookPatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PATCH /v1/webhooks/:id`: what is to be another."""

    url: str | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class WebhookRotation(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/webhooks/:id/rotate`. For so long the secret before signs as well; unless given for a day."""

    secret: str | None = None
    overlap_seconds: Annotated[int, Meta(ge=0, le=7 * _DAY)] = _DAY


class Redelivery(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/webhooks/:id/deliveries/redeliver`: numbers, both included; `failed_only`: what failed."""

    first: Annotated[int, Meta(ge=1, le=10**18)]
    last: Annotated[int, Meta(ge=1, le=10**18)]
    failed_only: bool = False


class MadeWebhook(WebhookItem, frozen=True):
    """A webhook as its maker sees it, once. `secret`: null where it was given."""

    secret: str | None


class RotatedWebhook(Struct, frozen=True):
    """A webhook's other secret, shown once; null where it was given."""

    id: str
    index: int
    secret: str | None


class Told(Struct, frozen=True):
    """What a webhook is being told: the deliveries of these events."""

    id: str
    first: int
    last: int
    index: int


# ── making and changing ──────────────────────────────────────────────────────────────────────────────────────────────


@tells(
    MadeWebhook,
    "namespace_not_found",
    "too_many_webhooks",
    "secrets_not_configured",
    "secrets_key_missing",
    body=NewWebhook,
    status=201,
)
async def create(call: Call) -> Answer:
    """Have events told to a URL, of one namespace or, by an admin, of all (`?namespace=*`)."""
    call.parts.master.need()
    wanted = await call.body(NewWebhook)
    refuse(_event_problems(wanted.events) + _secret_problems(wanted.secret) + await _url_problems(call, wanted.url))
    _allow(call, call.namespace)
    identity, secret = new_id(), wanted.secret or new_secret()
    event = WebhookCreated(
        id=identity,
        namespace=call.namespace,
        url=wanted.url,
        events=wanted.events,
        row="",
        user=call.principal.user,
        token=call.principal.token,
        description=wanted.description,
        enabled=wanted.enabled,
    )
    intents.create_webhook(call.parts.view.state, event)  # what is refused anyway leaves no row
    event = structs.replace(event, row=await _seal(call, event.namespace, identity, secret))
    index = await call.write(intents.webhook_stream(identity), lambda state: intents.create_webhook(state, event))
    state = call.parts.view.state
    shown = structs.asdict(show(state, webhooks.need(state, identity, call.sees)))
    return answer(MadeWebhook(**shown, secret=None if wanted.secret else secret), 201, index=index)


@tells(WebhookItem, "webhook_not_found", "ambiguous_id", body=WebhookPatch)
async def update(call: Call) -> Answer:
    """Change what is given of a webhook. From then on it is told what whoever changed it may read."""
    wanted = await call.body(WebhookPatch)
    hook = _mine(call)
    changed = {name: value for name, value in structs.asdict(wanted).items() if value is not UNSET}
    problems = _event_problems(changed.get("events", ()))
    if "url" in changed:
        problems += await _url_problems(call, changed["url"])
    refuse(problems)

    def decide(state: State) -> Change:
        now = intents.find_webhook(state, hook.id)
        kept = {name: getattr(now, name) for name in ("url", "events", "description", "enabled")}
        by = {"user": call.principal.user, "token": call.principal.token}
        return intents.update_webhook(state, WebhookUpdated(now.id, now.namespace, **{**kept, **changed, **by}))

    done = await call.change(intents.webhook_stream(hook.id), decide)
    state = call.parts.view.state
    index = done.index or state.topic_index(webhook_topic(hook.id))
    return answer(show(state, intents.find_webhook(state, hook.id)), index=index)


@tells(
    RotatedWebhook,
    "webhook_not_found",
    "ambiguous_id",
    "secrets_not_configured",
    "secrets_key_missing",
    body=WebhookRotation,
)
async def rotate(call: Call) -> Answer:
    """Give a webhook another secret. For a while both sign, so that its receiver can follow."""
    call.parts.master.need()
    wanted = await call.body(WebhookRotation)
    refuse(_secret_problems(wanted.secret))
    hook, secret = _mine(call), wanted.secret or new_secret()
    row = await _seal(call, hook.namespace, hook.id, secret)
    until = int((call.parts.clock() + wanted.overlap_seconds) * 1000)
    event = WebhookRotated(hook.id, hook.namespace, row, until)
    index = await call.write(intents.webhook_stream(hook.id), lambda state: intents.rotate_webhook(state, event))
    return answer(RotatedWebhook(hook.id, index, None if wanted.secret else secret), index=index)


@tells(Written, "webhook_not_found", "ambiguous_id")
async def delete(call: Call) -> Answer:
    """Remove a webhook, and all that waits for it."""
    await call.nothing()
    hook = _mine(call)
    index = await call.write(
        intents.webhook_stream(hook.id), lambda state: intents.delete_webhook(state, hook.id)
    )  # the sweep removes its rows
    return answer(Written(index, id=hook.id, namespace=hook.namespace), index=index)


# ── trying ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(Told, "webhook_not_found", "ambiguous_id", "webhook_disabled")
async def ping(call: Call) -> Answer:
    """Have a webhook told of nothing but that it works; how that went is seen among its deliveries."""
    await call.nothing()
    hook = _mine(call)
    done = await call.change(intents.webhook_stream(hook.id), lambda state: intents.ping_webhook(state, hook.id))
    return await told(call, done)


@tells(Told, "webhook_not_found", "delivery_not_found", "ambiguous_id", "webhook_disabled")
async def redeliver_one(call: Call) -> Answer:
    """Have a webhook told once more what it was told of one event."""
    await call.nothing()
    number = number_of(call)
    return await _again(call, Redelivery(number, number))


@tells(Told, "webhook_not_found", "delivery_not_found", "ambiguous_id", "webhook_disabled", body=Redelivery)
async def redeliver(call: Call) -> Answer:
    """Have a webhook told once more what it was told of a range of events, or what failed of it."""
    wanted = await call.body(Redelivery)
    if wanted.last < wanted.first:
        refuse([Problem("last", "out_of_range", "it is before `first`")])
    return await _again(call, wanted)


async def _again(call: Call, wanted: Redelivery) -> Answer:
    hook = _mine(call)
    intents.find_enabled(call.parts.view.state, hook.id)
    again = Again(hook.id, wanted.first, wanted.last, wanted.failed_only)
    if not await call.parts.deliveries.over(again):
        number = str(wanted.first) if wanted.first == wanted.last else f"{wanted.first} to {wanted.last}"
        raise not_found("delivery", number)

    def decide(state: State) -> Change:
        return intents.redeliver(state, hook.id, wanted.first, wanted.last, failed_only=wanted.failed_only)

    return await told(call, await call.change(intents.webhook_stream(hook.id), decide))


async def told(call: Call, done: Done) -> Answer:
    """Say, or say again, what a webhook is being told."""
    for event in done.events:
        if isinstance(event, WebhookPinged):
            return answer(Told(event.id, done.index, done.index, done.index), index=done.index)
        if isinstance(event, WebhookRedelivered):
            return answer(Told(event.id, event.first, event.last, done.index), index=done.index)
    raise not_found("webhook", call.path["id"])


# ── what may be written ──────────────────────────────────────────────────────────────────────────────────────────────


def new_secret() -> str:
    """Draw a secret, as the standard's libraries take it."""
    return SECRET + base64.b64encode(secrets.token_bytes(_MADE)).decode()


def _allow(call: Call, namespace: str) -> None:
    """Go on if the caller may have a webhook in a namespace; in all of them, if it is an admin."""
    call.allow(namespace, absent=not_found("namespace", namespace))
    if namespace == ALL and not (call.principal.everywhere(call.access.right) and call.principal.admin):
        raise Forbidden("forbidden", "a webhook of all namespaces is for admins: name one of yours by ?namespace=")


def _mine(call: Call) -> Webhook:
    hook = asked(call)
    if hook.namespace == ALL and not call.principal.admin:
        raise forbidden(call.access.right, "a webhook of all namespaces")
    return hook


async def _seal(call: Call, namespace: str, identity: str, secret: str) -> str:
    return await call.parts.master.seal(namespace, f"webhook/{identity}", 1, secret.encode())


def _event_problems(events: tuple[str, ...]) -> list[Problem]:
    known = (*NAMES, ALL)
    found = [
        Problem(f"events[{at}]", "unknown_event", f"there is no '{each}': {', '.join(known)}")
        for at, each in enumerate(events)
        if each not in known
    ]
    if len(set(events)) < len(events):
        found.append(Problem("events", "invalid_value", "one stands there twice"))
    return found


def _secret_problems(secret: str | None) -> list[Problem]:
    if secret is None:
        return []
    if not _SHORTEST <= len(secret) <= _LONGEST or not secret.isascii() or not secret.isprintable() or " " in secret:
        message = f"use {_SHORTEST} to {_LONGEST} letters, digits and signs; or leave it out, and one is made"
        return [Problem("secret", "invalid_value", message)]
    if secret.startswith(SECRET):
        try:
            base64.b64decode(secret.removeprefix(SECRET), validate=True)
        except binascii.Error:
            return [Problem("secret", "invalid_value", f"what follows {SECRET} is to be base64")]
    return []


async def _url_problems(call: Call, text: str) -> list[Problem]:
    """Say what is wrong with a URL: as it stands, and with where it leads now. A name may be known later only."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        return [Problem("url", "invalid_url", "this is no URL")]
    wrong = _wrong(url, text)
    if wrong:
        return [Problem("url", "invalid_url", wrong)]
    try:
        async with asyncio.timeout(_LOOKUP):
            await call.parts.receivers.look(url)
    except Barred as error:
        return [Problem("url", "forbidden_address", f"{url.host} {error}")]
    except (Unanswered, TimeoutError):
        pass  # it is looked up again for each delivery
    return []


def _wrong(url: httpx2.URL, text: str) -> str:
    if len(text) > _URL or not text.isprintable() or " " in text:
        return f"at most {_URL} characters, no spaces"
    if url.scheme not in ("http", "https") or not url.host:
        return "begin with https:// or http:// and a host"
    if url.port is not None and not 0 < url.port < 1 << 16:
        return "a port is a number from 1 to 65535"
    if url.userinfo:
        return "no name and password: sign in with what the receiver checks, the signature"
    return "no part after #: it is never sent" if url.fragment else ""
