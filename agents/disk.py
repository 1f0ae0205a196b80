"""How full the disks are that an agent and its engine write to."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

Usage = Callable[[Path], tuple[int, int, int]]  # bytes in all, used, and free for us

CROWDED: Final = 80  # percent
LOW: Final = 95
SLACK: Final = 3  # so far below, once it was low, is it low no more: it does not flicker


class Disk:
    """The disks that some folders are on, of which the fullest counts. Shares are percent of what can be had."""

    def __init__(
        self, folder: Path, *, crowded: int = CROWDED, low: int = LOW, usage: Usage = shutil.disk_usage
    ) -> None:
        self._folders = [folder]
        self._crowded = crowded
        self._low = low
        self._usage = usage
        self._is_low = False

    def watch(self, folder: Path) -> None:
        """Look at the disk of this folder, too; one that is not there is none."""
        if folder not in self._folders:
            self._folders.append(folder)

    @property
    def used(self) -> int:
        """Percent of the fullest disk that are in use, rounded up."""
        shares = [0]
        for folder in self._folders:
            with contextlib.suppress(OSError):
                _, used, free = self._usage(folder)
                shares.append(-(-100 * used // max(1, used + free)))
        return max(shares)

    @property
    def crowded(self) -> bool:
        """Whether what nobody needs is to go."""
        return self.used > self._crowded

    @property
    def low(self) -> str:
        """Why nothing more may be brought here; "" where it may."""
        used, limit = self.used, self._low - (SLACK if self._is_low else 0)
        self._is_low = used >= limit
        return f"the disk is {used} % full, and from {limit} % on no image is pulled" if self._is_low else ""
