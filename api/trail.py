"""The trail: what this process adds to the audit beside the log, the refusals it gave, and where the audit is read.

Refusals are collected and written once a second, the same ones as one; what a crash loses is the last second's. However
many there are, a second costs one statement of at most so many rows: beyond those, strangers are counted together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs

import structlog
from msgspec.structs import replace

from eventstore.acts import Acts
from eventstore.log import LogUnavailable
from eventstore.refusals import WINDOW, Refusals, Refused

EVERY: Final = 1.0  # seconds between writes
LONGEST: Final = 128  # characters of a text that came from a caller
_MOST: Final = {True: 500, False: 50}  # different refusals a second of those with a good token, and of those without
_LAST: Final = 1.0  # seconds that the end waits for the last write
_log: Final = structlog.get_logger(__name__)


class Trail:
    """Collects refusals; gives acts and refusals. `clock` gives seconds since the epoch."""

    def __init__(self, acts: Acts, refusals: Refusals, clock: Callable[[], float] = time.time) -> None:
        self.acts = acts
        self.refusals = refusals
        self._clock = clock
        self._waiting: dict[bool, dict[tuple[str, ...], Refused]] = {True: {}, False: {}}
        self._away = False

    def note(self, refused: Refused) -> None:
        """Take a refusal."""
        waiting = self._waiting[refused.known]
        if len(waiting) >= _MOST[refused.known] and refused.sort not in waiting:
            refused = replace(refused, actor="others", address="", request_id="", path="", tried="")
        same = waiting.get(refused.sort)
        waiting[refused.sort] = refused if same is None else replace(same, count=same.count + 1)

    async def write(self) -> None:
        """Write what was collected; kept for the next time where the database is away. Raises LogUnavailable."""
        rows = [row for waiting in self._waiting.values() for row in waiting.values()]
        if not rows:
            return
        taken, self._waiting = self._waiting, {True: {}, False: {}}
        try:
            await self.refusals.note(rows, int(self._clock()) // WINDOW)
        except LogUnavailable:
            for known, waiting in self._waiting.items():
                waiting.update({sort: row for sort, row in taken[known].items() if sort not in waiting})
            raise

    async def run(self) -> None:
        """Write once a second, for ever; what is left, at the end."""
        try:
            while True:
                await asyncio.sleep(EVERY)
                await self._try()
        finally:
            async with asyncio.timeout(_LAST):
                await self._try()

    async def _try(self) -> None:
        try:
            await self.write()
        except LogUnavailable as error:
            if not self._away:
                _log.warning("refusals_not_written", error=str(error))
            self._away = True
        else:
            self._away = False


def cleaned(text: str) -> str:
    """Cut a text that came from a caller, and write out what is not to be seen, or steers a terminal."""
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in cut)


def subject(words: Mapping[str, str], path: str, query: bytes) -> tuple[str, str]:
    """Name the namespace and the job that a path and its query are about, where they are about one."""
    named = cleaned(parse_qs(query.decode("latin-1")).get("namespace", [""])[0])  # a query that is none hides nobody
    if not path.startswith("/v1/jobs/") or "name" not in words:
        return named, ""
    return named or "default", cleaned(words["name"])
