"""The first start of an allocation as spans: all of it, once, with the failure that ended it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from agents.fake_runtime import Script
from heroctl import traces
from heroctl.domain.assignment import Assigned
from heroctl.traces import Span
from tests.agents.rig import Rig, alloc


@pytest.fixture
def told() -> Iterator[list[Span]]:
    spans: list[Span] = []
    traces.begin(spans.append)
    yield spans
    traces.begin(None)


def caused(name: str) -> Assigned:
    return replace(alloc(name), cause=7)


def names(told: list[Span]) -> list[str]:
    return [span.name for span in told]


async def test_a_start_is_told_from_its_assignment_to_its_health(node: Rig, told: list[Span]) -> None:
    node.runtime.scripts["shop:1"] = Script(here=False, pull_takes=2.0)
    node.control.want(caused("a"))
    node.start()
    await node.until(lambda: "allocation" in names(told), what="the last span")
    assert names(told) == ["receive", "container", "image pull", "container", "healthy", "allocation"]
    whole = told[-1]
    trace = traces.trace_id(node.control.incarnation, 7)
    assert {span.trace for span in told} == {trace}
    assert whole.parent == traces.span_id(trace, traces.COMMAND, "a")
    assert {span.parent for span in told[:-1]} == {whole.id}
    assert len({span.id for span in told}) == len(told)
    assert all(whole.start <= span.start <= span.end <= whole.end for span in told)
    assert whole.error is None
    assert (whole.attributes["heroctl.alloc"], whole.attributes["heroctl.job"]) == ("a", "shop")
    await node.kill()
    node.start()
    await node.pass_time(5)
    assert len(told) == 6, "an agent that takes it up tells nothing of it again"


async def test_a_start_that_fails_is_told_with_its_reason(node: Rig, told: list[Span]) -> None:
    node.runtime.scripts["shop:1"] = Script(refused="no such program")
    node.control.want(caused("a"))
    node.start()
    await node.until(lambda: "allocation" in names(told), what="the last span")
    assert told[-1].error is not None
    assert "no such program" in told[-1].error
    await node.until(node.control.is_phase("a", "failed"), step=1.0, most=600)
    assert names(told).count("allocation") == 1, "later attempts are none of it"


async def test_what_nobody_knows_the_cause_of_is_in_no_trace(node: Rig, told: list[Span]) -> None:
    node.control.want(alloc("a"))
    node.start()
    await node.until(node.control.is_phase("a", "running"))
    assert not told
