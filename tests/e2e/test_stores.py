"""Whatever becomes of Postgres and Redis, what runs goes on running: at rest and in the middle of a rollout."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.scenario import under_fault

pytestmark = pytest.mark.timeout(240)


def test_flushall(there: Cluster) -> None:
    with under_fault(there, "flushall"):
        there.flushall()


def test_a_crash_of_redis(there: Cluster) -> None:
    with under_fault(there, "redis"):
        there.restart_redis()


def test_a_restart_of_postgres(there: Cluster) -> None:
    with under_fault(there, "stopped"):
        there.restart_postgres()


def test_a_crash_of_postgres(there: Cluster) -> None:
    with under_fault(there, "crashed"):
        there.restart_postgres(kill=True)
