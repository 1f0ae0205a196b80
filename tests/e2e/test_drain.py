"""Emptying nodes on real containers: nobody who calls notices, and done means that the containers are gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.balancer import Balancer
from tests.e2e.client import Client, RefusedError
from tests.e2e.cluster import Cluster, Size
from tests.e2e.runtimes import Workload
from tests.e2e.specs import job
from tests.needs import needs
from tests.waiting import until

pytestmark = [pytest.mark.timeout(240), needs("docker"), pytest.mark.parametrize("runtime", ["docker"], indirect=True)]
_SERVE: Final = "echo one > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
_HEALTH: Final = {"http": "/", "interval": "300ms", "timeout": "2s", "retries": 3, "start_period": "10s"}
WIDE: Final = {"cpu": 1.5, "memory": "32MB", "disk": "1MB"}  # one a node


@pytest.fixture(scope="module")
def size() -> Size:
    """Two nodes: what leaves one comes to the other."""
    return Size(agents=2)


@pytest.fixture(autouse=True)
def eligible(there: Cluster) -> Iterator[None]:
    """Give every node back after each test."""
    yield
    for node in there.client.get("/v1/nodes").body:
        there.client.delete(f"/v1/nodes/{node['name']}/drain")
        there.client.post(f"/v1/nodes/{node['name']}/eligibility", {"eligible": True})


def _node(there: Cluster, name: str) -> dict[str, Any]:
    return dict(there.client.get(f"/v1/nodes/{name}").body)


def _home(there: Cluster, name: str) -> str:
    """Say on which node a job's only replica is."""
    [alloc] = there.wait_healthy(name, 1)
    return str(alloc["node"])


def _drained(there: Cluster, node: str, *, timeout: float = 60) -> dict[str, Any]:
    """Wait for the end of a drain; return how it ended."""
    found = there.client.wait_until(
        f"/v1/nodes/{node}", lambda body: body["drain"] is None, timeout=timeout, what=f"the end of {node}'s drain"
    )
    return dict(found["drained"])


def _left(there: Cluster, name: str, before: list[Workload]) -> list[str]:
    """List the containers that are still there of those before."""
    return sorted({each.id for each in before} & {each.id for each in there.running(name)})


def test_a_service_of_one_replica_moves_and_no_request_fails(there: Cluster) -> None:
    fields: dict[str, Any] = {"ports": {"http": 8080}, "health": _HEALTH, "shutdown_delay": "2s"}
    there.submit(job(there.runtime, "shop", script=_SERVE, **fields))
    there.wait_deployed("shop", 1, timeout=60)
    before = there.wait_running("shop", 1)
    for _ in range(2):  # there, and back again
        home = _home(there, "shop")
        with Balancer(Client(there.client.urls, there.client.token), "shop") as calls:
            calls.enough("one")
            asked = there.client.post(f"/v1/nodes/{home}/drain", {"deadline_seconds": 120}).body
            assert (asked["replicas"], asked["moves"], asked["stays"]) == (1, 1, 0)
            ended = _drained(there, home)
            assert _left(there, "shop", before) == [], "done means that it is gone"
            calls.enough("one")
        assert calls.failures == []
        assert (ended["moved"], ended["stopped"]) == (1, 0)
        assert _home(there, "shop") != home
        assert (_node(there, home)["eligibility"], _node(there, home)["status"]) == ("ineligible", "ready")
        there.client.post(f"/v1/nodes/{home}/eligibility", {"eligible": True})
        before = there.wait_running("shop", 1)


def test_what_has_no_other_place_is_stopped_at_the_deadline(there: Cluster) -> None:
    there.submit(job(there.runtime, "wide", count=2, resources=WIDE))
    there.wait_healthy("wide", 2)
    before = there.wait_running("wide", 2)
    dry = there.client.post("/v1/nodes/node-1/drain", {"dry_run": True}).body
    assert (dry["moves"], dry["stays"], dry["jobs"][0]["why"]) == (0, 1, "no_room")
    there.client.post("/v1/nodes/node-1/drain", {"deadline_seconds": 3})
    ended = _drained(there, "node-1")
    assert (ended["moved"], ended["stopped"]) == (0, 1)
    assert len(_left(there, "wide", before)) == 1, "the other node's goes on"
    there.client.post("/v1/nodes/node-1/eligibility", {"eligible": True})
    there.wait_healthy("wide", 2)


def test_a_drain_that_is_cancelled_leaves_what_is_there(there: Cluster) -> None:
    there.submit(job(there.runtime, "stays", count=2, resources=WIDE))
    there.wait_healthy("stays", 2)
    before = there.wait_running("stays", 2)
    there.client.post("/v1/nodes/node-2/drain", {"deadline_seconds": 3600})
    assert _node(there, "node-2")["status"] == "draining"
    with pytest.raises(RefusedError) as refused:
        there.client.post("/v1/nodes/node-2/eligibility", {"eligible": True})
    assert (refused.value.status, refused.value.code) == (409, "node_draining")
    there.client.delete("/v1/nodes/node-2/drain")
    there.wait_quiet()
    assert len(_left(there, "stays", before)) == 2
    shown = _node(there, "node-2")
    assert (shown["status"], shown["eligibility"], shown["drain"]) == ("ready", "eligible", None)


def test_a_node_that_is_removed_stops_its_containers(there: Cluster) -> None:
    agent = there.add_agent(3)
    there.wait_nodes(3)
    for name in ("node-1", "node-2"):
        there.client.post(f"/v1/nodes/{name}/eligibility", {"eligible": False})
    there.submit(job(there.runtime, "guest"))
    assert _home(there, "guest") == "node-3"
    before = there.wait_running("guest", 1)
    there.client.delete("/v1/nodes/node-3")
    until(lambda: not _left(there, "guest", before), timeout=30, what="the end of its container")
    until(lambda: not agent.runs, timeout=30, what="the end of its agent")
    del there.parts["agent-3"]
    there.client.post("/v1/nodes/node-1/eligibility", {"eligible": True})
    assert _home(there, "guest") in ("node-1", "node-2")


def test_a_deadline_of_nothing_is_noticed(there: Cluster) -> None:
    """Who is stopped before another stands is missed: so what the first test looks for can be seen."""
    fields: dict[str, Any] = {"ports": {"http": 8080}, "health": _HEALTH}
    there.submit(job(there.runtime, "forced", script=_SERVE, **fields))
    there.wait_deployed("forced", 1, timeout=60)
    home = _home(there, "forced")
    with Balancer(Client(there.client.urls, there.client.token), "forced") as calls:
        calls.enough("one")
        there.client.post(f"/v1/nodes/{home}/drain", {"deadline_seconds": 0})
        assert _drained(there, home)["stopped"] == 1
        calls.enough("one")
    assert calls.failures
