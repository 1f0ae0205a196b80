"""Counters of the kernel: what a control group, a process or the whole machine has used so far. Versions 1 and 2.

What is not there is None: a container in its host's network has no traffic of its own, a process without a group no
limit. Nothing here raises where a file cannot be read; what has ended has no counters.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

ROOT: Final = Path("/sys/fs/cgroup")
PROC: Final = Path("/proc")
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_SECTOR: Final = 512
_WHOLE: Final = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd")  # no disks, or made of others


class Counters(Struct, frozen=True):
    """What was used so far: processor seconds, bytes; `memory` is what is used now."""

    cpu: float | None = None
    memory: float | None = None
    network_in: float | None = None
    network_out: float | None = None
    disk_read: float | None = None
    disk_write: float | None = None


class Group(Struct, frozen=True):
    """Where the kernel counts for one workload: folders by what they count, and a process in it for its network."""

    cpu: Path | None = None
    memory: Path | None = None
    disk: Path | None = None
    pid: int = 0
    second: bool = False  # of version 2


def group_of(pid: int, root: Path = ROOT, proc: Path = PROC) -> Group | None:
    """Find the groups that a process is in; None: it is gone, or this process sees none of them."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    named = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
    if (root / "cgroup.controllers").exists():
        folder = root / named.get("", "/").lstrip("/")
        return Group(folder, folder, folder, pid, second=True) if (folder / "cpu.stat").exists() else None
    found = {kind: root / kind / named[kind].lstrip("/") for kind in ("cpuacct", "memory", "blkio") if kind in named}
    if not (found.get("cpuacct", root) / "cpuacct.usage").exists():
        return None
    return Group(found.get("cpuacct"), found.get("memory"), found.get("blkio"), pid)


def of_group(group: Group, *, own_network: bool = True, proc: Path = PROC) -> Counters:
    """Read the counters of a group."""
    traffic = network(group.pid, proc) if own_network and group.pid else None
    disks = _second_disks(group.disk) if group.second else _first_disks(group.disk)
    read, written = disks or (None, None)
    inside, outside = traffic or (None, None)
    cpu = _second_cpu(group.cpu) if group.second else _first_cpu(group.cpu)
    memory = _memory(group.memory, *(_SECOND if group.second else _FIRST))
    return Counters(cpu, memory, inside, outside, read, written)


_FIRST: Final = ("memory.usage_in_bytes", "total_inactive_file")
_SECOND: Final = ("memory.current", "inactive_file")


def _first_cpu(folder: Path | None) -> float | None:
    text = _text(folder, "cpuacct.usage")
    return int(text) / 1e9 if text else None


def _second_cpu(folder: Path | None) -> float | None:
    used = _fields(_text(folder, "cpu.stat")).get("usage_usec")
    return None if used is None else used / 1e6


def _memory(folder: Path | None, usage: str, cache: str) -> float | None:
    """Return what is in use, without the cache of files that nobody has touched lately."""
    used = _text(folder, usage)
    return float(max(0, int(used) - _fields(_text(folder, "memory.stat")).get(cache, 0))) if used else None


def _first_disks(folder: Path | None) -> tuple[float, float] | None:
    text = _text(folder, "blkio.throttle.io_service_bytes")
    words = [line.split() for line in text.splitlines()]
    if not text:
        return None
    return tuple(float(sum(int(each[2]) for each in words if each[1:2] == [kind])) for kind in ("Read", "Write"))  # type: ignore[return-value] # two


def _second_disks(folder: Path | None) -> tuple[float, float] | None:
    if folder is None or not (folder / "io.stat").exists():
        return None
    pairs = [word.partition("=") for line in _text(folder, "io.stat").splitlines() for word in line.split()[1:]]
    return tuple(float(sum(int(value) for name, _, value in pairs if name == kind)) for kind in ("rbytes", "wbytes"))  # type: ignore[return-value] # two


def network(pid: int | str, proc: Path = PROC) -> tuple[float, float] | None:
    """Return the bytes received and sent in a process's network, loopback left out."""
    text = _text(proc / str(pid) / "net", "dev")
    rows = [line.partition(":") for line in text.splitlines() if ":" in line]
    counted = [words.split() for name, _, words in rows if name.strip() != "lo"]
    return (float(sum(int(row[0]) for row in counted)), float(sum(int(row[8]) for row in counted))) if text else None


def same_network(pid: int, proc: Path = PROC) -> bool:
    """Tell whether a process is in this machine's own network, where nothing counts for it alone."""
    try:
        return (proc / str(pid) / "ns/net").readlink() == (proc / "self/ns/net").readlink()
    except OSError:
        return True


def of_session(leader: int, proc: Path = PROC) -> Counters:
    """Add up all processes of a session: for workloads that have no group. Its network is its machine's."""
    cpu = memory = read = written = 0.0
    found = False
    for stat in _sessions(proc).get(leader, ()):
        found = True
        cpu += sum(int(field) for field in stat[11:15]) * _TICK
        memory += int(stat[21]) * _PAGE
        counted = _fields(_text(proc / stat[-1], "io").replace(":", ""))
        read, written = read + counted.get("read_bytes", 0), written + counted.get("write_bytes", 0)
    return Counters(cpu, memory, None, None, read, written) if found else Counters()


