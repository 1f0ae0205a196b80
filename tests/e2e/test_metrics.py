"""Metrics on whole clusters: from the agent's first sample to what people and Prometheus read."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


def test_what_runs_is_seen_by_everybody_who_asks(there: Cluster) -> None:
    there.submit(job(there.runtime, "measured"))
    there.wait_healthy("measured", 1)
    [alloc] = there.client.get("/v1/allocations", job="measured", status="running").body
    path = f"/v1/allocations/{alloc['id']}/stats"

    def measured() -> Any:  # noqa: ANN401 - JSON
        stats = there.client.get(path).body
        return stats if stats["memory"]["used"] else None

    stats = until(measured, timeout=40, what="a sample of the allocation")
    assert stats["memory"]["limit"] == 32_000_000
    assert stats["node"] == alloc["node"]
    query = {"metric": "cpu", "job": "measured", "from": "-1h"}
    series = until(lambda: there.client.get("/v1/metrics/query", **query).body["series"], timeout=40, what="points")
    assert series[0]["labels"]["alloc"] == alloc["id"]
    assert all(value >= 0 for _, value in series[0]["points"])
    snapshot = there.client.get("/v1/metrics").body
    assert snapshot["cpu"]["total"] > 0
    assert snapshot["mem"]["used"] > 0
    [node] = [each for each in there.client.get("/v1/nodes").body if each["name"] == alloc["node"]]
    assert node["ram"]["used"] > 0
    assert there.client.get("/v1/metrics/query", metric="memory").body["series"]


def test_prometheus_reads_all_of_the_cluster_at_any_api(there: Cluster) -> None:
    def families() -> dict[str, Any]:
        client = there.client
        headers = {"Authorization": f"Bearer {client.token}", "Accept": "text/plain"}
        text = httpx2.get(f"{client.urls[0]}/v1/metrics", headers=headers, timeout=30).text
        return {family.name: family for family in text_string_to_metric_families(text)}

    def counted() -> dict[str, Any] | None:
        found = families()
        return found if {"heroctl_plan_seconds", "heroctl_api_request_seconds"} <= found.keys() else None

    found = until(counted, timeout=60, what="what api and reconciler count")
    assert found is not None
    roles = {each.labels["process"].partition("-")[0] for each in found["heroctl_view_index"].samples}
    assert roles == {"api", "reconciler"}
    assert found["heroctl_node_up"].samples[0].value == 1
    assert found["heroctl_node_cpu_usage_percent"].samples
