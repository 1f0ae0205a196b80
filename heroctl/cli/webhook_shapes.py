"""What the API says of webhooks, as far as this command line reads it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Webhook(Struct, frozen=True):
    """Where events are told."""

    id: str
    namespace: str = ""
    url: str = ""
    events: tuple[str, ...] = ()
    description: str = ""
    state: str = ""
    reason: str = ""
    reads_for: str = ""
    rotating_until: datetime | None = None
    created_at: datetime | None = None


class Made(Struct, frozen=True):
    """A webhook, or another secret of one, as its maker sees it; no secret: it was given."""

    id: str
    secret: str | None = None


class Told(Struct, frozen=True):
    """What a webhook is being told."""

    id: str
    first: int
    last: int


class Delivery(Struct, frozen=True):
    """What a webhook was told of an event, or is to be."""

    number: int
    type: str = ""
    time: datetime | None = None
    state: str = ""
    attempts: int = 0
    last_at: datetime | None = None
    next_at: datetime | None = None
    status: int | None = None
    ms: int | None = None
    error: str = ""
