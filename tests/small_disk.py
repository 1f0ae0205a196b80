"""A disk of its own for a test: small, and full when the test wants it to be."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PIECE: Final = 64 << 10


@dataclass(slots=True)
class SmallDisk:
    """A mounted file system. `fill` takes space from everybody else, `free` gives it back."""

    place: Path

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes free, or fewer."""
        with (self.place / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while self._free() > leave:
                file.write(bytes(min(_PIECE, self._free() - leave)))

    def free(self) -> None:
        """Remove what filled it."""
        (self.place / "filler").unlink(missing_ok=True)

    def is_full(self) -> bool:
        """Tell whether not even a page can be written."""
        probe = self.place / "probe"
        try:
            probe.write_bytes(bytes(4096))
        except OSError as error:
            return error.errno == errno.ENOSPC
        finally:
            probe.unlink(missing_ok=True)
        return False

    def _free(self) -> int:
        return shutil.disk_usage(self.place).free


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a file system in memory, of this size, as `place`."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", str(place)], check=True)
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
