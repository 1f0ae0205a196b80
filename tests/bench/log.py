"""The group `log`: what the event log costs, from the append to the reader that wakes."""

from __future__ import annotations

from typing import Final

from tests.bench import appends, cold, idle, wakes
from tests.bench.rows import Case

CASES: Final[tuple[Case, ...]] = (appends.CASE, wakes.CASE, cold.CASE, idle.CASE)
