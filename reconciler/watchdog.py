"""Ends the process when its event loop stands still, as in a plan that never comes to an end.

By then the lease is lost and others decide; but it would never end by itself, and each of the others would come to the
same plan. Whoever looks after the process starts it again, and where it stood is in its output.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import threading
from collections.abc import Iterator
from typing import Final

NAP: Final = 1.0  # seconds
NAPS: Final = 20  # without a sign of life; more than a lease lasts
STUCK: Final = 70  # exit code


@contextlib.contextmanager
def watched(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Watch a loop from a thread. Naps are counted and not time, so that a process that was paused lives on."""
    alive, over = threading.Event(), threading.Event()
    alive.set()
    thread = threading.Thread(target=_watch, args=(loop, alive, over), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(loop: asyncio.AbstractEventLoop, alive: threading.Event, over: threading.Event) -> None:
    silent = 0
    while not over.wait(NAP):
        silent += 1
        if alive.is_set():
            silent = 0
            alive.clear()
            loop.call_soon_threadsafe(alive.set)
        if silent >= NAPS:
            faulthandler.dump_traceback()
            os._exit(STUCK)
