"""Requests that cause something are told as spans, linked with their callers', and named in the process's lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from heroctl import traces
from heroctl.traces import Span
from tests.api.rig import Rig
from tests.api.specs import spec
from tests.waiting import eventually

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def told() -> Iterator[list[Span]]:
    spans: list[Span] = []
    traces.begin(spans.append)
    yield spans
    traces.begin(None)


async def test_a_submit_is_a_trace_that_is_named_by_its_index(api: Rig, told: list[Span]) -> None:
    api.lines.clear()
    answer = await api.do("POST", "/v1/jobs", spec("shop"), headers={"traceparent": CALLER})
    assert answer.status == 201
    root, append = told
    trace = traces.trace_id(api.parts.view.state.incarnation, answer.body["index"])
    assert (root.name, append.name) == ("POST /v1/jobs", "append")
    assert (root.trace, append.trace) == (trace, trace)
    assert (root.id, root.parent, append.parent) == (traces.span_id(trace, traces.ROOT), b"", root.id)
    assert root.start <= append.start <= append.end <= root.end
    assert root.link == traces.link_of(CALLER)
    said = root.attributes
    assert (said["http.response.status_code"], said["heroctl.index"]) == (201, answer.body["index"])
    await eventually(lambda: b"/v1/jobs" in b"".join(api.lines))
    lines = [json.loads(each) for each in b"".join(api.lines).splitlines()]
    [line] = [each for each in lines if each["path"] == "/v1/jobs"]
    assert (line["trace_id"], line["request_id"]) == (trace.hex(), said["heroctl.request_id"])


async def test_what_causes_nothing_is_told_of_nothing(api: Rig, told: list[Span]) -> None:
    await api.do("POST", "/v1/jobs", spec("shop"))
    told.clear()
    await api.do("POST", "/v1/jobs", spec("shop"))
    await api.get("/v1/jobs")
    await api.do("POST", "/v1/jobs", {"job": "shop"})
    assert not told


async def test_a_header_that_is_none_breaks_nothing(api: Rig, told: list[Span]) -> None:
    answer = await api.do("POST", "/v1/jobs", spec("shop"), headers={"traceparent": "ff-nonsense"})
    assert answer.status == 201
    assert told[0].link is None


async def test_where_nobody_asked_lines_name_no_trace(api: Rig) -> None:
    api.lines.clear()
    await api.do("POST", "/v1/jobs", spec("shop"))
    await eventually(lambda: b"/v1/jobs" in b"".join(api.lines))
    assert b"trace_id" not in b"".join(api.lines)
