"""Files of allocations on this machine, to be bound into containers: what is secret in memory, the rest on disk.

A folder an attempt, under a key; in it the files by number. The folders above are the agent's alone, so a file may
have any mode.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from agents.container import Content
from agents.memory import Memory
from agents.runtime import StartFailed


class HostFiles:
    """Files below `disk` and, where they are secret, below `part` of the memory. Blocking calls, for a thread."""

    def __init__(self, disk: Path, memory: Memory, part: str) -> None:
        self._disk = disk
        self._memory = memory
        self._part = part
        self._held: set[str] = set()

    @contextlib.contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Keep a key from the sweep while its container is being made."""
        self._held.add(key)
        try:
            yield
        finally:
            self._held.discard(key)

    def put(self, key: str, contents: Iterable[Content]) -> list[Path]:
        """Write them under a key, where nothing is left of an earlier try. NoTmpfs, StartFailed."""
        self.remove(key)
        made = []
        try:
            for number, content in enumerate(contents):
                folder = (self._secret() if content.secret else self._disk) / key
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                made.append(folder / str(number))
                write(made[-1], content)
        except OSError as error:
            self.remove(key)
            raise StartFailed(f"its files cannot be written: {error.strerror}") from error
        return made

    def _secret(self) -> Path:
        return self._memory.folder() / self._part

    def remove(self, key: str) -> None:
        """Remove what lies under a key."""
        for root in self._roots():
            shutil.rmtree(root / key, ignore_errors=True)

    def keys(self) -> set[str]:
        """Return the keys under which something lies."""
        return {entry.name for root in self._roots() if root.is_dir() for entry in root.iterdir()}

    def sweep(self, before: Collection[str], kept: Collection[str]) -> None:
        """Remove what nobody has. `before`: the keys that there were before it was looked who has what."""
        for key in set(before) - set(kept) - self._held:
            self.remove(key)

    def _roots(self) -> list[Path]:
        memory = self._memory.existing()
        return [self._disk, *([memory / self._part] if memory is not None else [])]


def write(path: Path, content: Content) -> None:
    """Write one file that was not there, with its mode, whatever the process's mask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.content)
        os.fchmod(file.fileno(), content.mode)
