"""Settings of the reconciler: flags, `HEROCTL_*` variables, lines of the settings file."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from eventstore.settings import ControlPlane
from heroctl.domain.duration import Size
from heroctl.domain.settings import SettingsError, describe


class Settings(ControlPlane, frozen=True, kw_only=True):
    """Everything that a reconciler can be told."""

    advertise: Annotated[str, describe("how this process is called among its peers (default: the host's name)")] = ""
    connections: Annotated[Annotated[int, Meta(ge=2)], describe("connections to Postgres for short statements")] = 4
    webhook_connections: Annotated[
        Annotated[int, Meta(ge=1)],
        describe("connections to Postgres for what webhooks are told: their own, so that they hold no lease up"),
    ] = 4
    raise_level_after: Annotated[
        Annotated[float, Meta(ge=0)],
        describe("seconds for which the whole control plane must be of a newer release until there is no way back"),
    ] = 600.0
    owner_dsn: Annotated[
        str,
        describe("the database directly, as the owner of its tables, who alone may drop old events", secret=True),
    ] = ""
    keep_days: Annotated[Annotated[int, Meta(ge=0)], describe("days for which events are kept; 0: for ever")] = 92
    keep_size: Annotated[
        Size | None, describe("size of all kept events; above it the oldest go, however young (default: any)")
    ] = None
    audit_dir: Annotated[
        str, describe("folder of the audit exports, which come before anything is dropped; none: none are wanted")
    ] = ""

    def __post_init__(self) -> None:
        """Refuse what could not work."""
        if problems := self.shared_problems():
            raise SettingsError(problems)
