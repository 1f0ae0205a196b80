"""The clock launches jobs on real processes; `make torture` has minutes that take a minute."""

from __future__ import annotations

import pytest

from tests.e2e import cron
from tests.e2e.cluster import cluster
from tests.e2e.runtimes import Processes

pytestmark = pytest.mark.timeout(120)


def test_a_whole_minute_is_one_launch_that_runs_once() -> None:
    with cluster(Processes(), modules={"reconciler": "tests.e2e.quick_reconciler"}) as there:
        cron.submit(there)
        cron.wait_complete(there, 2, timeout=60)
        there.client.post(f"/v1/jobs/{cron.NAME}/stop", {})
        there.wait_quiet(still=2.5)
        cron.once_each(there, cron.wait_complete(there, 2, timeout=10))
        there.delete_all()
