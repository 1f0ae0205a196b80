"""A trace from the request to the container: all its spans arrive from three kinds of processes and fit together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.collector import Collector, Span, collector
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.runtimes import Runtime
from tests.e2e.specs import job
from tests.waiting import until

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BELOW = {  # what a span hangs below
    "POST /v1/jobs": None,
    "pass": "POST /v1/jobs",
    "command": "POST /v1/jobs",
    "allocation": "command",
    "receive": "allocation",
    "container": "allocation",
    "volumes and files": ("container", "create"),
    "create": "container",
    "start": "container",
    "healthy": "allocation",
}
BY = {"POST /v1/jobs": "heroctl-api", "pass": "heroctl-reconciler", "allocation": "heroctl-agent"}


@pytest.fixture(scope="module")
def traced(runtime: Runtime) -> Iterator[tuple[Cluster, Collector]]:
    with collector() as made, cluster(runtime, Size(), environ={"OTEL_EXPORTER_OTLP_ENDPOINT": made.url}) as running:
        yield running, made
        running.delete_all()


def test_one_trace_holds_all_from_the_request_to_the_healthy_container(traced: tuple[Cluster, Collector]) -> None:
    running, made = traced
    spec = job(running.runtime, "shop", count=2)
    headers = {"Authorization": f"Bearer {running.client.token}", "traceparent": CALLER, "X-Request-ID": "ask-1"}
    answer = httpx2.post(f"{running.url()}/v1/jobs", json=spec, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    running.wait_deployed("shop", 1)
    until(lambda: sum(span.name == "allocation" for span in made.spans) == 2, what="the spans of both replicas")
    until(lambda: {"POST /v1/jobs", "pass", "command"} <= {span.name for span in made.spans}, what="all the others")

    assert len({span.trace for span in made.spans}) == 1, "one trace"
    by_id = {span.id: span for span in made.spans}
    assert len(by_id) == len(made.spans), "no id twice"
    assert all(span.end >= span.start for span in made.spans)
    for span in made.spans:
        assert _above(by_id, span) in _wanted(span), span
        assert not span.failed, span
    assert {span.name for span in made.spans} == set(BELOW) | {"append"}

    root = next(span for span in made.spans if span.name == "POST /v1/jobs")
    assert root.links == [tuple(CALLER.split("-")[1:3])], "the caller's own span"
    assert root.attributes["heroctl.request_id"] == answer.headers["x-request-id"]
    assert root.attributes["http.response.status_code"] == 201
    for name, service in BY.items():
        assert {span.resource["service.name"] for span in made.spans if span.name == name} == {service}
    for name in ("pass", "allocation", "healthy"):
        assert all(span.start >= root.start for span in made.spans if span.name == name), name

    for part in ("api-1", "reconciler-1", "agent-1"):
        assert root.trace in _traces(running.parts[part].log), part
    asked = [line for line in _lines(running.parts["api-1"].log) if line.get("trace_id") == root.trace]
    assert [line["request_id"] for line in asked] == [answer.headers["x-request-id"]]


def test_another_version_is_another_trace(traced: tuple[Cluster, Collector]) -> None:
    running, made = traced
    running.submit(job(running.runtime, "shop", count=2))
    before = {span.trace for span in made.spans}
    running.submit(job(running.runtime, "shop", count=2, release="two"))

    def news() -> list[Span]:
        return [span for span in made.spans if span.trace not in before]

    until(lambda: sum(span.name == "allocation" for span in news()) == 2, timeout=60, what="the spans of both replicas")
    assert len({span.trace for span in news()}) == 1


def _wanted(span: Span) -> tuple[str | None, ...]:
    if span.name == "append":
        return ("POST /v1/jobs", "pass")
    above = BELOW[span.name]
    return above if isinstance(above, tuple) else (above,)


def _above(by_id: dict[str, Span], span: Span) -> str | None:
    return by_id[span.parent].name if span.parent else None


def _lines(log: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def _traces(log: Path) -> set[str]:
    return {line["trace_id"] for line in _lines(log) if line.get("trace_id")}
