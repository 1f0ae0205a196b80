"""Records what a real cluster goes through: `python -m tests.histories.record NAME` (two minutes, loopback only).

Real processes, real workloads of the process runtime, a Postgres and a Valkey of its own. What the log holds in the end
is the history.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from eventstore.database import Database
from eventstore.log import Row
from eventstore.postgres import open_log
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.histories import history
from tests.waiting import until

_NODES = 5


def main(name: str) -> None:
    """Live through it and write it down."""
    with cluster(Processes(), Size(apis=2, reconcilers=2, agents=_NODES)) as there:
        _tokens(there)
        _roll_out(there)
        _replicas_end(there)
        _bad_versions(there)
        _nodes_go(there)
        _goodbye(there)
        rows = asyncio.run(_rows(there.postgres.dsn()))
        there.delete_all()
    history.write(name, rows)
    sys.stdout.write(f"{len(rows)} events of {len({row[3] for row in rows})} tags\n")


async def _rows(dsn: str) -> list[Row]:
    rows: list[Row] = []
    async with Database(dsn) as database, open_log(database) as log:
        while page := await log.page(rows[-1][0] if rows else 0):
            rows += page
    return rows


def _tokens(there: Cluster) -> None:
    for role in ("viewer", "deployer"):
        there.client.post("/v1/acl/tokens", {"name": f"ci-{role}", "roles": [role]})
    [last] = [token for token in there.client.get("/v1/acl/tokens").body if token["name"] == "ci-deployer"]
    there.client.delete(f"/v1/acl/tokens/{last['id']}")


def _roll_out(there: Cluster) -> None:
    for name, count in (("web", 4), ("shop", 6), ("db", 1)):
        there.submit(job(there.runtime, name, count=count))
    for name, count in (("web", 4), ("shop", 6), ("db", 1)):
        there.wait_healthy(name, count)
        there.wait_deployed(name, 1)
    there.submit(job(there.runtime, "web", count=5, release="two"))
    there.wait_healthy("web", 5, version=2)
    there.wait_deployed("web", 2)
    there.submit(job(there.runtime, "web", count=3, release="two"))
    there.wait_healthy("web", 3)


def _replicas_end(there: Cluster) -> None:
    for workload in there.running("shop")[:2]:
        there.runtime.crash(workload)
    there.client.wait_until("/v1/allocations", lambda allocs: sum(_again(each) for each in allocs) == 2, job="shop")
    there.wait_healthy("shop", 6)
    first = there.allocations("shop")[0]["id"]
    there.client.post(f"/v1/allocations/{first}/stop", {})
    there.client.wait_until(f"/v1/allocations/{first}", lambda alloc: alloc["status"] == "complete")
    there.wait_healthy("shop", 6)


def _again(alloc: dict[str, Any]) -> bool:
    return int(alloc["attempt"]) == 2 and alloc["health"] == "healthy"


def _bad_versions(there: Cluster) -> None:
    restart, reschedule = {"attempts": 1, "delay": "100ms"}, {"unlimited": False, "delay": "1s"}
    broken = job(there.runtime, "db", script="exit 3", release="broken", restart=restart, reschedule=reschedule)
    there.submit(broken)
    there.client.wait_until("/v1/jobs/db", lambda body: body["status"] == "failed")
    there.submit(job(there.runtime, "huge", resources={"cpu": 0.1, "memory": "900GB", "disk": "1MB"}))
    there.client.wait_until("/v1/jobs/huge", lambda body: body["status"] == "blocked")
    there.client.post("/v1/jobs/huge/stop", {})
    there.client.wait_until("/v1/jobs/huge", lambda body: body["status"] == "stopped")


def _nodes_go(there: Cluster) -> None:
    nodes = there.client.get("/v1/nodes").body
    there.client.post(f"/v1/nodes/{nodes[0]['id']}/eligibility", {"eligible": False})
    there.client.post(f"/v1/nodes/{nodes[0]['id']}/eligibility", {"eligible": True})
    lost = ["agent-3", "agent-4", "agent-5"]
    for name in lost:
        there.parts[name].kill9()
    there.client.wait_until("/v1/nodes", lambda found: _count(found, "down") == len(lost), timeout=60)
    there.client.wait_until("/v1/cluster/status", lambda status: status["brake"], timeout=60)
    for name in lost:
        there.parts[name].start()
    there.wait_nodes(_NODES)
    there.parts["agent-5"].kill9()
    there.client.wait_until("/v1/nodes", lambda found: _count(found, "down") == 1, timeout=60)
    there.wait_healthy("shop", 6, timeout=60)
    [down] = [node for node in there.client.get("/v1/nodes").body if node["status"] == "down"]
    there.client.delete(f"/v1/nodes/{down['id']}")
    removed = there.parts.pop("agent-5")
    removed.start()
    until(lambda: not removed.runs, timeout=30, what="the end of a removed node's agent")
    there.restart(there.coordinating_part())
    there.submit(job(there.runtime, "late", count=2))
    there.wait_healthy("late", 2, timeout=60)


def _count(nodes: list[dict[str, Any]], status: str) -> int:
    return sum(node["status"] == status for node in nodes)


def _goodbye(there: Cluster) -> None:
    for name in ("late", "web"):
        there.delete(name)
    there.wait_quiet()


if __name__ == "__main__":
    main(sys.argv[1])
