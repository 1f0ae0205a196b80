"""Nodes that are cut off, lost or nearly all silent, with real containers on each: what goes on, moves and comes back.

Each agent is in a network of its own; the containers of all are on this machine's engine, which nobody cuts off.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import pytest

from heroctl.domain.events import AllocGivenUp, AllocPlaced, BrakeOff, BrakeOn, Event, NodeDown, NodeUp
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.conftest import Shared
from tests.e2e.history import head, records
from tests.e2e.network import Network, network
from tests.e2e.runtimes import Containers, Workload
from tests.e2e.scenario import under_fault
from tests.e2e.specs import job
from tests.needs import needs

pytestmark = [
    *(needs("docker"), needs("netns"), pytest.mark.timeout(300)),
    pytest.mark.parametrize("runtime", ["docker"], indirect=True),
]
NODES: Final = 4
LOST: Final = 20  # replicas on the node that is lost
APART: Final[dict[str, Any]] = {"constraints": [{"operator": "distinct_hosts"}]}


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


def written(there: Cluster, after: int, *kinds: type[Event]) -> list[Event]:
    """Return what was written after an index, of some kinds."""
    return [record.event for record in records(there.postgres.dsn(), after=after) if isinstance(record.event, kinds)]


def homes(there: Cluster, name: str) -> dict[str, str]:
    """Say on which node each allocation of a job is."""
    return {alloc["id"]: alloc["node"] for alloc in there.allocations(name)}


def wait_status(there: Cluster, nodes: list[str], status: str, *, timeout: float = 40) -> None:
    def holds(listed: list[dict[str, Any]]) -> bool:
        return all(node["status"] == status for node in listed if node["name"] in nodes)

    there.client.wait_until("/v1/nodes", holds, timeout=timeout, what=f"{nodes} to be {status}")


def wait_given_up(there: Cluster, name: str, allocs: set[str]) -> None:
    def holds(listed: list[dict[str, Any]]) -> bool:
        return allocs <= {each["id"] for each in listed if each["status"] == "lost"}

    there.client.wait_until("/v1/allocations", holds, job=name, timeout=40, what=f"replicas of {name} to be given up")


def eligible(there: Cluster, nodes: list[str], *, yes: bool) -> None:
    for name in nodes:
        there.client.post(f"/v1/nodes/{name}/eligibility", {"eligible": yes})


def lose(there: Cluster, number: int, workloads: list[Workload]) -> None:
    """Take a node away with all that runs on it."""
    there.parts[f"agent-{number}"].kill9()
    for found in workloads:
        there.runtime.crash(found)


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


def test_a_node_cut_off_for_twenty_seconds_is_replaced_and_stops_its_own_on_return(
    there: Cluster, wires: Network
) -> None:
    there.submit(job(there.runtime, "apart", count=NODES, **APART))
    there.wait_deployed("apart", 1)
    before, where = there.wait_running("apart", NODES), homes(there, "apart")
    [cut_off] = [found for found in before if where[found.alloc] == "node-1"]
    index = head(there.postgres.dsn())
    with wires.cut("agent-1"):
        assert there.parts["agent-1"].lives_for(20)
        wait_given_up(there, "apart", {cut_off.alloc})
        assert cut_off in there.running("apart"), "nobody is there to stop it"
    wait_status(there, ["node-1"], "ready")
    kept = {found for found in before if found is not cut_off}
    there.wait_healthy("apart", NODES)
    after = set(there.wait_running("apart", NODES))
    assert kept < after
    assert cut_off not in after
    [lost] = written(there, index, AllocGivenUp)
    assert isinstance(lost, AllocGivenUp)
    assert lost.alloc == cut_off.alloc


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
    assert not {found.alloc for found in lost} & {found.alloc for found in after}
    assert "node-1" not in {alloc["node"] for alloc in there.wait_healthy("lost", LOST)}
    kept = {found for found in beside if where[found.alloc] != "node-1"}
    assert kept <= set(there.wait_running("beside", 3))
    there.parts["agent-1"].start()
    wait_status(there, ["node-1"], "ready")
    there.wait_quiet()
    assert set(there.running("lost")) == set(after), "its return moves nothing"


def test_when_all_nodes_but_one_vanish_nothing_is_given_up(there: Cluster, wires: Network) -> None:
    there.submit(job(there.runtime, "braked", count=NODES, **APART))
    there.wait_deployed("braked", 1)
    before = there.wait_running("braked", NODES)
    index = head(there.postgres.dsn())
    silent = [f"node-{number}" for number in range(2, NODES + 1)]
    with wires.cut(*(name.replace("node", "agent") for name in silent)):
        wait_status(there, silent, "down")
        there.submit(job(there.runtime, "goes-on"))
        assert there.wait_healthy("goes-on", 1)[0]["node"] == "node-1"
        assert there.parts["agent-1"].lives_for(6), "five seconds after it is down a node's are given up"
        assert [type(event) for event in written(there, index, BrakeOn, BrakeOff)] == [BrakeOn]
    wait_status(there, silent, "ready")
    there.wait_quiet()
    assert len(written(there, index, NodeUp)) == len(written(there, index, NodeDown)) == len(silent)
    assert [type(event) for event in written(there, index, BrakeOn, BrakeOff)] == [BrakeOn, BrakeOff]
    assert written(there, index, AllocGivenUp) == []
    placed = [event.job for event in written(there, index, AllocPlaced) if isinstance(event, AllocPlaced)]
    assert placed == ["goes-on"]
    assert there.running("braked") == before
