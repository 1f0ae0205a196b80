"""Events of those who may use the cluster, and of servers that may join it."""

from __future__ import annotations

from typing import ClassVar

from heroctl.domain.events.event import Event


class UserCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """A user exists; the password's hash is the vault row `credential`."""

    TAG: ClassVar[str] = "user.created"
    name: str
    roles: tuple[str, ...]
    credential: str


class TokenCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """An ACL token exists; the hash of its secret is the vault row `credential`."""

    TAG: ClassVar[str] = "token.created"
    id: str
    name: str
    user: str
    roles: tuple[str, ...]
    credential: str
    expires_at: int | None = None  # ms since the epoch


class TokenDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """An ACL token is no more."""

    TAG: ClassVar[str] = "token.deleted"
    id: str


class JoinTokenCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """A server may join, once, until `expires_at` (ms since the epoch)."""

    TAG: ClassVar[str] = "join_token.created"
    id: str
    credential: str
    expires_at: int
    by: str
