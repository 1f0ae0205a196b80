"""When the clock launches a job: cron expressions, by the wall clock of a time zone. The one home of cronsim.

Five fields as in Debian's cron, or one of a few names such as `@daily`. Where clocks change: what was to be at an hour
that a day does not have is right after it; what is at an hour that a day has twice is at the first of the two; what is
each hour, or every so many minutes, goes on by time passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

NAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS: Final = 5
_LONGEST: Final = 1000  # characters: an expression can be spelled out, but not for ever
_MS: Final = 1000
_HOUR: Final = 3_600_000  # ms
_EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)
# How far back the newest of many is looked for, first near, then ever farther: each step has few, or the one before
# would have found one.
_SPANS: Final = (2 * _HOUR, 48 * _HOUR, 64 * 24 * _HOUR)


def cron_problem(cron: str) -> str | None:
    """Say what is wrong with an expression; None: nothing, and there is a time that it means."""
    known = NAMES.get(cron.strip().lower(), cron)
    if len(known) > _LONGEST:
        return f"at most {_LONGEST} characters"
    if len(known.split()) != _FIELDS:
        names = ", ".join(NAMES)
        return f"expected minute, hour, day of month, month and day of week, such as `*/5 * * * *`, or one of {names}"
    try:
        return None if next(CronSim(known, _EPOCH), None) is not None else "there is no such day"
    except CronSimError as error:
        return str(error)


def zone_problem(name: str) -> str | None:
    """Say what is wrong with the name of a time zone."""
    try:
        _zone(name)
    except (LookupError, ValueError, OSError):
        return f"there is no time zone {name!r}: expected a name such as UTC or Europe/Berlin"
    return None


@lru_cache(maxsize=4096)
def following(cron: str, zone: str, after: int) -> int | None:
    """Return the first scheduled time (ms) after a moment; None: there is none."""
    return next(_times(cron, zone, after), None)


@lru_cache(maxsize=4096)
def latest(cron: str, zone: str, after: int, until: int) -> int | None:
    """Return the newest scheduled time (ms) after one moment, and not after another; None: there is none."""
    first = following(cron, zone, after)
    if first is None or first > until:
        return None
    for span in _SPANS:
        start = max(until - span, first)
        found = max(_up_to(cron, zone, start, until), default=None)
        if found is not None:
            return found
    return max(_up_to(cron, zone, first, until), default=first)


def _up_to(cron: str, zone: str, after: int, until: int) -> Iterator[int]:
    for time in _times(cron, zone, after):
        if time > until:
            return
        yield time


def _times(cron: str, zone: str, after: int) -> Iterator[int]:
    """Give scheduled times from a moment on, each once, rising: two that a change of the clock makes one are one."""
    known = NAMES.get(cron.strip().lower(), cron)
    last = after
    for time in CronSim(known, datetime.fromtimestamp(after // _MS, _zone(zone))):
        found = int(time.timestamp()) * _MS
        if found > last:
            yield found
            last = found


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)
