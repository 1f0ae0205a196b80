"""The last that a workload or a command said, fit for one message. Pure: bytes in, a few tidy lines out."""

from __future__ import annotations

import re
from typing import Final

LINES: Final = 5
BYTES: Final = 768  # in UTF-8; the rest of a report's KiB says what happened
ENOUGH: Final = 16 * 1024  # bytes from the end in which those lines are looked for
# What colours a terminal, names its window or moves its cursor.
_STEERING: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


def last_lines(raw: bytes) -> str:
    """Give the last lines in which something stands; of what is too long, the end."""
    text = _STEERING.sub("", raw[-ENOUGH:].decode(errors="replace"))
    lines = [line for line in map(_tidy, text.splitlines()) if line]
    return "\n".join(lines[-LINES:]).encode()[-BYTES:].decode(errors="ignore").lstrip()


def _tidy(line: str) -> str:
    """Take out what is no letter, sign or blank: control and format characters, whatever they would steer."""
    return "".join(each if each.isprintable() else " " if each.isspace() else "" for each in line).strip()
