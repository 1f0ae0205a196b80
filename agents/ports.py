"""Dynamic host ports: chosen once, kept for an allocation's life. Several agents on one machine have a range each."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping

from heroctl.domain.spec import DYNAMIC_PORTS


class PortRange:
    """First and last port of a range, both included: `20000-25999`."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last

    @classmethod
    def parse(cls, text: object) -> PortRange:
        """Read one; ValueError where it is none, or outside of what is set aside for dynamic ports."""
        first, dash, last = str(text).partition("-")
        if not dash or not first.isdecimal() or not last.isdecimal():
            raise ValueError(f"{text!r} is not a range of ports such as 20000-25999")
        if not int(first) <= int(last) or int(first) not in DYNAMIC_PORTS or int(last) not in DYNAMIC_PORTS:
            raise ValueError(f"{text!r} is not within {DYNAMIC_PORTS.start}-{DYNAMIC_PORTS.stop - 1}")
        return cls(int(first), int(last))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PortRange) and (other.first, other.last) == (self.first, self.last)

    def __hash__(self) -> int:
        return hash((self.first, self.last))


class NoPortLeft(Exception):  # noqa: N818 - it says what it is about
    """Every port of the range is held."""


def listens(port: int) -> bool:
    """Tell whether something on this machine holds a TCP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


class Ports:
    """Which allocation holds which port. A port given back is the last to be given out again."""

    def __init__(self, ports: PortRange, taken: Callable[[int], bool] = listens) -> None:
        self._range = ports
        self._taken = taken
        self._held: dict[int, str] = {}
        self._next = ports.first

    def hold(self, alloc: str, ports: Mapping[str, int]) -> None:
        """Remember ports that an allocation has already."""
        self._held.update(dict.fromkeys(ports.values(), alloc))

    def reserve(self, alloc: str, names: Iterable[str], avoid: Collection[int]) -> dict[str, int]:
        """Choose a port for each name. NoPortLeft."""
        found: dict[str, int] = {}
        for name in names:
            found[name] = self._free({*avoid, *found.values()})
        self.hold(alloc, found)
        return found

    def release(self, alloc: str) -> None:
        """Give back all that an allocation holds."""
        self._held = {port: holder for port, holder in self._held.items() if holder != alloc}

    def _free(self, avoid: Collection[int]) -> int:
        for _ in range(self._range.last - self._range.first + 1):
            port, self._next = self._next, self._next + 1
            if self._next > self._range.last:
                self._next = self._range.first
            if port not in self._held and port not in avoid and not self._taken(port):
                return port
        raise NoPortLeft(f"no port of {self._range} is free")
