"""Nodes that are cut off, lost or nearly all silent, with real containers on each: what goes on, moves and comes back.

Each agent is in a network of its own; the containers of all are on this machine's engine, which nobody cuts off.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.conftest import Shared
from tests.e2e.network import Network, network
from tests.e2e.nodes import APART, all_but_one, cut_off, eligible, homes, lose, wait_given_up, wait_status
from tests.e2e.runtimes import Containers
from tests.e2e.scenario import under_fault
from tests.e2e.specs import job
from tests.needs import needs

pytestmark = [
    *(needs("docker"), needs("netns"), pytest.mark.timeout(300)),
    pytest.mark.parametrize("runtime", ["docker"], indirect=True),
]
NODES: Final = 4
LOST: Final = 20  # replicas on the node that is lost


@pytest.fixture(scope="module")
def shared(runtime: Containers) -> Iterator[Shared]:
    with network() as wires:
        holder = Shared(lambda: cluster(runtime, Size(agents=NODES), network=wires))
        yield holder
        holder.discard()


@pytest.fixture
def wires(there: Cluster) -> Network:
    assert there.network is not None
    return there.network


def test_a_partition_of_five_seconds_is_not_noticed(there: Cluster, wires: Network) -> None:
    with under_fault(there, "short"), wires.cut("agent-1", "agent-2"):
        assert there.parts["agent-1"].lives_for(5)


def test_agents_that_die_again_and_again_and_streams_that_vanish_are_not_noticed(there: Cluster) -> None:
    dice = random.Random(4)
    with under_fault(there, "loop"):
        for number in range(8):
            name = f"agent-{dice.randint(1, NODES)}"
            there.restart(name)
            if number % 3 == 0:
                there.flushall()
            assert there.parts[name].lives_for(dice.uniform(0.05, 0.6))


def test_on_a_node_cut_off_for_twenty_seconds_each_replica_fares_as_its_task_says(
    there: Cluster, wires: Network
) -> None:
    cut_off(there, wires, 20)


def test_all_of_a_lost_nodes_replicas_run_elsewhere_and_no_others_are_touched(there: Cluster) -> None:
    others = [f"node-{number}" for number in range(2, NODES + 1)]
    eligible(there, others, yes=False)
    there.submit(job(there.runtime, "lost", count=LOST, update={"max_parallel": LOST, "min_healthy_time": "1s"}))
    there.wait_deployed("lost", 1, timeout=90)
    eligible(there, others, yes=True)
    there.submit(job(there.runtime, "beside", count=3, **APART))
    there.wait_deployed("beside", 1)
    beside, where = there.wait_running("beside", 3), homes(there, "beside")
    lost = there.wait_running("lost", LOST)
    assert set(homes(there, "lost").values()) == {"node-1"}
    lose(there, 1, [*lost, *(found for found in beside if where[found.alloc] == "node-1")])
    wait_given_up(there, "lost", {found.alloc for found in lost})
    there.wait_healthy("lost", LOST, timeout=60)
    after = there.wait_running("lost", LOST)
    assert "node-1" not in {alloc["node"] for alloc in there.wait_healthy("lost", LOST)}
    kept = {found for found in beside if where[found.alloc] != "node-1"}
    assert kept <= set(there.wait_running("beside", 3))
    there.parts["agent-1"].start()
    wait_status(there, ["node-1"], "ready")
    there.wait_quiet()
    assert set(there.running("lost")) == set(after), "its return moves nothing"


def test_when_all_nodes_but_one_vanish_nothing_is_given_up(there: Cluster, wires: Network) -> None:
    all_but_one(there, wires)
