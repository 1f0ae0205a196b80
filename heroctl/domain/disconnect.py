"""Replicas on a node that falls silent: when they are given up, and when their agent has stopped them before that.

The coordinator finds a node down after 13 s of silence and gives up what is on it 5 s and `lost_after` later. Where no
two of a slot may ever run at once (`mode: stop`) the agent counts for itself, from the moment at which it sent the last
beat that was answered, by a clock that may be 5 % slow; and it begins early enough to have ended by then.
"""

from __future__ import annotations

from typing import Final

from heroctl.domain.duration import Duration
from heroctl.domain.errors import Problem
from heroctl.domain.spec import Task

DOWN_AND_GIVEN_UP: Final = 18.0  # seconds of silence until what is on a node may be given up, without `lost_after`
LEAST_LOST_AFTER: Final = Duration(60_000)  # less leaves no time to stop in
_RATE: Final = 0.95
_MARGIN: Final = 2.0  # seconds
_LEAST: Final = 8.0  # seconds that a network may be away without a stop


def stops_after(task: Task) -> float | None:
    """Say how many seconds after its last answered beat an agent begins to stop a replica; None: it never does."""
    policy = task.on_disconnect
    if policy.mode != "stop":
        return None
    need = task.shutdown_delay.seconds + task.kill_timeout.seconds + _MARGIN
    return _RATE * (DOWN_AND_GIVEN_UP + policy.lost_after.seconds) - need


def disconnect(task: Task, path: str) -> list[Problem]:
    """Say what is wrong with what a task wants when its node falls silent."""
    policy, moment = task.on_disconnect, stops_after(task)
    if moment is None:
        return []
    where = f"{path}.on_disconnect.lost_after"
    if policy.lost_after.ms < LEAST_LOST_AFTER.ms:
        return [Problem(where, "out_of_range", f"mode stop needs {LEAST_LOST_AFTER} or more")]
    if moment < _LEAST:
        message = (
            f"its node would stop it {max(moment, 0):.0f} s after it was heard last, and {_LEAST:.0f} s are the least: "
            "make it longer, or shutdown_delay and kill_timeout shorter"
        )
        return [Problem(where, "out_of_range", message)]
    return []
