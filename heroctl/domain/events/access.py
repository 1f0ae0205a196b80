"""Events of those who may use the cluster, of what they may, and of servers that may join it."""

from __future__ import annotations

from typing import ClassVar, Literal

from heroctl.domain.events.event import Event
from heroctl.domain.policy import EVERYWHERE, Rule

TokenKind = Literal["user", "service"]


class UserCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """A user exists; the password's hash is the vault row `credential`."""

    TAG: ClassVar[str] = "user.created"
    name: str
    roles: tuple[str, ...]
    credential: str
    namespaces: tuple[str, ...] = EVERYWHERE


class UserUpdated(Event, frozen=True, gc=False, omit_defaults=True):
    """A user has these roles from here on, in these namespaces."""

    TAG: ClassVar[str] = "user.updated"
    name: str
    roles: tuple[str, ...]
    namespaces: tuple[str, ...]


class UserPasswordChanged(Event, frozen=True, gc=False, omit_defaults=True):
    """A user has another password, whose hash is the vault row `credential`.

    Logins before it are over, but for the one that changed it: `session` is the beginning of its id.
    """

    TAG: ClassVar[str] = "user.password_changed"
    name: str
    credential: str
    session: str = ""


class UserDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """A user is no more, and neither are its tokens."""

    TAG: ClassVar[str] = "user.deleted"
    name: str


class TokenCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """An ACL token exists; the hash of its secret is the vault row `credential`.

    A `user` token may what its roles and its user both may, a `service` token what its roles may.
    """

    TAG: ClassVar[str] = "token.created"
    id: str
    name: str
    user: str
    roles: tuple[str, ...]
    credential: str
    expires_at: int | None = None  # ms since the epoch
    kind: TokenKind = "service"
    namespaces: tuple[str, ...] = EVERYWHERE
    jobs: tuple[str, ...] = EVERYWHERE


class TokenDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """An ACL token is no more."""

    TAG: ClassVar[str] = "token.deleted"
    id: str


class RoleSet(Event, frozen=True, gc=False, omit_defaults=True):
    """A role is made of these policies from here on; it may be new."""

    TAG: ClassVar[str] = "role.set"
    name: str
    policies: tuple[str, ...]
    description: str = ""


class RoleDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """A role, which nobody had, is no more."""

    TAG: ClassVar[str] = "role.deleted"
    name: str


class PolicySet(Event, frozen=True, gc=False, omit_defaults=True):
    """A policy is made of these rules from here on; it may be new."""

    TAG: ClassVar[str] = "policy.set"
    name: str
    rules: tuple[Rule, ...]
    description: str = ""


class PolicyDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """A policy, which no role had, is no more."""

    TAG: ClassVar[str] = "policy.deleted"
    name: str


class JoinTokenCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """A server may join, once, until `expires_at` (ms since the epoch)."""

    TAG: ClassVar[str] = "join_token.created"
    id: str
    credential: str
    expires_at: int
    by: str
