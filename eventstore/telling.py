"""A process tells what it counts of itself where every api finds it: who is asked for metrics shows all processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from eventstore.internals import INTERNALS
from eventstore.log import LogUnavailable
from eventstore.samples import Exposed, Samples

EVERY: Final = 10.0  # seconds
_log: Final = structlog.get_logger(__name__)


async def tell(samples: Samples, name: str, now: Callable[[], float | None]) -> None:
    """Tell it for ever, as the process of this name; `now` gives seconds since the epoch, as the database.

    None: that is not known yet, and there is nothing to tell.
    """
    while True:
        at = now()
        try:
            if at is not None:
                await samples.expose([Exposed("process", name, int(at), msgspec.json.encode(INTERNALS.families()))])
        except LogUnavailable as error:
            _log.debug("counts_not_told", error=str(error))
        await asyncio.sleep(EVERY)
