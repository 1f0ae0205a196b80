"""What the API says of those who may use it, as far as this command line reads it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class User(Struct, frozen=True):
    """A user."""

    name: str
    roles: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    created_at: datetime | None = None


class Token(Struct, frozen=True):
    """An ACL token; `secret` only where it was just made."""

    id: str
    name: str = ""
    kind: str = ""
    user: str = ""
    roles: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    secret: str = ""


class Role(Struct, frozen=True):
    """A role."""

    name: str
    policies: tuple[str, ...] = ()
    description: str = ""
    built_in: bool = False


class Rule(Struct, frozen=True):
    """A rule of a policy."""

    resource: str
    capabilities: tuple[str, ...] = ()
    namespace: str = ""
    name: str = ""


class Policy(Struct, frozen=True):
    """A policy."""

    name: str
    rules: tuple[Rule, ...] = ()
    description: str = ""
    built_in: bool = False


class Reach(Struct, frozen=True):
    """Where a right holds."""

    allowed: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


class Right(Struct, frozen=True):
    """A right that one has."""

    right: str
    everywhere: bool = True
    limits: tuple[Reach, ...] = ()


class Self(Struct, frozen=True):
    """Who asks."""

    user: str
    actor: str = ""
    token: str | None = None
    kind: str | None = None
    roles: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    expires_at: datetime | None = None
    rights: tuple[Right, ...] = ()


class Namespace(Struct, frozen=True):
    """A namespace."""

    name: str
    description: str = ""
    created_at: datetime | None = None
