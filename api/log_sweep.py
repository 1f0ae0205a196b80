"""Keeps all logs together within their bytes: what is oldest goes first, of whichever allocation it is.

Every api does it in turn: whoever is first takes a turn's lock in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from api.logs import AWAY, LogStore, Size

EVERY: Final = 5.0  # seconds
PASSES: Final = 6  # each guesses by how streams grew, and the next one sees what came of it
SHARE: Final = 0.5  # of the memory that Redis may use at most: the rest is for commands
_log: Final = structlog.get_logger(__name__)


async def keep_small(store: LogStore, most: int) -> None:
    """Do it, for ever. `most`: bytes of all logs together."""
    while True:
        await asyncio.sleep(EVERY)
        try:
            if await store.alone("log-sweep", EVERY * 0.9):
                await sweep(store, most)
        except AWAY as error:
            _log.debug("logs_not_swept", error=str(error))


async def sweep(store: LogStore, most: int) -> int:
    """Let the oldest go where there is too much, in some passes; return the bytes that are there."""
    total = 0
    for _ in range(PASSES):
        limit, sizes = await store.sizes()
        bound = min(most, int(limit * SHARE)) if limit else most
        total = sum(each.bytes for each in sizes)
        before = cut_off(sizes, bound)
        if before is None:
            break
        _log.info("logs_swept", bytes=total, bound=bound)
        await store.cut([each.key for each in sizes if each.first < before], before)
    return total


def cut_off(sizes: Iterable[Size], most: int) -> int | None:
    """Find the time of which what is older is to go, for a tenth less than `most` to stay; None: there is room.

    A stream's bytes are taken to be spread evenly over its time.
    """
    known = list(sizes)
    if sum(each.bytes for each in known) <= most:
        return None
    wanted = most * 9 // 10
    low, high = min(each.first for each in known), max(each.last for each in known) + 1
    while low < high:
        middle = (low + high) // 2
        if sum(_after(each, middle) for each in known) > wanted:
            low = middle + 1
        else:
            high = middle
    return low


def _after(size: Size, ms: int) -> float:
    """Say how much of a stream is not older than a time."""
    if ms <= size.first:
        return size.bytes
    if ms > size.last:
        return 0
    return size.bytes * (size.last - ms + 1) / (size.last - size.first + 1)
