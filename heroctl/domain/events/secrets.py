"""Events of secrets: names and numbers. The values are rows of the vault, sealed, and never here."""

from __future__ import annotations

from typing import ClassVar, Literal

from heroctl.domain.events.event import Event


class SecretWritten(Event, frozen=True, gc=False, omit_defaults=True):
    """A secret has another version, the newest from here on: the sealed row `row`."""

    TAG: ClassVar[str] = "secret.written"
    namespace: str
    name: str
    version: int
    row: str
    action: Literal["create", "update", "rollback"] = "create"
    of: int | None = None  # the version that a rollback repeats
    by: str = ""


class SecretDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """A secret is no more, with all its versions, of which `version` was the newest; `forced`: jobs still name it."""

    TAG: ClassVar[str] = "secret.deleted"
    namespace: str
    name: str
    forced: bool = False
    version: int = 0


class SecretRead(Event, frozen=True, gc=False, omit_defaults=True):
    """Somebody is about to be shown the value of a secret's version. It is told first: no read goes untold."""

    TAG: ClassVar[str] = "secret.read"
    namespace: str
    name: str
    version: int


class SecretsRekeyed(Event, frozen=True, gc=False, omit_defaults=True):
    """All secrets are being sealed anew with another master key, of which no more than its id is told."""

    TAG: ClassVar[str] = "secret.rekeyed"
    key: str
