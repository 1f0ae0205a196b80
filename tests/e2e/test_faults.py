"""Whatever process of ours breaks, what runs goes on running: at rest and in the middle of a rollout."""

from __future__ import annotations

import time

import pytest

from tests.e2e.cluster import Cluster, Size
from tests.e2e.scenario import under_fault
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def size() -> Size:
    return Size(apis=2, reconcilers=2)


def test_kill_9_of_the_agent(there: Cluster) -> None:
    with under_fault(there, "agent"):
        there.restart("agent-1")


def test_an_orderly_restart_of_every_part(there: Cluster) -> None:
    """As an upgrade does it; everything ends with exit code 0, and the agent leaves its workloads alone."""
    with under_fault(there, "orderly"):
        for part in there.parts.values():
            assert part.stop() == 0, part.name
            part.start()


def test_kill_9_of_an_api(there: Cluster) -> None:
    with under_fault(there, "api"):
        there.restart("api-1")
    until(there.client.ready, what="both apis")


def test_kill_9_of_the_coordinator(there: Cluster) -> None:
    killed = there.coordinating_part()
    with under_fault(there, "coordinator"):
        there.parts[killed].kill9()
        began = time.monotonic()
        there.submit(job(there.runtime, "after"))
        placed = there.client.wait_until(
            "/v1/allocations", len, job="after", timeout=20, what="a decision of the other"
        )
        assert placed
        assert time.monotonic() - began <= 20
        there.parts[killed].start()
    assert there.coordinating_part() != killed
