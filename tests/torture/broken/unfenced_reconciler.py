"""A reconciler that decides without holding the lease, under whatever epoch the log has."""

from __future__ import annotations

import sys

from reconciler import __main__ as main
from reconciler.loop import Coordinator


def mandate(self: Coordinator) -> int | None:
    """Take the mandate of whoever was elected."""
    epoch = self._view.state.epoch
    if not epoch:
        return None
    if self._epoch != epoch:
        self._take_over(epoch)
    return epoch


if __name__ == "__main__":
    Coordinator._mandate = mandate  # type: ignore[method-assign] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
