"""An api that keeps what it was sent."""

from __future__ import annotations

import asyncio
import sys

from api import __main__ as main
from api.pulse import Pulse
from heroctl.domain.assignment import SyncRequest

_beat = Pulse.beat
_hoard: list[tuple[SyncRequest, bytes]] = []


def beat(self: Pulse, node: str, request: SyncRequest) -> asyncio.Future[None]:
    """Take it, and keep it, and as much again as a careless cache would."""
    _hoard.append((request, bytes(4096)))
    return _beat(self, node, request)


if __name__ == "__main__":
    Pulse.beat = beat  # type: ignore[method-assign] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
