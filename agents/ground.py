"""What a container gets of this machine: paths that are allowed, named volumes, files. Blocking calls, for a thread.

A container is made with all of it in place, and only then it is known whom it runs as. So `lay` comes before, and
`give` between making and starting it: files and new volumes are that user's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from agents.container import Description
from agents.container_user import User
from agents.host_files import HostFiles
from agents.host_paths import grounded
from agents.runtime import StartFailed
from agents.volumes import Volumes
from heroctl.domain.allowance import Allowance
from heroctl.domain.spec import Volume


class Laid(NamedTuple):
    """A description in which every volume is a place of this machine, and what of those places is to be given."""

    description: Description
    files: tuple[Path, ...]
    volumes: tuple[Path, ...]

    @property
    def wants_owner(self) -> bool:
        """Whether it matters whom the container runs as."""
        return bool(self.files or self.volumes)


class Ground:
    """Volumes and files of one node, for one runtime."""

    def __init__(self, volumes: Volumes, files: HostFiles) -> None:
        self.volumes = volumes
        self.files = files

    @contextlib.contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Keep what belongs to a key from the sweep while its container is being made."""
        with self.files.held(key):
            yield

    def lay(self, description: Description, allowance: Allowance) -> Laid:
        """Put everything in place. NotAllowed, HostPathMissing, VolumeUnusable, NoTmpfs, StartFailed."""
        checked = grounded(description, allowance)
        placed = [self._placed(volume, description.namespace) for volume in checked.volumes]
        files = self.files.put(description.key, description.files)
        bound = [
            Volume(str(place), file.path, read_only=True) for place, file in zip(files, description.files, strict=True)
        ]
        named = (Path(after.source) for after, before in zip(placed, checked.volumes, strict=True) if before.named)
        new = tuple(place for place in named if self.volumes.is_new(place))
        return Laid(replace(checked, volumes=(*placed, *bound), files=()), tuple(files), new)

    def _placed(self, volume: Volume, namespace: str) -> Volume:
        if not volume.named:
            return volume
        return replace(volume, source=str(self.volumes.place(namespace, volume.source)))

    def give(self, laid: Laid, user: User) -> None:
        """Give files and new volumes to whoever the container runs as. StartFailed where the agent may not."""
        try:
            for place in laid.files:
                os.chown(place, user.uid, user.gid, follow_symlinks=False)
            for place in laid.volumes:
                self.volumes.give(place, user.uid, user.gid)
        except PermissionError as error:
            if user.uid != 0:  # root in a container reads and writes what is others'
                said = f"the agent is not root, so it can give no file and no volume to user {user.uid}"
                raise StartFailed(said) from error
        except OSError as error:
            raise StartFailed(f"its files cannot be given to it: {error.strerror}") from error

    def remove(self, key: str) -> None:
        """Remove the files of an attempt; volumes stay."""
        self.files.remove(key)

    def sweep(self, before: Mapping[str, int], kept: Collection[str]) -> None:
        """Remove files that nobody has; see HostFiles."""
        self.files.sweep(before, kept)
