"""The machine under an agent: what it has, what it is, how it can be reached."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from heroctl.domain.assignment import Capacity

_LOOPBACK: Final = "127.0.0.1"


@dataclass
class About:
    """What the agent says of its machine."""

    boot_id: str
    capacity: Capacity
    version: str
    labels: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)


def version() -> str:
    """Return the release of this agent."""
    return metadata.version("heroctl")


def name() -> str:
    """Return the host's name, as a node's."""
    return platform.node().lower()


def boot_id() -> str:
    """Tell one boot of this machine from every other one anywhere."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def capacity(folder: Path, *, cpu: float | None, memory: int | None, disk: int | None) -> Capacity:
    """Return what allocations may have: what the settings say, else what the machine has (disk: of the data's)."""
    return Capacity(
        cpu=float(len(os.sched_getaffinity(0))) if cpu is None else cpu,
        memory=_memory()["MemTotal"] if memory is None else memory,
        disk=shutil.disk_usage(folder).total if disk is None else disk,
    )


def attributes() -> dict[str, str]:
    """Describe the machine, for constraints and `${node.*}`."""
    named = _release()
    found = {
        "os": platform.system().lower(),
        "arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "kernel": platform.release(),
        "hostname": socket.gethostname(),
        "cpus": str(os.cpu_count() or 1),
        "distribution": named.get("ID", ""),
        "distribution_version": named.get("VERSION_ID", ""),
        "agent_version": version(),
    }
    return {name: value for name, value in found.items() if value}


def address(urls: Iterable[str]) -> str:
    """Return the address from which this machine speaks to the first api it has a way to: others reach it there."""
    for url in urls:
        parts = urlsplit(url)
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)
            family, kind, _, _, target = found[0]
            with socket.socket(family, kind) as probe:
                probe.connect(target)  # sends nothing
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return _LOOPBACK


def _memory() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
