"""Where containers stand on this machine, and how they reach the machine itself."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Bridge(NamedTuple):
    """The network that containers stand in, and the host's own address in it."""

    address: str
    network: Network


def bridge_of(network: Mapping[str, object]) -> Bridge | None:
    """Read where containers stand from what an engine says of their network; None: it does not say so."""
    described = network.get("IPAM")
    pools = described.get("Config") if isinstance(described, dict) else None
    for pool in pools if isinstance(pools, list) else ():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            subnet = ipaddress.ip_network(pool.get("Subnet"), strict=False)
            address = ipaddress.ip_address(pool.get("Gateway"))
            if address.version == subnet.version == 4:
                return Bridge(str(address), subnet)
    return None
