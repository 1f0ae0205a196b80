"""A job that the clock launches each minute, and what must be true of its launches."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from tests.e2e.cluster import Cluster
from tests.e2e.specs import SMALL

NAME: Final = "minutely"
MINUTE: Final = 60  # seconds
_CLOCK: Final = {"cron": "* * * * *", "time_zone": "UTC"}


def submit(there: Cluster) -> None:
    """Submit it."""
    task = {"name": "work", "resources": SMALL, "restart": {"attempts": 0}, **there.runtime.task("exit 0")}
    there.submit({"job": NAME, "type": "batch", "periodic": _CLOCK, "tasks": [task]})


def wait_complete(there: Cluster, count: int, *, timeout: float) -> list[dict[str, Any]]:
    """Wait until so many launches are complete; return all there are, the oldest first."""

    def enough(launches: list[dict[str, Any]] | None) -> bool:
        return len([launch for launch in launches or () if launch["status"] == "complete"]) >= count

    path = f"/v1/jobs/{NAME}/launches"
    found = there.client.wait_until(path, enough, timeout=timeout, what=f"{count} complete launches")
    return sorted(found, key=lambda launch: int(launch["number"]))


def once_each(there: Cluster, launches: list[dict[str, Any]]) -> list[float]:
    """Hold that the clock launched it at whole minutes, at none twice, and that each launch ran once. Give the gaps."""
    times = [datetime.fromisoformat(launch["scheduled_at"]).timestamp() for launch in launches]
    assert {launch["kind"] for launch in launches} == {"schedule"}
    assert [time % MINUTE for time in times] == [0] * len(times), f"not whole minutes: {times}"
    gaps = [after - before for before, after in pairwise(times)]
    assert all(gap > 0 for gap in gaps), f"a scheduled time came twice: {times}"
    complete = [launch for launch in launches if launch["status"] == "complete"]
    ran = sum(alloc["status"] == "complete" for alloc in there.allocations(NAME))
    assert ran == sum(launch["allocations"]["complete"] for launch in complete) == len(complete)
    return gaps
