"""An api that answers a write before it is in the log."""

from __future__ import annotations

import asyncio
import sys

from api import __main__ as main
from eventstore.appender import Appender
from eventstore.codec import Sealed
from eventstore.log import Appended

_append = Appender.append
_running: set[asyncio.Task[Appended]] = set()


async def append(self: Appender, sealed: Sealed) -> Appended:
    """Say that it is done, and do it."""
    task = asyncio.ensure_future(_append(self, sealed))
    _running.add(task)
    task.add_done_callback(_running.discard)
    if any(event.TAG == "job.submitted" for event in sealed.append.events):
        return Appended(1, 1)
    return await task


if __name__ == "__main__":
    Appender.append = append  # type: ignore[method-assign] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
