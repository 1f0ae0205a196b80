"""What a process finds in the folder in which it starts: its files, and its named volumes as links.

What is secret lies in memory, and a link leads there. Blocking calls, for a thread.
"""

from __future__ import annotations

import os
from pathlib import Path

from agents.container import Content, Description
from agents.container_user import User
from agents.ground import Ground
from agents.host_files import write
from agents.runtime import NotAllowed, StartFailed


def fill(work: Path, description: Description, ground: Ground | None) -> None:
    """Put it there. NotAllowed, NoTmpfs, VolumeUnusable, StartFailed."""
    secret = [file for file in description.files if file.secret]
    if ground is None and (secret or description.volumes):
        raise NotAllowed("secret files and named volumes")
    try:
        for file in description.files:
            if not file.secret:
                write(_place(work, file.path), file)
        if ground is None:
            return
        for volume in description.volumes:
            folder = ground.volumes.place(description.namespace, volume.source)
            ground.volumes.give(folder, *User(os.geteuid(), os.getegid()))
            _place(work, volume.target).symlink_to(folder)
        for file, place in zip(secret, ground.files.put(description.key, secret), strict=True):
            _place(work, file.path).symlink_to(place)
    except OSError as error:
        raise StartFailed(f"its files cannot be written: {error.strerror}") from error


def hide(name: str, content: bytes, description: Description, ground: Ground | None) -> Path:
    """Write a file of ours under its key and a name; return where it is. NotAllowed, NoTmpfs, StartFailed."""
    if ground is None:
        raise NotAllowed("secrets")
    (place,) = ground.files.put(f"{description.key}{name}", [Content(name, content, 0o600, secret=True)])
    return place


def _place(work: Path, path: str) -> Path:
    place = work / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place
