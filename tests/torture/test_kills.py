"""kill -9, again and again: of any part at random during rollouts, of the agent in a tight loop, of everything."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Runtime
from tests.e2e.scenario import Scenario
from tests.torture.conftest import Witness

pytestmark = pytest.mark.timeout(3000)


def test_any_part_at_random_during_rollouts(runtime: Runtime, rounds: Callable[[int], int], witness: Witness) -> None:
    dice = random.Random(1)
    with (
        cluster(runtime, Size(apis=2, reconcilers=2)) as there,
        witness("kill -9 of a random part", runtime.name) as run,
    ):
        scenario = Scenario(there, "random")
        scenario.begin()
        for _ in range(rounds(15)):
            with run.round():
                rolled = scenario.roll()
                victim = dice.choice([*there.parts, "postgres", "redis"])
                print(victim, end=" ", flush=True)
                kill(there, victim)
                scenario.settle(rolled)
        scenario.finish()
        there.delete_all()


def test_the_agent_in_a_tight_loop(runtime: Runtime, rounds: Callable[[int], int], witness: Witness) -> None:
    with cluster(runtime) as there, witness("kill -9 of the agent, at once again", runtime.name) as run:
        scenario = Scenario(there, "loop")
        scenario.begin()
        rolled = scenario.roll()
        dice = random.Random(2)
        agent = there.parts["agent-1"]
        for _ in range(rounds(30)):
            with run.round():
                agent.kill9()
                agent.start()
                assert agent.lives_for(dice.uniform(0.05, 1.5)), "it ended by itself"
        scenario.settle(rolled)
        scenario.finish()
        there.delete_all()


def kill(there: Cluster, victim: str) -> None:
    """Kill it and start it again."""
    if victim == "postgres":
        there.restart_postgres(kill=True)
    elif victim == "redis":
        there.restart_redis()
    else:
        there.restart(victim)
