"""Files of allocations on this machine, to be bound into containers: what is secret in memory, the rest on disk.

A folder an attempt, under a key; in it the files by number. The folders above are the agent's alone, so a file may
have any mode.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
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
        self._puts = 0
        self._put_as: dict[str, int] = {}  # by key: which put of this process's it was

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
        self._puts += 1
        self._put_as[key] = self._puts
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
        self._put_as.pop(key, None)
        for root in self._roots():
            shutil.rmtree(root / key, ignore_errors=True)

    def keys(self) -> dict[str, int]:
        """Return the keys under which something lies, but for those whose container is being made; see `sweep`."""
        there = {entry.name for root in self._roots() if root.is_dir() for entry in root.iterdir()}
        return {key: self._put_as.get(key, 0) for key in there - self._held}

    def sweep(self, before: Mapping[str, int], kept: Collection[str]) -> None:
        """Remove what nobody has. `before`: the keys that there were before it was looked who has what.

        One that was put anew since then, or is being made, is somebody's by now.
        """
        for key, put in before.items():
            if key not in kept and key not in self._held and self._put_as.get(key, 0) == put:
                self.remove(key)

    def _roots(self) -> list[Path]:
        return [self._disk, *(folder / self._part for folder in self._memory.existing())]


def write(path: Path, content: Content) -> None:
    """Write one file that was not there, with its mode, whatever the process's mask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.content)
        os.fchmod(file.fileno(), content.mode)
