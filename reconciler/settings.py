"""Settings of the reconciler: flags, `HEROCTL_*` variables, lines of the settings file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from heroctl.domain.settings import describe


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
    raise_level_after: Annotated[
        Annotated[float, Meta(ge=0)],
        describe("seconds for which the whole control plane must be of a newer release until there is no way back"),
    ] = 600.0
    log_level: Annotated[Literal["debug", "info", "warning", "error"], describe("the least that is logged")] = "info"
