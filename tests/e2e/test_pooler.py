"""A cluster whose control plane reaches Postgres through a pooler in transaction mode, but for listening."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import psycopg
import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.scenario import Scenario
from tests.needs import needs
from tests.pooler import Pooler, pooler
from tests.waiting import until

pytestmark = [needs("pgbouncer"), pytest.mark.timeout(240)]
_LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'heroctl' AND query LIKE 'LISTEN%'"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pooler]:
    with pooler() as made:
        yield made


@pytest.fixture(scope="module")
def there(pool: Pooler) -> Iterator[Cluster]:
    with cluster(Processes(), Size(1, 1, 1), pooler=pool) as made:
        yield made


def test_rollouts_through_a_pooler_that_dies_in_the_middle_of_one(there: Cluster, pool: Pooler) -> None:
    scenario = Scenario(there, "pooled")
    scenario.begin()
    scenario.settle(scenario.roll())
    with psycopg.connect(there.postgres.dsn()) as connection:
        assert connection.execute(_LISTENING).fetchone() == (2,), "one for each process"
    rolled = scenario.roll()
    pool.kill()
    assert set(scenario.steady) <= set(there.running())
    until(lambda: not _accepts(there), timeout=20, what="a refused write")
    pool.start()
    until(lambda: _accepts(there), timeout=20, what="an accepted write")
    scenario.settle(rolled)
    scenario.finish()
    there.delete_all()


def _accepts(there: Cluster) -> bool:
    """Tell whether a small write is accepted."""
    headers = {"Authorization": f"Bearer {there.client.token}"}
    reply = httpx2.post(f"{there.url()}/v1/cluster/join-tokens", headers=headers, timeout=20)
    assert reply.status_code in (201, 503), reply.text
    return reply.status_code == 201
