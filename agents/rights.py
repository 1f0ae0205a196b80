"""What an agent's settings may say that containers reach on its machine. Pure.

The agent holds every workload against it before anything is started (`agents.step`), whatever the control plane says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from heroctl.domain.isolation import ALL, CAPABILITIES, is_clean, is_within


def problems(devices: Iterable[str], capabilities: Iterable[str], host_paths: Iterable[str]) -> Iterator[str]:
    """Say what is wrong with the settings that allow something."""
    for path in devices:
        if not (_plain(path) and is_within(path, "/dev")):
            yield f"--allow-device: {path!r} is not a path such as /dev/fuse, or /dev for all"
    for path in host_paths:
        if not _plain(path):
            yield f"--allow-host-path: {path!r} is not a path such as /srv, without . or .. and a / at its end"
    for name in capabilities:
        if name != ALL and name not in CAPABILITIES:
            yield f"--allow-capability: there is no {name!r}; write them as NET_ADMIN, or ALL"


def _plain(path: str) -> bool:
    return is_clean(path) and "," not in path  # a node's attribute lists them with commas
