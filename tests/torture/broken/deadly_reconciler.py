"""A reconciler that is killed by planning a job named `poison`, as by a bug in what it is built on.

Its lease lasts for two seconds, so that its death is noticed sooner than in life.
"""

from __future__ import annotations

import functools
import os
import signal
import sys

from eventstore.lease import Keeper
from heroctl.domain.state import Job
from reconciler import __main__ as main
from reconciler.planner import plan
from reconciler.planner.draft import Draft
from reconciler.planner.rollout import decide
from reconciler.planner.scene import Scene


def deadly(scene: Scene, job: Job) -> Draft:
    """Decide, or die."""
    if job.name == "poison" and not job.stopped:
        os.kill(os.getpid(), signal.SIGKILL)
    return decide(scene, job)


if __name__ == "__main__":
    plan.decide = deadly  # type: ignore[attr-defined] # broken on purpose
    Keeper.__init__ = functools.partialmethod(Keeper.__init__, ttl=2.0)  # type: ignore[assignment, method-assign] # as above
    sys.exit(main.main(sys.argv[1:]))
