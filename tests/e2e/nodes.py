"""What becomes of nodes: where replicas are, who is silent, who is lost, and stories that tests and torture share."""

from __future__ import annotations

from typing import Any, Final

from heroctl.domain.events import AllocGivenUp, AllocPlaced, BrakeOff, BrakeOn, Event, NodeDown, NodeUp
from tests.e2e.cluster import Cluster
from tests.e2e.history import head, records
from tests.e2e.network import Network, Way
from tests.e2e.runtimes import Workload
from tests.e2e.specs import job

APART: Final[dict[str, Any]] = {"constraints": [{"operator": "distinct_hosts"}]}


def written(there: Cluster, after: int, *kinds: type[Event]) -> list[Event]:
    """Return what was written after an index, of some kinds."""
    return [record.event for record in records(there.postgres.dsn(), after=after) if isinstance(record.event, kinds)]


def homes(there: Cluster, name: str) -> dict[str, str]:
    """Say on which node each allocation of a job is."""
    return {alloc["id"]: alloc["node"] for alloc in there.allocations(name)}


def eligible(there: Cluster, nodes: list[str], *, yes: bool) -> None:
    """Say whether nodes take new allocations."""
    for name in nodes:
        there.client.post(f"/v1/nodes/{name}/eligibility", {"eligible": yes})


def wait_status(there: Cluster, nodes: list[str], status: str, *, timeout: float = 40) -> None:
    """Wait until all of these nodes are in this state."""

    def holds(listed: list[dict[str, Any]]) -> bool:
        return all(node["status"] == status for node in listed if node["name"] in nodes)

    there.client.wait_until("/v1/nodes", holds, timeout=timeout, what=f"{nodes} to be {status}")


def wait_given_up(there: Cluster, name: str, allocs: set[str], *, timeout: float = 40) -> None:
    """Wait until these allocations of a job are given up."""

    def holds(listed: list[dict[str, Any]]) -> bool:
        return allocs <= {each["id"] for each in listed if each["status"] == "lost"}

    what = f"replicas of {name} to be given up"
    there.client.wait_until("/v1/allocations", holds, job=name, timeout=timeout, what=what)


def lose(there: Cluster, number: int, workloads: list[Workload]) -> None:
    """Take a node away with all that runs on it."""
    there.parts[f"agent-{number}"].kill9()
    for found in workloads:
        there.runtime.crash(found)


def cut_off(there: Cluster, wires: Network, seconds: float, way: Way = "both") -> None:
    """Cut a node off for longer than it is waited for: each of its replicas fares as its task says, and no other's.

    The usual one is replaced, and stopped on the node's return; one that is kept is as it was; one that may never run
    twice is stopped by its own agent, which nobody tells anything.
    """
    nodes = len(there.client.get("/v1/nodes").body)
    others = [f"node-{number}" for number in range(2, nodes + 1)]
    there.submit(job(there.runtime, "usual", count=nodes, **APART))
    there.wait_deployed("usual", 1)
    eligible(there, others, yes=False)
    alone = {"mode": "stop", "lost_after": "60s"}  # with so long a time to end, it begins 12 s after the last answer
    there.submit(job(there.runtime, "kept", on_disconnect={"mode": "keep"}))
    there.submit(job(there.runtime, "alone", on_disconnect=alone, kill_timeout="60s"))
    for name in ("kept", "alone"):
        there.wait_deployed(name, 1)
    eligible(there, others, yes=True)
    before, where = there.wait_running("usual", nodes), homes(there, "usual")
    [cut] = [found for found in before if where[found.alloc] == "node-1"]
    [kept], [first] = there.wait_running("kept", 1), there.wait_running("alone", 1)
    index = head(there.postgres.dsn())
    with wires.cut("agent-1", way=way):
        assert there.parts["agent-1"].lives_for(seconds)
        wait_given_up(there, "usual", {cut.alloc})
        assert cut in there.running("usual"), "stopped though nobody said so"
        assert first not in there.running("alone"), "not stopped by its own agent"
    wait_status(there, ["node-1"], "ready")
    there.wait_healthy("usual", nodes)
    after = set(there.wait_running("usual", nodes))
    assert set(before) - after == {cut}, "others were touched"
    there.wait_healthy("alone", 1)
    there.wait_running("alone", 1)
    assert there.running("kept") == [kept], "what was to be kept was not"
    lost = {event.job for event in written(there, index, AllocGivenUp) if isinstance(event, AllocGivenUp)}
    assert lost <= {"usual", "alone"}, "what was to be kept was given up"


def all_but_one(there: Cluster, wires: Network) -> None:
    """Cut all nodes off but one: nothing is given up, all else goes on, and on their return nothing has happened."""
    nodes = len(there.client.get("/v1/nodes").body)
    there.submit(job(there.runtime, "braked", count=nodes, **APART))
    there.wait_deployed("braked", 1)
    before = there.wait_running("braked", nodes)
    index = head(there.postgres.dsn())
    silent = [f"node-{number}" for number in range(2, nodes + 1)]
    with wires.cut(*(name.replace("node", "agent") for name in silent)):
        wait_status(there, silent, "down")
        there.submit(job(there.runtime, "goes-on"))
        assert there.wait_healthy("goes-on", 1)[0]["node"] == "node-1"
        assert there.parts["agent-1"].lives_for(6), "five seconds after it is down a node's are given up"
    wait_status(there, silent, "ready")
    there.wait_quiet()
    assert written(there, index, AllocGivenUp) == [], "what silent nodes had was given up"
    placed = [event.job for event in written(there, index, AllocPlaced) if isinstance(event, AllocPlaced)]
    assert placed == ["goes-on"], "nothing else was placed"
    assert [type(event) for event in written(there, index, BrakeOn, BrakeOff)] == [BrakeOn, BrakeOff], "once"
    assert len(written(there, index, NodeUp)) == len(written(there, index, NodeDown)) == len(silent), "once each"
    assert there.running("braked") == before, "not all of it runs on"
