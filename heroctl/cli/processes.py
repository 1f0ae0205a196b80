"""The commands that become a process of the cluster: `serve api`, `serve reconciler`, `agent`, `dev`, `admin …`.

They hand over every word as it is. Settings, `--help` and `--show-config` are the process's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Final, NoReturn

MODULES: Final = {
    ("serve", "api"): ("api",),
    ("serve", "reconciler"): ("reconciler",),
    ("agent",): ("agents",),
    ("dev",): ("heroctl.dev",),
    ("admin", "reset-password"): ("eventstore", "reset-password"),
}


def version() -> str:
    """Return the version of this installation."""
    return metadata.version("heroctl")


def command(words: Sequence[str]) -> list[str] | None:
    """Return the command line of the process that these words ask for, or None."""
    for name, module in MODULES.items():
        if tuple(words[: len(name)]) == name:
            # -P: a folder named `api` where the user happens to stand is not our api.
            return [sys.executable, "-P", "-m", *module, *words[len(name) :]]
    return None


def replace(command_line: list[str]) -> NoReturn:
    """Become that process."""
    sys.stdout.flush()
    os.execv(command_line[0], command_line)  # noqa: S606 - no shell is wanted
