"""A reconciler by whose clock a minute takes two seconds, counted from the start of its cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from reconciler import __main__ as main
from reconciler.loop import Coordinator

TIMES: Final = 30
_now = Coordinator._now


def now(self: Coordinator) -> int:
    """Give the time (ms), as if so many times as much had passed."""
    began = int((Path(os.environ["HEROCTL_E2E"]) / "password").stat().st_mtime * 1000)
    return began + (_now(self) - began) * TIMES


if __name__ == "__main__":
    Coordinator._now = now  # type: ignore[method-assign] # time is its own affair, but for this
    sys.exit(main.main(sys.argv[1:]))
