"""What a process counts of itself, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from eventstore.internals import BOUNDS, Internals
from heroctl.domain.exposition import marked, render


def test_counts_are_histograms_with_the_processs_name() -> None:
    internals = Internals()
    for seconds in (0.0005, 0.001, 0.003, 20.0):
        internals.append.observe(seconds)
    internals.request("GET", "/v1/jobs", 200, 0.004)
    internals.request("GET", "/v1/jobs", 404, 0.004)
    internals.gauge("heroctl_waiters", "Long polls", lambda: 7.0)
    internals.gauge("heroctl_waiters", "Long polls that wait", lambda: 8.0)
    text = render([marked(family, 'process="api-1"') for family in internals.families()]).decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    buckets = {each.labels["le"]: each.value for each in found["heroctl_append_seconds"].samples if "le" in each.labels}
    assert buckets["0.001"] == 2
    assert buckets["0.005"] == 3
    assert buckets["10"] == 3
    assert buckets["+Inf"] == 4
    assert len(buckets) == len(BOUNDS) + 1
    [waiters] = found["heroctl_waiters"].samples
    assert (waiters.labels, waiters.value) == ({"process": "api-1"}, 8.0)
    requests = found["heroctl_api_request_seconds"].samples
    assert {each.labels["status"] for each in requests} == {"2xx", "4xx"}
    assert "heroctl_plan_seconds" not in found, "nothing was planned here"
