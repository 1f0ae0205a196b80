"""From options to a client: reads the contexts, says who asks, and renews a session that ran out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Self

import msgspec
from msgspec import Struct

from heroctl.cli import config
from heroctl.cli.client import Client, Query, decode, path
from heroctl.cli.faults import Refused
from heroctl.cli.options import Access, Scope, Target, resolve
from heroctl.cli.output import note

EARLY_S: Final = 900.0  # seconds before its end that a token is renewed


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
        renew = _renewer(self.target)
        token = self.target.token
        if renew is not None and _ends_soon(self.target.expires_at, datetime.now(UTC)):
            token = renew(token) or token
        self.namespace = self.target.namespace
        # What queries on things in namespaces carry.
        self.scope: Query = {"namespace": self.namespace} if isinstance(access, Scope) else {}
        self.client = Client(
            self.target.caller,
            token,
            ca_cert=self.target.ca_cert,
            renew=renew,
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
            # By the access token while that is good: nothing rotates then, and no answer that is lost ends the session.
            good = _ends_soon(context.expires_at, datetime.now(UTC))
            grant = _refresh(target, context.token if good else context.refresh_token)
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


def _ends_soon(expires_at: str, now: datetime) -> bool:
    """Tell whether a token is still good, and shortly will not be."""
    try:
        left = (datetime.fromisoformat(expires_at) - now).total_seconds()
    except (ValueError, TypeError):
        return False
    return 0 < left < EARLY_S


def _refresh(target: Target, refresh_token: str) -> Grant | None:
    with contextlib.closing(Client(target.caller, refresh_token, ca_cert=target.ca_cert)) as client:
        try:
            return decode(client.ask("POST", path("auth", "refresh")), Grant, target.caller)
        except Refused as fault:
            if fault.status in (400, 401, 403):
                return None
            raise
