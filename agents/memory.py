"""A folder in memory: what lies there is on no disk, and gone after a boot."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Final

import structlog

from agents.runtime import NoTmpfs

_KINDS: Final = ("tmpfs", "ramfs")
_USUAL: Final = Path("/run/heroctl")
_MOUNT: Final = 10.0  # seconds
_OPTIONS: Final = "mode=0700,nosuid,nodev,size=10%"
_log = structlog.get_logger("memory")


def in_memory(path: Path) -> bool:
    """Tell whether a folder's file system keeps everything in memory."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            return kind.split()[0] in _KINDS
    return False


def likely(chosen: str = "") -> Path | None:
    """Name the place that would be taken, as far as can be seen without making anything; None: none, but for root."""
    for place in [Path(chosen)] if chosen else _usual():
        known = place if place.exists() else place.parent
        if known.is_dir() and not place.is_symlink() and in_memory(known) and os.access(known, os.W_OK):
            return place
    return None


class Memory:
    """The folder of one node, below `chosen`, or below the first usual place that is in memory and ours alone.

    Where no place is, root mounts one; anybody else has none.
    """

    def __init__(self, node: str, chosen: str = "") -> None:
        self._node = node
        self._places = [Path(chosen)] if chosen else _usual()
        self._first = self._places[0]

    def folder(self) -> Path:
        """Return it; it is there. NoTmpfs."""
        base = next((place for place in self._places if _ours(place)), None) or self._mounted()
        self._places.sort(key=lambda place: place != base)  # it stays where it is, as long as that is in memory
        folder = base / self._node
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def existing(self) -> list[Path]:
        """Return where it is, and where an earlier agent had it that found another place; make nothing.

        A place of somebody else's is none: what a link in it leads to would be swept.
        """
        return [place / self._node for place in self._places if _is_ours(place) and (place / self._node).is_dir()]

    def _mounted(self) -> Path:
        place = self._first
        if os.geteuid() != 0:
            raise NoTmpfs(f"neither of {', '.join(map(str, self._places))} is in memory, and the agent is not root")
        command = ["mount", "-t", "tmpfs", "-o", _OPTIONS, "heroctl", str(place)]
        if place.is_symlink():  # it would be mounted over whatever that leads to
            raise NoTmpfs(f"{place} is a link")
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            subprocess.run(command, check=True, capture_output=True, timeout=_MOUNT)
        except (OSError, subprocess.SubprocessError) as error:
            raise NoTmpfs(f"no tmpfs can be mounted at {place}: {error}") from error
        if not _ours(place):
            raise NoTmpfs(f"{place} is not in memory, or not the agent's alone")
        _log.info("tmpfs_mounted", folder=str(place))
        return place


def _usual() -> list[Path]:
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [_USUAL, *([Path(own) / "heroctl"] if own else []), Path(f"/dev/shm/heroctl-{os.geteuid()}")]  # noqa: S108 - looked at: see _ours


def _ours(place: Path) -> bool:
    """Make it where it can be made; tell whether it is in memory, and nobody else's. A link is nobody's."""
    try:
        if not place.exists() and not in_memory(place.parent):
            return False
        place.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(place):
            return False
        place.chmod(0o700)
    except OSError:
        return False
    return True


def _is_ours(place: Path) -> bool:
    """Tell whether it is there, in memory, and nobody else's; change nothing."""
    try:
        seen = place.lstat()
        return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and in_memory(place)
    except OSError:
        return False
