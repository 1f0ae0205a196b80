"""Spans and where they go: ids that everybody finds, nothing where nobody asked, and no endpoint that is waited for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl import traces
from heroctl.otlp.pump import Bounds
from heroctl.otlp.target import Target, Unusable
from heroctl.otlp.tracing import named, traced, wanted
from heroctl.traces import Place, Span
from tests.collector import Answer, Collector, collector, loaded_by
from tests.waiting import eventually

TRACE = traces.trace_id("abc", 7)
ROOT = traces.span_id(TRACE, "request")
QUICK = Bounds(100, 10, pauses=(0.01, 0.05), gather=0.0)


@pytest.fixture
def told() -> Iterator[list[Span]]:
    spans: list[Span] = []
    traces.begin(spans.append)
    yield spans
    traces.begin(None)


def a_span(number: int = 0, error: str | None = None) -> Span:
    return Span(f"work {number}", TRACE, traces.span_id(TRACE, number), ROOT, 10, 20, error=error)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_trace_is_named_by_a_history_and_an_index() -> None:
    assert traces.trace_id("abc", 7) == TRACE
    assert TRACE.hex() == "11e567bfe43faa54d7738f6c1a2e80b4", "processes of other releases find it, too"
    assert ROOT.hex() == "0a898fbf06b2c191"
    assert len({traces.trace_id("abc", 8), traces.trace_id("abd", 7), TRACE}) == 3


@given(st.lists(st.tuples(st.sampled_from(["request", "command", "pass"]), st.integers(0, 9)), unique=True))
def test_spans_of_other_words_have_other_names(words: list[tuple[str, int]]) -> None:
    assert len({traces.span_id(TRACE, *each) for each in words}) == len(words)


@pytest.mark.parametrize(
    ("header", "good"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes", True),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-01", False),
        ("", False),
        ("x" * 100_000, False),
    ],
)
def test_a_callers_span_is_read_or_left(header: str, good: bool) -> None:  # noqa: FBT001 - a case
    assert (traces.link_of(header) is not None) == good


@given(st.text())
def test_no_header_breaks_anything(header: str) -> None:
    traces.link_of(header)


# ── spans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_where_nobody_asked_nothing_is_measured() -> None:
    assert not traces.on()
    with traces.under(Place(TRACE, ROOT)), traces.span("work"):
        pass
    traces.emit(a_span())


def test_spans_hang_below_what_is_around_them(told: list[Span]) -> None:
    with traces.span("nowhere"):
        pass
    with traces.under(Place(TRACE, ROOT, ("a1",))), traces.span("outer"):
        with traces.span("one", size=3):
            pass
        with pytest.raises(KeyError), traces.span("two"):
            raise KeyError("hunter2")
    assert [span.name for span in told] == ["one", "two", "outer"]
    one, two, outer = told
    assert (outer.parent, one.parent, two.parent) == (ROOT, outer.id, outer.id)
    assert (one.attributes, one.error, two.error) == ({"size": 3}, None, "KeyError")
    assert outer.start <= one.start <= one.end <= two.end <= outer.end


async def test_tasks_and_threads_hang_theirs_where_they_were_begun(told: list[Span]) -> None:
    def work() -> None:
        with traces.span("in a thread"):
            pass

    async def inner() -> None:
        with traces.span("in a task"):
            await asyncio.to_thread(work)

    with traces.under(Place(TRACE, ROOT)):
        task = asyncio.ensure_future(inner())
    await task
    thread, own = told
    assert (own.parent, thread.parent) == (ROOT, own.id)


def test_a_clock_that_goes_back_makes_no_negative_time() -> None:
    assert traces.stretch(100, 50) == (100, 100)
    later = time.time_ns() + 10**12
    assert traces.stretch(later) == (later, later)


# ── where they go ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_they_arrive_with_the_name_of_the_process_and_without_secrets() -> None:
    with collector() as made:
        async with traced(wanted(made.url, {}), named("api", "10.0.0.1:8080"), QUICK):
            assert traces.on()
            traces.emit(a_span(1))
            await asyncio.to_thread(traces.emit, a_span(2, error="no: https://me:hunter2@registry/ said 401"))
        assert not traces.on()
    first, second = made.spans
    assert first.resource["service.name"] == "heroctl-api"
    assert first.resource["service.instance.id"].startswith("10.0.0.1:8080#")
    assert (first.trace, first.parent, first.start, first.end) == (TRACE.hex(), ROOT.hex(), 10, 20)
    assert (first.failed, second.failed) == (False, True)
    assert second.message == "no: https://me:***@registry/ said 401"


async def test_variables_name_a_process_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    with collector() as made:
        async with traced(wanted("", {"OTEL_EXPORTER_OTLP_ENDPOINT": made.url}), named("api"), QUICK):
            traces.emit(a_span())
    resource = made.spans[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("ours", "prod")


@pytest.mark.parametrize("does", ["down", "hang", "pour", "refuse"])
async def test_an_endpoint_that_takes_nothing_costs_no_more_than_its_bounds(does: str) -> None:
    with collector() as made:
        _be(made, does)
        url = "http://127.0.0.1:1/v1/traces" if does == "down" else f"{made.url}/v1/traces"
        began = time.monotonic()
        async with traced(Target(url, patience=0.5), named("api"), QUICK):
            for number in range(5000):
                traces.emit(a_span(number))
            assert time.monotonic() - began < 5, "nobody waits"
            if does != "down":
                await eventually(lambda: made.asked, what="an attempt")
        assert time.monotonic() - began < 20, "not at the end, either"
    assert not made.spans


def _be(made: Collector, does: str) -> None:
    if does == "hang":
        made.does = "hang"
    elif does == "pour":
        made.does = "pour"
    else:
        made.answer = lambda _: Answer(403)


async def test_an_endpoint_that_comes_back_gets_what_waited() -> None:
    with collector() as made:
        made.answer = lambda number: Answer(503 if number < 3 else 200)
        async with traced(wanted(made.url, {}), named("api"), QUICK):
            for number in range(30):
                traces.emit(a_span(number))
            await eventually(lambda: len(made.spans) == 30, what="all of them")
    assert [span.name for span in made.spans] == [f"work {number}" for number in range(30)]


# ── off, and wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("module", ["api.serve", "reconciler.serve", "agents.__main__", "heroctl.otlp.tracing"])
def test_who_does_not_ask_for_traces_loads_nothing_for_them(module: str) -> None:
    assert wanted("", {}) is None
    assert wanted("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}) is None
    assert loaded_by(module) == []


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "heroctl.otlp.spans", None)
    with pytest.raises(Unusable, match=r"the extra `otlp` is not installed: pip install 'heroctl\[otlp\]'"):
        wanted("http://collector:4318", {})


@pytest.mark.parametrize("module", ["api", "reconciler"])
def test_a_process_that_cannot_trace_as_asked_says_so_and_does_not_start(module: str) -> None:
    command = [sys.executable, "-m", module, "--dsn", "postgresql://127.0.0.1:1/none", "--traces-otlp", "collector"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--traces-otlp: 'collector/v1/traces' is not the URL of an OTLP/HTTP endpoint" in ended.stderr
