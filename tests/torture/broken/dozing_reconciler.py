"""A reconciler that sleeps through every other minute."""

from __future__ import annotations

import sys

from heroctl.domain import cron
from reconciler import __main__ as main

_MINUTE = 60_000  # ms
_latest = cron.latest


def latest(expression: str, zone: str, after: int, until: int) -> int | None:
    """Give the newest scheduled time, but for odd minutes."""
    found = _latest(expression, zone, after, until)
    return None if found is None or found // _MINUTE % 2 else found


if __name__ == "__main__":
    cron.latest = latest  # type: ignore[assignment] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
