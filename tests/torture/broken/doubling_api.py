"""An api that draws a new batch id for every attempt, and does not care who was faster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from uuid import UUID, uuid4

from msgspec.structs import replace

from api import __main__ as main
from eventstore.appender import Answer
from eventstore.codec import Sealed
from eventstore.postgres import _Line

_send = _Line.send


async def send(self: _Line, batch: UUID, appends: Sequence[Sealed]) -> list[Answer]:
    """Send as if for the first time."""
    del batch
    careless = [replace(each, append=replace(each.append, expects=())) for each in appends]
    return await _send(self, uuid4(), careless)


if __name__ == "__main__":
    _Line.send = send  # type: ignore[method-assign] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
