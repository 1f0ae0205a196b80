"""The group `path`: what a cluster does most often, from the request to the container."""

from __future__ import annotations

from typing import Final

from tests.bench import fanout, fold, reads, start, submits, version
from tests.bench.rows import Case

CASES: Final[tuple[Case, ...]] = (start.CASE, fanout.CASE, reads.CASE, submits.CASE, fold.CASE, version.CASE)
