"""The job in hand: so that a plan which kills its process, or never ends, is found by whoever takes over.

Who takes the lease over from a dead one notes on it, for the first minute, each job before planning it. Should it die
as well, the one after it knows of which job. A lease that was handed over, or taken by the first of all, is no reason
for this, so that the usual life of a cluster pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from eventstore.lease import Keeper
from reconciler.planner.piece import Plan

MINUTE: Final = 60.0  # seconds after a take-over
DIED: Final = "the reconciler that planned it was killed, ran out of memory or never came to an end"


class Hand:
    """What is noted on the lease. `clock` gives monotonic seconds."""

    def __init__(self, keeper: Keeper, clock: Callable[[], float]) -> None:
        self.blamed = 0  # uid of the job that the one before died of; 0: none that is known
        self._keeper = keeper
        self._clock = clock
        self._until: float | None = None

    def take_over(self) -> None:
        """Learn from the lease what became of the one before."""
        inherited = self._keeper.inherited
        self.blamed = inherited or 0
        self._until = None if inherited is None else self._clock() + MINUTE

    @property
    def wary(self) -> bool:
        """Whether jobs are noted: the one before died, and that is not a minute ago."""
        return self._until is not None and self._clock() < self._until

    async def carry(self, passing: Generator[int, None, Plan]) -> Plan | None:
        """Run a pass and note each job before it is planned; None: the lease is lost. Raises LogUnavailable."""
        uid = next_of(passing)
        while not isinstance(uid, Plan):
            if not await self._keeper.hold(uid):
                return None
            uid = next_of(passing)
            if isinstance(uid, Plan) and not await self._keeper.hold(0):
                return None
        return uid


def next_of(passing: Generator[int, None, Plan]) -> int | Plan:
    """Go on to the next job of a pass, or to its end."""
    try:
        return next(passing)
    except StopIteration as end:
        plan: Plan = end.value
        return plan
