"""Work that pauses again and again, for who has something else to do beside it, or for who has not."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar, cast

T = TypeVar("T")


def whole(running: Generator[object, None, T]) -> T:
    """Do all of it without a pause, and give what it comes to."""
    while True:
        try:
            next(running)
        except StopIteration as end:
            return cast("T", end.value)
