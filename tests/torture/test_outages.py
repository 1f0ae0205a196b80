"""Parts that are away or frozen for long, in the middle of rollouts: what runs goes on, what was begun is finished."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.history import head, replay
from tests.e2e.runtimes import Processes, Runtime
from tests.e2e.scenario import REPLICAS, Scenario
from tests.e2e.specs import job
from tests.torture.conftest import Witness
from tests.waiting import until

pytestmark = pytest.mark.timeout(3000)
AWAY = 60.0  # seconds


def test_postgres_away_for_a_minute(runtime: Runtime, witness: Witness) -> None:
    with cluster(runtime) as there, witness("Postgres away for a minute", runtime.name) as run:
        scenario = started(there)
        with run.round():
            rolled = scenario.roll()
            there.postgres.kill()
            assert there.parts["agent-1"].lives_for(AWAY)
            assert set(scenario.steady) <= set(there.running())
            there.postgres.start()
            scenario.settle(rolled)
        scenario.finish()
        there.delete_all()


def test_redis_away_for_a_minute(runtime: Runtime, witness: Witness) -> None:
    """Rollouts go on without a doorbell."""
    with cluster(runtime) as there, witness("Redis away for two rollouts", runtime.name) as run:
        scenario = started(there)
        there.redis.kill()
        for _ in range(2):
            with run.round():
                scenario.settle(scenario.roll())
        rolled = scenario.roll()
        there.redis.start()
        scenario.settle(rolled)
        scenario.finish()
        there.delete_all()


def test_everything_killed_and_started_in_any_order(
    runtime: Runtime, rounds: Callable[[int], int], witness: Witness
) -> None:
    dice = random.Random(3)
    with cluster(runtime, Size(2, 2, 1)) as there, witness("kill -9 of everything", runtime.name) as run:
        scenario = started(there)
        for _ in range(rounds(3)):
            with run.round():
                rolled = scenario.roll()
                index = head(there.postgres.dsn())
                everything = shuffled(dice, [*there.parts, "postgres", "redis"])
                for name in everything:
                    kill(there, name)
                for name in shuffled(dice, everything):
                    start(there, name)
                until(there.client.ready, timeout=30, what="the apis")
                assert head(there.postgres.dsn()) >= index, "what was written is there"
                scenario.settle(rolled)
        scenario.finish()
        there.delete_all()


def test_a_frozen_coordinator_is_fenced(rounds: Callable[[int], int], witness: Witness) -> None:
    runtime = Processes()
    with cluster(runtime, Size(1, 2, 1)) as there, witness("a coordinator frozen for 30 s", runtime.name) as run:
        scenario = started(there)
        for _ in range(rounds(1)):
            with run.round():
                frozen = there.parts[there.coordinating_part()]
                rolled = scenario.roll()
                frozen.sigstop()
                scenario.settle(rolled)
                assert frozen.lives_for(15)
                frozen.sigcont()
                scenario.settle(scenario.roll())
        scenario.finish()
        epochs = replay(there.postgres.dsn(), lambda state: state.epoch)
        assert epochs == sorted(epochs)
        there.delete_all()


def test_a_frozen_node_is_replaced_and_stops_its_own_on_return(runtime: Runtime, witness: Witness) -> None:
    with cluster(runtime, Size(1, 1, 3)) as there, witness("a node frozen until it is given up", runtime.name) as run:
        there.submit(job(runtime, "spread", count=REPLICAS))
        there.wait_deployed("spread", 1)
        before = there.wait_running("spread", REPLICAS)
        nodes = {alloc["id"]: alloc["node"] for alloc in there.allocations("spread")}
        victim = nodes[before[0].alloc]
        kept = [found for found in before if nodes[found.alloc] != victim]
        with run.round():
            agent = there.parts[victim.replace("node", "agent")]
            agent.sigstop()
            there.client.wait_until("/v1/allocations", replaced(before[0].alloc), job="spread", timeout=60)
            agent.sigcont()
            there.wait_healthy("spread", REPLICAS)
            after = there.wait_running("spread", REPLICAS, timeout=40)
            assert set(kept) <= set(after)
            assert before[0] not in after
        there.wait_quiet(within=30)
        there.delete_all()


def started(there: Cluster) -> Scenario:
    """Bring the usual two jobs to rest."""
    scenario = Scenario(there, "outage")
    scenario.begin()
    return scenario


def replaced(alloc: str) -> Callable[[list[dict[str, object]]], bool]:
    """Tell whether an allocation is lost and as many as before are healthy elsewhere."""

    def holds(allocs: list[dict[str, object]]) -> bool:
        lost = any(each["id"] == alloc and each["status"] == "lost" for each in allocs)
        return lost and sum(each["status"] == "running" and each["health"] == "healthy" for each in allocs) >= REPLICAS

    return holds


def shuffled(dice: random.Random, names: list[str]) -> list[str]:
    """Return them in another order."""
    return dice.sample(names, len(names))


def kill(there: Cluster, name: str) -> None:
    """Kill it."""
    if name in there.parts:
        there.parts[name].kill9()
    else:
        (there.postgres if name == "postgres" else there.redis).kill()


def start(there: Cluster, name: str) -> None:
    """Start it."""
    if name in there.parts:
        there.parts[name].start()
    else:
        (there.postgres if name == "postgres" else there.redis).start()
