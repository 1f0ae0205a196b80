"""What a node lets containers reach beyond their walls: by default nothing.

A node says it in its attributes, the planner places by that, and the agent looks once more before it starts anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from msgspec import Struct

from heroctl.domain.isolation import ALL, Taken, is_clean, is_within

# Below a folder that a node allows these stay closed, and what contains them: they must be named themselves.
SENSITIVE: Final = (
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/root",
    "/run/containerd",
    "/run/docker.sock",
    "/sys",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/run/docker.sock",
)
_YES: Final = "true"
_NAMES: Final = ("privileged", "host_network", "host_namespaces", "devices", "capabilities", "host_paths")
_KEYS: Final = tuple(f"docker.{name}" for name in _NAMES)


class Allowance(Struct, frozen=True, gc=False):
    """What is allowed. Devices and host paths: each with what is below it. `kept`: paths that stay closed as well."""

    privileged: bool = False
    host_network: bool = False
    host_namespaces: bool = False
    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    host_paths: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def attributes(self) -> dict[str, str]:
        """Spell it as attributes of a node; what is not allowed is not there."""
        values = (getattr(self, name) for name in _NAMES)
        texts = (",".join(value) if isinstance(value, tuple) else _YES if value else "" for value in values)
        return {key: text for key, text in zip(_KEYS, texts, strict=True) if text}

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Allowance:
        """Read it off a node's attributes."""
        return _read(*(attributes.get(key, "") for key in _KEYS))


NOTHING: Final = Allowance()


@lru_cache(maxsize=256)
def _read(*texts: str) -> Allowance:
    privileged, network, namespaces, *lists = texts
    devices, capabilities, host_paths = (tuple(each for each in text.split(",") if each) for text in lists)
    return Allowance(privileged == _YES, network == _YES, namespaces == _YES, devices, capabilities, host_paths)


def refusal(wanted: Iterable[Taken], allowance: Allowance) -> str | None:
    """Name the first thing wanted that is not allowed."""
    return next((_spelled(each) for each in wanted if not _allows(allowance, each)), None)


def _allows(allowance: Allowance, wanted: Taken) -> bool:
    match wanted.right:
        case "privileged":
            return allowance.privileged
        case "host-network":
            return allowance.host_network
        case "host-namespaces":
            return allowance.host_namespaces
        case "capabilities":
            return wanted.what in allowance.capabilities or ALL in allowance.capabilities
        case "devices":
            return is_clean(wanted.what) and any(is_within(wanted.what, each) for each in allowance.devices)
        case "host-paths":
            return opens(allowance.host_paths, wanted.what, (*SENSITIVE, *allowance.kept))


def opens(allowed: Iterable[str], path: str, closed: Iterable[str]) -> bool:
    """Tell whether one of the allowed paths is this one, or contains it and nothing closed stands between them."""
    hidden = tuple(closed)
    return is_clean(path) and any(path == each or _reaches(each, path, hidden) for each in allowed)


def _reaches(allowed: str, path: str, closed: Iterable[str]) -> bool:
    between = (each for each in closed if each != allowed and is_within(each, allowed))
    return is_within(path, allowed) and not any(is_within(path, each) or is_within(each, path) for each in between)


def _spelled(wanted: Taken) -> str:
    match wanted.right:
        case "privileged":
            return "privileged containers"
        case "host-network":
            return "the host's network"
        case "host-namespaces":
            return f"the host's {wanted.what} namespace"
        case "capabilities":
            return f"capability {wanted.what}"
        case "devices":
            return f"device {wanted.what}"
        case "host-paths":
            return f"host path {wanted.what}"
