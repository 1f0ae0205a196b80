"""A reconciler that takes whom it has not heard yet for dead: it does not begin anew when it takes over."""

from __future__ import annotations

import sys

from heroctl.domain.state import State
from reconciler import __main__ as main
from reconciler.hearing import Hearing
from reconciler.planner.liveness import Heard

_heard = Hearing.heard
_SILENT_MS = 60_000


def heard(self: Hearing, state: State) -> dict[str, Heard]:
    """Say of everybody that is not known to beat that it has been silent for long."""
    known = _heard(self, state)
    return {
        node: one if one.beating else Heard(one.session, one.silent + _SILENT_MS, beating=False)
        for node, one in known.items()
    }


if __name__ == "__main__":
    Hearing.heard = heard  # type: ignore[method-assign] # broken on purpose
    sys.exit(main.main(sys.argv[1:]))
