"""Container engines that end, crash and hang in the middle of rollouts, again and again."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import cluster
from tests.e2e.engine import Dockerd, dockerd
from tests.e2e.runtimes import Containers
from tests.e2e.scenario import Scenario
from tests.needs import needs
from tests.torture.conftest import Witness

pytestmark = [needs("docker"), needs("netns"), pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Dockerd]:
    with dockerd(Path(tempfile.mkdtemp(prefix="heroctl-engine-"))) as running:
        yield running


def test_restarts_and_crashes_with_live_restore(
    engine: Dockerd, rounds: Callable[[int], int], witness: Witness
) -> None:
    runtime = Containers(engine.url)
    with cluster(runtime) as there, witness("dockerd ends or crashes, live-restore", "docker") as run:
        scenario = Scenario(there, "engine")
        scenario.begin()
        for number in range(rounds(6)):
            with run.round():
                rolled = scenario.roll()
                engine.kill9() if number % 2 else engine.stop()
                engine.start()
                scenario.settle(rolled)
        scenario.finish()
        there.delete_all()


def test_an_engine_that_is_away(engine: Dockerd, rounds: Callable[[int], int], witness: Witness) -> None:
    runtime = Containers(engine.url)
    with cluster(runtime) as there, witness("dockerd away for 40 s, live-restore", "docker") as run:
        scenario = Scenario(there, "away")
        scenario.begin()
        for _ in range(rounds(1)):
            with run.round():
                rolled = scenario.roll()
                engine.stop()
                assert there.parts["agent-1"].lives_for(40)
                engine.start()
                scenario.settle(rolled)
        scenario.finish()
        there.delete_all()


def test_an_engine_that_hangs(engine: Dockerd, rounds: Callable[[int], int], witness: Witness) -> None:
    """The node stays up, and goes on where it was."""
    runtime = Containers(engine.url)
    with cluster(runtime) as there, witness("dockerd hangs for 30 s", "docker") as run:
        scenario = Scenario(there, "hung")
        scenario.begin()
        for _ in range(rounds(1)):
            with run.round():
                rolled = scenario.roll()
                os.kill(engine.pid, signal.SIGSTOP)
                try:
                    assert there.parts["agent-1"].lives_for(30)
                    [node] = there.client.get("/v1/nodes").body
                    assert node["status"] == "ready"
                finally:
                    os.kill(engine.pid, signal.SIGCONT)
                scenario.settle(rolled, timeout=150)
        scenario.finish()
        there.delete_all()
