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
    found = _all_counted(there)
    roles = {each.labels["process"].partition("-")[0] for each in found["heroctl_view_index"].samples}
    assert roles == {"api", "reconciler"}
    assert found["heroctl_node_up"].samples[0].value == 1
    assert found["heroctl_node_cpu_usage_percent"].samples


def test_what_a_process_counts_of_itself_moves(there: Cluster) -> None:
    """Each internal, at the front door: after some work there is more of it than before."""
    before = _all_counted(there)
    hook = there.client.post("/v1/webhooks", {"url": "https://127.0.0.1:9/", "events": ["*"]}, keyed=False).body["id"]
    try:
        there.submit(job(there.runtime, "counted"))
        there.wait_healthy("counted", 1)

        def moved() -> dict[str, Any] | None:
            found = _counted(there)
            if not all(_count(found, name) > _count(before, name) for name in HISTOGRAMS):
                return None
            return found if _value(found, "heroctl_webhook_queue", webhook=hook) > 0 else None

        found = _there(until(moved, timeout=60, what="counts that move"))
    finally:
        there.client.delete(f"/v1/webhooks/{hook}")
    assert _value(found, "heroctl_view_index") > _value(before, "heroctl_view_index")
    assert _value(found, "heroctl_webhook_lag_seconds", webhook=hook) >= 0
    routes = {each.labels["route"] for each in found["heroctl_api_request_seconds"].samples}
    assert {"/v1/jobs", "/v1/agent/samples"} <= routes


HISTOGRAMS = ("heroctl_append_seconds", "heroctl_fold_seconds", "heroctl_plan_seconds", "heroctl_api_request_seconds")
INTERNALS = (
    *HISTOGRAMS,
    "heroctl_append_queue",
    "heroctl_aside_queue",
    "heroctl_samples_queue",
    "heroctl_waiters",
    "heroctl_api_open_requests",
    "heroctl_view_index",
    "heroctl_view_lag_events",
    "heroctl_view_behind_seconds",
    "heroctl_webhook_lag_events",
    "heroctl_webhook_queue",
    "heroctl_webhook_lag_seconds",
)


def _counted(there: Cluster) -> dict[str, Any]:
    """Read the exposition by Prometheus' own reader: families by name."""
    client = there.client
    headers = {"Authorization": f"Bearer {client.token}", "Accept": "text/plain"}
    text = httpx2.get(f"{client.urls[0]}/v1/metrics", headers=headers, timeout=30).text
    return {family.name: family for family in text_string_to_metric_families(text)}


def _all_counted(there: Cluster) -> dict[str, Any]:
    def all_there() -> dict[str, Any] | None:
        found = _counted(there)
        return found if set(INTERNALS) <= found.keys() else None

    return _there(until(all_there, timeout=60, what="all that api and reconciler count"))


def _there(found: dict[str, Any] | None) -> dict[str, Any]:
    assert found is not None
    return found


def _count(found: dict[str, Any], name: str) -> float:
    return float(sum(each.value for each in found[name].samples if each.name == f"{name}_count"))


def _value(found: dict[str, Any], name: str, **labels: str) -> float:
    return max(
        (float(each.value) for each in found[name].samples if labels.items() <= each.labels.items()), default=0.0
    )
