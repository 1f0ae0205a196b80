"""The roll-up of samples: what is ten seconds apart becomes minutes, then five minutes, and what is old goes.

Only the coordinator does it; twice would do no harm. All the work is the database's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from eventstore.log import LogUnavailable
from eventstore.samples import Samples

EVERY: Final = 60.0  # seconds, jittered

_log: Final = structlog.get_logger(__name__)


class Rollup:
    """Rolls while `run` runs and this process `coordinates`. `now` gives seconds since the epoch, as the database."""

    def __init__(self, samples: Samples, coordinates: Callable[[], bool], now: Callable[[], float]) -> None:
        self._samples = samples
        self._coordinates = coordinates
        self._now = now
        self._away = False

    async def run(self) -> None:
        """Roll every minute, for ever."""
        while True:
            await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            if self._coordinates():
                await self.roll()

    async def roll(self) -> None:
        """Roll once. What is interrupted is gone on with the next time."""
        try:
            done = await self._samples.roll(int(self._now()))
        except LogUnavailable as error:
            if not self._away:
                _log.warning("samples_not_rolled", error=str(error))
            self._away = True
            return
        self._away = False
        if done:
            _log.debug("samples_rolled", blocks=done)