def of_process(leader: int, groups: Iterable[str], root: Path = ROOT, proc: Path = PROC) -> Counters:
    """Read what a process and all below it have used: what its groups count, and the rest process by process."""
    folders = [Path(group) for group in groups]
    summed = of_session(leader, proc)
    if not folders:
        return summed
    if (root / "cgroup.controllers").exists():
        counted = of_group(Group(folders[0], folders[0], second=True))
    else:
        counted = of_group(Group(memory=folders[0]))
    return Counters(
        summed.cpu if counted.cpu is None else counted.cpu,
        summed.memory if counted.memory is None else counted.memory,
        disk_read=summed.disk_read,
        disk_write=summed.disk_write,
    )


def _sessions(proc: Path) -> dict[int, list[list[str]]]:
    """Read the state of every process, by session; the pid comes last."""
    found: dict[int, list[list[str]]] = {}
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            words = _text(folder, "stat").rpartition(")")[2].split()
            if len(words) > 21:
                found.setdefault(int(words[3]), []).append([*words, folder.name])
    return found


def of_engine(stats: dict[str, Any]) -> Counters:
    """Read what an engine says of a container: where its groups cannot be seen from here."""
    memory, networks = stats.get("memory_stats") or {}, (stats.get("networks") or {}).values()
    used, kept = memory.get("usage"), memory.get("stats") or {}
    disks = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    total = (stats.get("cpu_stats") or {}).get("cpu_usage", {}).get("total_usage")
    cache = kept.get("total_inactive_file", kept.get("inactive_file", 0))
    return Counters(
        None if total is None else total / 1e9,
        None if used is None else float(max(0, used - cache)),
        float(sum(each.get("rx_bytes", 0) for each in networks)) if networks else None,
        float(sum(each.get("tx_bytes", 0) for each in networks)) if networks else None,
        _disks(disks, "read"),
        _disks(disks, "write"),
    )


def _disks(rows: Iterable[dict[str, Any]], kind: str) -> float:
    return float(sum(row.get("value", 0) for row in rows if str(row.get("op", "")).lower() == kind))


class Machine:
    """The whole machine; `folder`: on whose disk the agent keeps its data; `own`: what else the agent tells."""

    def __init__(self, folder: Path, proc: Path = PROC, own: Callable[[], dict[str, float]] = dict) -> None:
        self._folder = folder
        self._proc = proc
        self._own = own

    def counters(self) -> Counters:
        """Read what all of it has used so far."""
        fields = [int(field) for field in _text(self._proc, "stat").split("\n", 1)[0].split()[1:9]]
        memory = _fields(_text(self._proc, "meminfo").replace(":", ""))
        used = (memory["MemTotal"] - memory.get("MemAvailable", memory["MemFree"])) * 1024
        read, written = self._disks()
        inside, outside = network("self", self._proc) or (None, None)
        return Counters((sum(fields) - fields[3] - fields[4]) * _TICK, float(used), inside, outside, read, written)

    def gauges(self) -> dict[str, float]:
        """Read what is so now: of the data's disk, of memory, of what waits for a processor."""
        disk = shutil.disk_usage(self._folder)
        found = self._own() | {"disk": float(disk.used), "disk_percent": 100 * disk.used / max(1, disk.total)}
        with contextlib.suppress(ValueError, IndexError):
            found |= {
                "load": float(_text(self._proc, "loadavg").split()[0]),
                "uptime": float(_text(self._proc, "uptime").split()[0]),
            }
        return found

    @property
    def limits(self) -> tuple[float, float]:
        """How many processors there are, and how many bytes of memory."""
        memory = _fields(_text(self._proc, "meminfo").replace(":", ""))
        return float(os.cpu_count() or 1), float(memory["MemTotal"] * 1024)

    def _disks(self) -> tuple[float, float]:
        rows = [line.split() for line in _text(self._proc, "diskstats").splitlines()]
        whole = [row for row in rows if not row[2].startswith(_WHOLE) and not _is_part(row[2], rows)]
        return float(sum(int(row[5]) for row in whole) * _SECTOR), float(sum(int(row[9]) for row in whole) * _SECTOR)


def _is_part(name: str, rows: list[list[str]]) -> bool:
    """Tell whether a device is a partition of another: `sda1` of `sda`, `nvme0n1p2` of `nvme0n1`."""
    whole = name.rstrip("0123456789")
    return whole != name and any(row[2] in (whole, whole.removesuffix("p")) for row in rows if row[2] != name)


def _text(folder: Path | None, name: str) -> str:
    if folder is None:
        return ""
    try:
        return (folder / name).read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _fields(text: str) -> dict[str, int]:
    words = (line.split() for line in text.splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) >= 2 and each[1].isdecimal()}
