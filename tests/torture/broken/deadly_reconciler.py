"""A reconciler that planning a job named `poison` kills, as by a bug in what it is built on, and `endless` never ends.

Its lease lasts for two seconds, and it may stand still for three, so that both are noticed sooner than in life.
"""

from __future__ import annotations

import functools
import os
import signal
import sys

from eventstore.lease import Keeper
from heroctl.domain.records import Job
from reconciler import __main__ as main
from reconciler import watchdog
from reconciler.planner import plan
from reconciler.planner.draft import Draft
from reconciler.planner.rollout import decide
from reconciler.planner.scene import Scene


def deadly(scene: Scene, job: Job) -> Draft:
    """Decide, or die, or do neither."""
    if job.name == "poison" and not job.stopped:
        os.kill(os.getpid(), signal.SIGKILL)
    while job.name == "endless" and not job.stopped:
        pass
    return decide(scene, job)


if __name__ == "__main__":
    plan.decide = deadly  # type: ignore[attr-defined] # broken on purpose
    Keeper.__init__ = functools.partialmethod(Keeper.__init__, ttl=2.0)  # type: ignore[assignment, method-assign] # as above
    watchdog.NAPS = 3  # type: ignore[misc] # as above
    sys.exit(main.main(sys.argv[1:]))
