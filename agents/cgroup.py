"""Control groups for the process runtime: hard limits where the kernel lets this process make them.

Version 1 and 2. Without them memory is measured once a second by the waiter, and cores are not limited.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path("/sys/fs/cgroup")
_PARENT: Final = "heroctl"
_PERIOD: Final = 100_000  # µs


class Group(NamedTuple):
    """The folders a process must enter, and the file whose `oom_kill` line counts kills. Empty: no limits."""

    folders: tuple[str, ...] = ()
    oom: str = ""


def make(name: str, cpu: float, memory: int, root: Path = ROOT) -> Group:
    """Make a group with these limits (cores, bytes), or none at all."""
    try:
        return (
            _second(name, cpu, memory, root)
            if (root / "cgroup.controllers").exists()
            else _first(name, cpu, memory, root)
        )
    except OSError:
        remove(name, root)
        return Group()


def remove(name: str, root: Path = ROOT) -> None:
    """Remove what `make` made; a group in which something still runs stays."""
    for folder in (root / _PARENT / name, root / "memory" / _PARENT / name, root / "cpu" / _PARENT / name):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _first(name: str, cpu: float, memory: int, root: Path) -> Group:
    bytes_folder, cores_folder = (root / kind / _PARENT / name for kind in ("memory", "cpu"))
    for folder in (bytes_folder, cores_folder):
        folder.mkdir(parents=True, exist_ok=True)
    (bytes_folder / "memory.limit_in_bytes").write_text(str(memory))
    with contextlib.suppress(OSError):  # a kernel without an account of swap
        (bytes_folder / "memory.memsw.limit_in_bytes").write_text(str(memory))
    (cores_folder / "cpu.cfs_period_us").write_text(str(_PERIOD))
    (cores_folder / "cpu.cfs_quota_us").write_text(str(_quota(cpu)))
    return Group((str(bytes_folder), str(cores_folder)), str(bytes_folder / "memory.oom_control"))


def _second(name: str, cpu: float, memory: int, root: Path) -> Group:
    parent = root / _PARENT
    parent.mkdir(exist_ok=True)
    for folder in (root, parent):
        (folder / "cgroup.subtree_control").write_text("+memory +cpu")
    folder = parent / name
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(str(memory))
    with contextlib.suppress(OSError):  # as above
        (folder / "memory.swap.max").write_text("0")
    (folder / "cpu.max").write_text(f"{_quota(cpu)} {_PERIOD}")
    return Group((str(folder),), str(folder / "memory.events"))


def _quota(cpu: float) -> int:
    return max(1000, round(cpu * _PERIOD))
