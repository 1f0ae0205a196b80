"""Settings that the processes of the control plane share: where the log is, what opens its secrets, how they log."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from eventstore.master import problems_of
from heroctl.domain.addresses import networks
from heroctl.domain.settings import describe


class ControlPlane(Struct, frozen=True, kw_only=True):
    """What an api and a reconciler are told alike."""

    dsn: Annotated[str, describe("the Postgres database", secret=True)]
    direct_dsn: Annotated[
        str, describe("the same, past a transaction pooler, where dsn leads through one", secret=True)
    ] = ""
    redis_url: Annotated[
        str, describe("the Redis or Valkey of the agents' doorbells; empty: they poll", secret=True)
    ] = ""
    secrets_key_file: Annotated[
        str,
        describe(
            "file of the master keys of secrets, one a line in base64, the newest last; read again when a key is missed"
        ),
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
    traces_otlp: Annotated[
        str,
        describe(
            "URL of an OTLP/HTTP endpoint that traces are sent to, such as http://collector:4318; "
            "OTEL_EXPORTER_OTLP_ENDPOINT by default; needs the extra otlp"
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        describe("the least that is logged, where the cluster asks for none"),
    ] = "info"
    log_format: Annotated[Literal["json", "console"], describe("how it is logged: to programs, or to people")] = "json"

    def shared_problems(self) -> list[str]:
        """Say what of these could not work."""
        problems = problems_of(self.secrets_key_file, self.secrets_keys)
        try:
            networks(self.webhook_networks)
        except ValueError as error:
            problems.append(f"--webhook-network: {error}")
        return problems
