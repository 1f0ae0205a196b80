"""Moments in a log as people write them: an index, a time (RFC 3339), or so long ago (`-1h`, `-90s`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from heroctl.domain.duration import Duration

EXPECTED: Final = "expected an index, a time such as 2026-03-01T12:00:00Z, or so long ago: -1h"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INDEX: Final = re.compile(r"[0-9]{1,18}")
# A `+` that was not escaped in a query string arrives as a space.
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,6})?\d*)([Zz]|[+ -]\d\d:\d\d)", re.ASCII)


class At(Struct, frozen=True):
    """The place of an event."""

    index: int


class Instant(Struct, frozen=True):
    """A time, in ms since the epoch."""

    ms: int


class Ago(Struct, frozen=True):
    """A time, so many ms before now."""

    ms: int

    def instant(self, now: int) -> Instant:
        """Make it a time, where `now` is known."""
        return Instant(now - self.ms)


def parse(text: str) -> At | Instant | Ago:
    """Read a moment. ValueError says what is expected."""
    if _INDEX.fullmatch(text):
        return At(int(text))
    if text.startswith("-"):
        return Ago(Duration.parse(text[1:]).ms)
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no moment: {EXPECTED}")
    day, time, zone = found.groups()
    try:
        given = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone in 'Zz' else zone.replace(' ', '+')}")
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is no time: {error}") from None
    return Instant((given - _EPOCH) // timedelta(milliseconds=1))
