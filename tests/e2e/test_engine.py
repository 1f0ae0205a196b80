"""The container engine itself goes away and comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, cluster
from tests.e2e.engine import Dockerd, dockerd
from tests.e2e.history import replay
from tests.e2e.runtimes import Containers
from tests.e2e.scenario import REPLICAS, Scenario, counted, under_fault
from tests.needs import needs

pytestmark = [needs("docker"), needs("netns"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Dockerd]:
    with dockerd(Path(tempfile.mkdtemp(prefix="heroctl-engine-"))) as running:
        yield running


@pytest.fixture
def there(engine: Dockerd) -> Iterator[Cluster]:
    with cluster(Containers(engine.url)) as made:
        yield made
        made.delete_all()


def test_a_restart_with_live_restore_is_not_noticed(there: Cluster, engine: Dockerd) -> None:
    engine.restore(live=True)
    with under_fault(there, "restored"):
        engine.stop()
        engine.start()


def test_a_crash_with_live_restore_is_not_noticed(there: Cluster, engine: Dockerd) -> None:
    engine.restore(live=True)
    with under_fault(there, "killed"):
        engine.kill9()
        engine.start()


def test_a_restart_without_live_restore_begins_the_next_attempts_once(there: Cluster, engine: Dockerd) -> None:
    engine.restore(live=False)
    scenario = Scenario(there, "plain")
    scenario.begin()
    scenario.roll()
    engine.stop()
    engine.start()
    there.wait_deployed(scenario.rolling, 2, timeout=120)
    for name in (scenario.resting, scenario.rolling):
        there.wait_healthy(name, REPLICAS, timeout=60)
        assert len({found.alloc for found in there.wait_running(name, REPLICAS)}) == REPLICAS
    steady = there.running(scenario.resting)
    assert {found.alloc for found in steady} == {found.alloc for found in scenario.steady}
    # While it ends, the engine still starts containers, and ends those too.
    assert {found.attempt for found in steady} <= {2, 3}
    there.wait_quiet(within=30)
    seen = replay(there.postgres.dsn(), lambda state: counted(state, scenario.rolling)[1], after=scenario.began)
    assert max(seen) <= REPLICAS + 1
