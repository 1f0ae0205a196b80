"""How payloads changed: from each earlier schema of a tag to the next one, and back.

Old events are read by going up, one schema at a time. While older processes live, new ones write by going down. Both
ways are pure functions of a payload as plain JSON, and stay for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

Payload = dict[str, Any]
Written = tuple[str, int, bytes]  # tag, schema, payload


class TooNew(ValueError):  # noqa: N818 - an answer: finish the upgrade first
    """A log at this level takes no such event: a process that cannot fold it may still live."""


class Step(Struct, frozen=True):
    """The way between one schema of a tag and the next. `down` gives None for what the earlier one cannot say."""

    up: Callable[[Payload], Payload]
    down: Callable[[Payload], Payload | None]
    level: int = 1  # from which the earlier schema may be written


STEPS: Final[dict[tuple[str, int], Step]] = {}  # by tag and earlier schema


def upcast(tag: str, schema: int, data: bytes) -> Written:
    """Read an earlier schema's payload as the next one's."""
    return tag, schema + 1, msgspec.json.encode(STEPS[tag, schema].up(msgspec.json.decode(data)))


def earlier(written: Written, level: int) -> Written:
    """Write an event in the newest earlier schema that a log at this level takes. TooNew: there is none."""
    tag, schema, data = written
    payload: Payload | None = msgspec.json.decode(data)
    while payload is not None and (step := STEPS.get((tag, schema - 1))) is not None:
        schema, payload = schema - 1, step.down(payload)
        if payload is not None and step.level <= level:
            return tag, schema, msgspec.json.encode(payload)
    raise TooNew(f"a log at level {level} takes no such event: {tag}")
