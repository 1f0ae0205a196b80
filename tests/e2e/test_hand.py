"""A job whose plan kills the reconciler, or never ends: real processes, started again by whoever looks after them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("name", ["poison", "endless"])
def test_it_is_quarantined_and_the_others_go_on(name: str) -> None:
    with cluster(Processes(), Size(1, 2, 1), {"reconciler": "tests.torture.broken.deadly_reconciler"}) as there:
        there.submit(job(there.runtime, "before"))
        there.wait_deployed("before", 1)
        there.submit(job(there.runtime, name))
        there.submit(job(there.runtime, "after"))
        deaths: list[str] = []
        # One that noted nothing, and three that noted the job.
        until(lambda: _quarantined(there, name, deaths) and len(deaths) >= 4, timeout=90, what="the end of dying")
        there.wait_healthy("after", 1)
        there.submit(job(there.runtime, "later"))
        there.wait_deployed("later", 1)
        there.wait_healthy("before", 1)
        there.client.post(f"/v1/jobs/{name}/stop", {})
        there.client.wait_until(f"/v1/jobs/{name}", lambda body: body["status"] == "stopped")
        assert len(deaths) == 4
        assert all(part.runs for part in there.parts.values()), "nobody else has died of it"
        there.delete_all()


def _quarantined(there: Cluster, job: str, deaths: list[str]) -> bool:
    """Start again who died, and look at the job."""
    for name, part in there.parts.items():
        if not part.runs:
            deaths.append(name)
            part.start()
    body: dict[str, Any] = there.client.get(f"/v1/jobs/{job}").body
    return body["status"] == "blocked" and any("quarantined" in reason for reason in body["blocked"])
