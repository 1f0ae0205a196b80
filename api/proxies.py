"""Whose word counts about where a request comes from: a trusted proxy's, and nobody else's."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from api.answer import Header
from heroctl.domain.addresses import Network

_MAPPED: Final = "::ffff:"  # how a socket that listens on both spells an address of IPv4


def client_of(scope: Any, trusted: Sequence[Network]) -> str:  # noqa: ANN401 - ASGI
    """Return the address a request comes from.

    Where a trusted proxy hands it on, that is the last address of X-Forwarded-For which is no trusted proxy:
    what stands before it was written by the client and proves nothing.
    """
    peer = scope.get("client")
    here = _plain(str(peer[0])) if peer else ""
    if not trusted or not _within(here, trusted):
        return here
    for address in reversed(_forwarded(scope["headers"])):
        if not _valid(address):
            break
        here = address
        if not _within(address, trusted):
            break
    return here


def _forwarded(headers: Iterable[Header]) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [_plain(address.strip()) for value in values for address in value.split(",")]


def _plain(address: str) -> str:
    return address.removeprefix(_MAPPED) if "." in address else address


@lru_cache(maxsize=4096)
def whose(address: str) -> str:
    """Name whom an address belongs to: of IPv6, where everybody has plenty of them, the network."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def _valid(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _within(address: str, trusted: Sequence[Network]) -> bool:
    if not _valid(address):
        return False
    found = ipaddress.ip_address(address)
    return any(found in network for network in trusted)
