"""What somebody who looks a cluster over has found: one line, with what to do about it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Verdict = Literal["ok", "warn", "fail", "skip"]


class Finding(Struct, frozen=True):
    """`mend`: what to do, where something is wrong."""

    name: str
    state: Verdict
    message: str = ""
    mend: str = ""


def ok(name: str, message: str = "") -> Finding:
    """Find that something is as it should be."""
    return Finding(name, "ok", message)


def warn(name: str, message: str, mend: str = "") -> Finding:
    """Find something that works, and should be otherwise."""
    return Finding(name, "warn", message, mend)


def fail(name: str, message: str, mend: str = "") -> Finding:
    """Find something that does not work."""
    return Finding(name, "fail", message, mend)


def skip(name: str, message: str) -> Finding:
    """Say what was not looked at, and why."""
    return Finding(name, "skip", message)
