"""Which addresses may be spoken to when somebody else chose the name: those of the public Internet, and listed ones."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# What is routed at all. Below it stand addresses of IPv4 in other clothes: mapped, compatible, NAT64.
_ROUTED: Final = ipaddress.IPv6Network("2000::/3")
_SIX_TO_FOUR: Final = ipaddress.IPv6Network("2002::/16")


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks such as `10.0.0.0/8`. ValueError names the one that is none."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def may_reach(address: str, listed: Sequence[Network]) -> bool:
    """Tell whether an address may be spoken to: it stands in a listed network, or everybody could speak to it.

    Private, shared, loopback, link-local and multicast ones are none of those, nor what leads to one of IPv4 in a
    roundabout way, wherever that leads.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in listed) or _public(found)


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (address not in _ROUTED or address in _SIX_TO_FOUR):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or its address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
