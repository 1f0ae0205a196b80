"""From options to a client: reads the contexts, says who asks, and renews a session that ran out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Self

import msgspec
from msgspec import Struct

from heroctl.cli import config
from heroctl.cli.client import Client, Query, decode, path
from heroctl.cli.faults import Refused
from heroctl.cli.options import Access, Scope, Target, resolve
from heroctl.cli.output import note


class Grant(Struct, frozen=True):
    """What a login or a refresh answers."""

    token: str
    expires_at: str = ""
    refresh_token: str = ""


class Session:
    """A client and the choices that made it; a context manager. `namespace` is None where nobody named one."""

    def __init__(self, access: Access) -> None:
        place = config.place(os.environ)
        self.target = resolve(access, os.environ, config.load(place))
        self.namespace = self.target.namespace
        # What queries on things in namespaces carry.
        self.scope: Query = {"namespace": self.namespace} if isinstance(access, Scope) else {}
        self.client = Client(
            self.target.caller,
            self.target.token,
            ca_cert=self.target.ca_cert,
            renew=_renewer(self.target),
            say=note,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.client.close()


def _renewer(target: Target) -> Callable[[str], str | None] | None:
    """Return what gets a fresh token for a context's session; None where there is nothing to renew."""
    if not target.context:
        return None

    def renew(refused: str) -> str | None:
        with config.changing(config.place(os.environ)) as contexts:
            context = contexts.get(target.context)
            if context is None:
                return None
            if context.token != refused:
                return context.token  # another process was faster
            if not context.refresh_token:
                return None
            grant = _refresh(target, context.refresh_token)
            if grant is None:
                return None
            contexts[target.context] = msgspec.structs.replace(
                context,
                token=grant.token,
                expires_at=grant.expires_at,
                refresh_token=grant.refresh_token or context.refresh_token,
            )
            return grant.token

    return renew


def _refresh(target: Target, refresh_token: str) -> Grant | None:
    with contextlib.closing(Client(target.caller, refresh_token, ca_cert=target.ca_cert)) as client:
        try:
            return decode(client.ask("POST", path("auth", "refresh")), Grant, target.caller)
        except Refused as fault:
            if fault.status in (400, 401, 403):
                return None
            raise
