"""A job whose plan kills the reconciler, again and again: real processes, started again by whoever looks after them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


def test_it_is_quarantined_and_the_others_go_on() -> None:
    with cluster(Processes(), Size(1, 2, 1), {"reconciler": "tests.torture.broken.deadly_reconciler"}) as there:
        there.submit(job(there.runtime, "before"))
        there.wait_deployed("before", 1)
        there.submit(job(there.runtime, "poison"))
        there.submit(job(there.runtime, "after"))
        deaths: list[str] = []
        until(lambda: _quarantined(there, deaths), timeout=90, what="the end of dying")
        assert len(deaths) == 4, "one that noted nothing, and three that noted the job"
        there.wait_healthy("after", 1)
        there.submit(job(there.runtime, "later"))
        there.wait_deployed("later", 1)
        there.wait_healthy("before", 1)
        there.client.post("/v1/jobs/poison/stop", {})
        there.client.wait_until("/v1/jobs/poison", lambda body: body["status"] == "stopped")
        assert all(part.runs for part in there.parts.values()), "nobody else has died of it"
        there.delete_all()


def _quarantined(there: Cluster, deaths: list[str]) -> bool:
    """Start again who died, and look at the job."""
    for name, part in there.parts.items():
        if not part.runs:
            deaths.append(name)
            part.start()
    body: dict[str, Any] = there.client.get("/v1/jobs/poison").body
    return body["status"] == "blocked" and any("quarantined" in reason for reason in body["blocked"])
