"""Settings of the reconciler: flags, `HEROCTL_*` variables, lines of the settings file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from eventstore.master import problems_of
from heroctl.domain.addresses import networks
from heroctl.domain.duration import Size
from heroctl.domain.settings import SettingsError, describe


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that a reconciler can be told."""

    dsn: Annotated[str, describe("the Postgres database", secret=True)]
    direct_dsn: Annotated[
        str, describe("the same, past a transaction pooler, where dsn leads through one", secret=True)
    ] = ""
    redis_url: Annotated[
        str, describe("the Redis or Valkey of the agents' doorbells; empty: they poll", secret=True)
    ] = ""
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
    secrets_key_file: Annotated[
        str, describe("file of the master keys of secrets, as the api has it: what signs for webhooks is sealed")
    ] = ""
    secrets_keys: Annotated[
        tuple[str, ...],
        describe("the same without a file, the newest last: never as an argument", secret=True, argument=False),
    ] = ()
    webhook_networks: Annotated[
        tuple[str, ...],
        describe(
            "addresses or networks that webhooks may lead to though they are private, such as 10.0.0.0/8",
            flag="webhook_network",
        ),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        describe("the least that is logged, where the cluster asks for none"),
    ] = "info"
    log_format: Annotated[Literal["json", "console"], describe("how it is logged: to programs, or to people")] = "json"

    def __post_init__(self) -> None:
        """Refuse what could not work."""
        problems = problems_of(self.secrets_key_file, self.secrets_keys)
        try:
            networks(self.webhook_networks)
        except ValueError as error:
            problems.append(f"--webhook-network: {error}")
        if problems:
            raise SettingsError(problems)
