"""Named volumes: a folder a name, kept by the node when allocations come and go, and never removed by the agent.

`FOLDER/NAMESPACE/NAME`. Nothing of it is a link: whoever could put one there would have the agent give away another
folder. One that was made and belongs to nobody yet has the mode 1700.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agents.runtime import VolumeUnusable
from heroctl.domain.mounts import VOLUME_NAME
from heroctl.domain.names import NAME

_NEW: Final = 0o1700
_GIVEN: Final = 0o755
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Volumes:
    """The named volumes of one node. Blocking calls, for a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, namespace: str, name: str) -> Path:
        """Return a volume's folder; it is there. VolumeUnusable."""
        if NAME.fullmatch(namespace) is None or VOLUME_NAME.fullmatch(name) is None:
            raise VolumeUnusable(f"{namespace}/{name} is no name of a volume")
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            with _opened(self._folder) as root, _made(root, namespace, 0o711) as space, _made(space, name, _NEW):
                return self._folder / namespace / name
        except OSError as error:
            raise VolumeUnusable(f"volume {name} cannot be had: {error.strerror}") from error

    def is_new(self, place: Path) -> bool:
        """Tell whether a volume was made and not given to anybody yet."""
        return stat.S_IMODE(place.lstat().st_mode) == _NEW

    def give(self, place: Path, uid: int, gid: int) -> None:
        """Give a new volume to whoever uses it first; PermissionError where the agent may not."""
        with _opened(place) as folder:
            if stat.S_IMODE(os.fstat(folder).st_mode) != _NEW:
                return
            os.fchown(folder, uid, gid)
            os.fchmod(folder, _GIVEN)


@contextlib.contextmanager
def _opened(path: Path | str, at: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _made(at: int, name: str, mode: int) -> Iterator[int]:
    """Open a folder, made if need be; a link, or a file, is an OSError."""
    try:
        os.mkdir(name, mode, dir_fd=at)
    except FileExistsError:
        pass
    else:
        with _opened(name, at) as made:
            os.fchmod(made, mode)
    with _opened(name, at) as found:
        yield found
