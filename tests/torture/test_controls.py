"""Controls: the same scenarios with a part that is broken on purpose. What does not notice proves nothing."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.engine import Dockerd, dockerd
from tests.e2e.runtimes import Containers, Processes, Runtime
from tests.e2e.scenario import Scenario
from tests.needs import needs
from tests.torture.conftest import Run, Witness

pytestmark = pytest.mark.timeout(900)
PROCESSES = Processes()
AWAY = 40.0  # seconds; an agent looks at everything every 30
BROKEN = "tests.torture.broken"
Fault = Callable[[Cluster], None]


@pytest.fixture
def engine() -> Iterator[Dockerd]:
    with dockerd(Path(tempfile.mkdtemp(prefix="heroctl-engine-"))) as running:
        yield running


def test_an_agent_that_forgets_doubles(runtime: Runtime, witness: Witness) -> None:
    with witness("control: kill -9 of an agent without journal and labels", runtime.name) as run:
        is_caught(run, runtime, {"agents": "forgetful_agent"}, lambda there: there.restart("agent-1"))


def test_an_agent_that_hears_only_the_doorbell_stalls(witness: Witness) -> None:
    with witness("control: FLUSHALL with an agent that never pulls", PROCESSES.name) as run:
        is_caught(run, PROCESSES, {"agents": "deaf_agent"}, Cluster.flushall)


def test_a_reconciler_that_takes_silence_for_death_replaces(witness: Witness) -> None:
    def take_over(there: Cluster) -> None:
        there.parts[there.coordinating_part()].kill9()

    with witness("control: take-over by one who takes silence for death", PROCESSES.name) as run:
        is_caught(run, PROCESSES, {"reconciler": "hasty_reconciler"}, take_over)


def test_two_reconcilers_without_a_fence_collide(witness: Witness) -> None:
    with witness("control: two that decide at once", PROCESSES.name) as run:
        is_caught(run, PROCESSES, {"reconciler": "unfenced_reconciler"}, lambda _: None)


@needs("docker")
@needs("netns")
def test_an_agent_that_takes_silence_for_absence_restarts(engine: Dockerd, witness: Witness) -> None:
    def away(there: Cluster) -> None:
        engine.stop()
        assert there.parts["agent-1"].lives_for(AWAY)
        engine.start()

    with witness("control: dockerd away, with an agent that takes silence for absence", "docker") as run:
        is_caught(run, Containers(engine.url), {"agents": "trusting_agent"}, away)


def test_a_database_that_forgets_is_noticed(witness: Witness) -> None:
    """Postgres comes back as it was before the rollout."""

    def copy(there: Cluster) -> None:
        there.postgres.stop()
        duplicate(there.postgres.folder / "data", there.postgres.folder / "copy")
        there.postgres.start()

    def bring_back(there: Cluster) -> None:
        there.postgres.kill()
        shutil.rmtree(there.postgres.folder / "data")
        duplicate(there.postgres.folder / "copy", there.postgres.folder / "data")
        there.postgres.start()

    with witness("control: Postgres comes back from an old copy", PROCESSES.name) as run:
        is_caught(run, PROCESSES, {}, bring_back, prepare=copy)


def is_caught(
    run: Run, runtime: Runtime, modules: dict[str, str], fault: Fault, *, prepare: Fault = lambda _: None
) -> None:
    """Run a fault in the middle of a rollout on a cluster with broken parts: the scenario must not hold."""
    paths = {part: f"{BROKEN}.{module}" for part, module in modules.items()}
    with cluster(runtime, Size(1, 2, 1), paths, tidy=False) as there:
        scenario = Scenario(there, "control")
        scenario.begin()
        prepare(there)
        with run.round(), pytest.raises(AssertionError) as noticed:
            endure(scenario, fault)
    run.outcome = f"caught: {str(noticed.value).splitlines()[0][:100]}"


def endure(scenario: Scenario, fault: Fault) -> None:
    """Hold that a fault in the middle of a rollout is not noticed."""
    rolled = scenario.roll()
    fault(scenario.there)
    scenario.settle(rolled, timeout=30)
    scenario.finish()


def duplicate(source: Path, target: Path) -> None:
    """Copy a folder with its owners."""
    subprocess.run(["cp", "--archive", str(source), str(target)], check=True)
