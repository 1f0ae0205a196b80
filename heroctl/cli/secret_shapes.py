"""What the API says of secrets, as far as this command line reads it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Secret(Struct, frozen=True):
    """A secret in a list."""

    name: str
    namespace: str = ""
    version: int = 0
    versions: int = 0
    updated_at: datetime | None = None


class Version(Struct, frozen=True):
    """A version of a secret."""

    version: int
    action: str = ""
    of: int | None = None
    by: str = ""
    created_at: datetime | None = None


class Use(Struct, frozen=True):
    """A job that uses a secret."""

    job: str
    version: int = 0
    secret_version: int = 0


class Made(Struct, frozen=True):
    """What became of a secret that was written."""

    version: int


class Value(Struct, frozen=True):
    """What a secret holds."""

    value: str
    encoding: str | None = None


class OldKey(Struct, frozen=True):
    """A master key that is needed no more."""

    id: str
    position: int | None = None


class Rekeyed(Struct, frozen=True):
    """How far a rekey has come."""

    key: str
    rewrapped: int = 0
    left: int = 0
    lost: int = 0
    done: bool = True
    unneeded: tuple[OldKey, ...] = ()
