"""Events of webhooks: where they lead and what they tell. The secrets that sign are rows of the vault, sealed."""

from __future__ import annotations

from typing import ClassVar, Literal

from heroctl.domain.events.event import Event, Writer

# Why a webhook was switched off by the cluster: its receiver answered 410; too much waited for it; who it read for is
# no more.
DisableReason = Literal["receiver_gone", "backlog", "creator_gone"]


class WebhookCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """Somebody wants to be told of events at a URL, signed with the secret in the sealed row `row`.

    It is told what `user` may read, and where it was made by an ACL token, what that `token` may.
    """

    TAG: ClassVar[str] = "webhook.created"
    id: str
    namespace: str  # `*`: of all
    url: str
    events: tuple[str, ...]
    row: str
    user: str
    token: str = ""
    description: str = ""
    enabled: bool = True


class WebhookUpdated(Event, frozen=True, gc=False, omit_defaults=True):
    """A webhook as it is from here on, and whom it reads for: whoever changed it."""

    TAG: ClassVar[str] = "webhook.updated"
    id: str
    namespace: str
    url: str
    events: tuple[str, ...]
    user: str
    token: str = ""
    description: str = ""
    enabled: bool = True


class WebhookRotated(Event, frozen=True, gc=False, omit_defaults=True):
    """A webhook has another secret. Until `until` (ms) the one before signs as well."""

    TAG: ClassVar[str] = "webhook.rotated"
    id: str
    namespace: str
    row: str
    until: int = 0


class WebhookDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """A webhook is no more, with all that waited for it."""

    TAG: ClassVar[str] = "webhook.deleted"
    id: str
    namespace: str


class WebhookDisabled(Event, frozen=True, gc=False, omit_defaults=True):
    """A webhook was switched off by the cluster; what waits for it stays, and goes out when it is switched on."""

    TAG: ClassVar[str] = "webhook.disabled"
    WRITER: ClassVar[Writer] = "decision"
    id: str
    namespace: str
    reason: DisableReason


class WebhookPinged(Event, frozen=True, gc=False, omit_defaults=True):
    """Somebody wants to see whether a webhook works: it is told of this, whatever else it is told of."""

    TAG: ClassVar[str] = "webhook.pinged"
    id: str
    namespace: str


class WebhookRedelivered(Event, frozen=True, gc=False, omit_defaults=True):
    """Somebody wants what a webhook was told by events `first` to `last` to be told again; or what failed of it."""

    TAG: ClassVar[str] = "webhook.redelivered"
    id: str
    namespace: str
    first: int
    last: int
    failed_only: bool = False
