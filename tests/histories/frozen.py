"""What was released stays: `python -m tests.histories.frozen VERSION` freezes all recorded histories, at a release.

`FROZEN` has a line for each file: the release that froze it, its SHA-256, its name. A history and a snapshot are frozen
to the byte; of a golden file what it says in words, since how a state is laid out is nobody's business. Until then a
history may be told anew.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests.histories import history
from tests.house import ROOT

LIST: Final = "FROZEN"
_LAYOUT: Final = ("digest", "parts", "sizes")  # of a golden file
_RELEASED: Final = re.compile(r"^## \[(\d+\.\d+\.\d+)\]", re.MULTILINE)


class Frozen(NamedTuple):
    """A file that never changes again."""

    release: str
    sha256: str
    file: str


def listed(folder: Path = history.FOLDER) -> list[Frozen]:
    """Read the list."""
    lines = (folder / LIST).read_text().splitlines()
    return [Frozen(*line.split()) for line in lines if line and not line.startswith("#")]


def changed(folder: Path = history.FOLDER) -> list[str]:
    """Name the frozen files that are gone or not what they were."""
    return [
        each.file
        for each in listed(folder)
        if not (folder / each.file).exists() or sha256(folder / each.file) != each.sha256
    ]


def released(changelog: str) -> set[str]:
    """Name the releases that a changelog tells of."""
    return set(_RELEASED.findall(changelog))


def freeze(release: str, folder: Path = history.FOLDER) -> list[Frozen]:
    """Freeze what is not frozen yet; return that."""
    known = {each.file for each in listed(folder)}
    new = [Frozen(release, sha256(file), file.name) for file in _files(folder) if file.name not in known]
    with (folder / LIST).open("a") as file:
        file.writelines(" ".join(each) + "\n" for each in new)
    return new


def sha256(file: Path) -> str:
    """Stand for what must stay of a file."""
    content = file.read_bytes()
    if file.name.endswith(".golden.json"):
        words = msgspec.json.decode(content)
        content = msgspec.json.encode(
            {name: said for name, said in words.items() if name not in _LAYOUT}, order="sorted"
        )
    return hashlib.sha256(content).hexdigest()


def _files(folder: Path) -> Iterable[Path]:
    return sorted(file for kind in ("*.ndjson", "*.golden.json", "*.snapshot") for file in folder.glob(kind))


if __name__ == "__main__":
    if sys.argv[1] not in released((ROOT / "CHANGELOG.md").read_text()):
        sys.exit(f"CHANGELOG.md tells of no release {sys.argv[1]}")
    for each in freeze(sys.argv[1]):
        sys.stdout.write(f"{each.file}\n")
