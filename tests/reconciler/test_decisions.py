"""The lines that tell what was decided."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from eventstore.log import Append, Appended
from eventstore.memory import MemoryLog
from eventstore.view import View
from heroctl import logs, traces
from heroctl.domain.events import AllocPlaced, AllocStopping, Meta, NodeDown
from heroctl.traces import Span
from reconciler.decisions import Decisions
from reconciler.planner.piece import Piece
from reconciler.traced import Commands, When
from tests.domain.worlds import World


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    before, stream = structlog.get_config(), io.StringIO()
    logs.configure("info", "json", stream)
    yield stream
    logs.configure("info")
    structlog.configure(**before)


def lines(said: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in said.getvalue().splitlines()]
    return [line for line in found if line["event"] == "decided"]


async def told(world: World, *, heard: bool = True) -> tuple[View, Decisions]:
    """Replay a world into a log, as one request each, and follow it."""
    log = MemoryLog()
    view = View(log)
    decisions = Decisions(view)
    if heard:
        view.subscribe(decisions.heard)
    for record in world.records[1:]:
        epoch = log.epoch if record.event.WRITER == "decision" else None
        await log.append(Append((record.event,), epoch=epoch, meta=Meta("user:ana", f"req_{record.index}")))
    await view.catch_up()
    if not heard:
        view.subscribe(decisions.heard)
    return view, decisions


def placed(world: World) -> tuple[AllocPlaced, Piece]:
    node, job = world.node("n1"), world.submit()
    world.place(job, node, 0)
    event = world.records[-1].event
    assert isinstance(event, AllocPlaced)
    return event, Piece((event, AllocStopping(event.id, "default", "web", "removed")), uid=job.uid)


async def test_a_line_names_job_replica_node_index_and_the_request_behind_it(said: io.StringIO) -> None:
    world = World()
    event, piece = placed(world)
    view, decisions = await told(world)
    decisions.tell(piece, Appended(70, 71), When(0, 0))
    first, second = lines(said)
    cause = view.state.jobs[event.uid].spec_index
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "decided",
        "level": "info",
        "type": "alloc.placed",
        "index": 70,
        "namespace": "default",
        "job": "web",
        "alloc": event.id,
        "node": "n1",
        "cause": cause,
        "request_id": f"req_{cause}",
        **({"deployment": event.deployment} if event.deployment else {}),
    }
    assert (second["type"], second["alloc"], second["reason"], second["index"]) == (
        "alloc.stopping",
        event.id,
        "removed",
        71,
    )


async def test_who_did_not_see_the_request_gives_where_it_stands(said: io.StringIO) -> None:
    world = World()
    event, piece = placed(world)
    view, decisions = await told(world, heard=False)
    decisions.tell(piece, Appended(70, 71), When(0, 0))
    first = lines(said)[0]
    assert "request_id" not in first
    assert first["cause"] == view.state.jobs[event.uid].spec_index


async def test_what_is_about_no_job_is_told_too(said: io.StringIO) -> None:
    world = World()
    node = world.node("n1")
    _, decisions = await told(world)
    decisions.tell(Piece((NodeDown(node.id, "n1", 13.0),)), Appended(9, 9), When(0, 0))
    [line] = lines(said)
    assert (line["type"], line["index"]) == ("node.down", 9)
    assert "job" not in line


async def test_above_its_level_nothing_is_made(said: io.StringIO) -> None:
    world = World()
    _, piece = placed(world)
    _, decisions = await told(world)
    logs.follow("error")
    before = said.getvalue()
    decisions.tell(piece, Appended(70, 71), When(0, 0))
    assert said.getvalue() == before
    logs.follow("")


async def test_for_people_it_is_words_on_one_line(said: io.StringIO) -> None:
    logs.configure("info", "console", said)
    logs.many("decided", [{"job": "web", "reason": "a\nb", "alloc": ""}])
    [line] = said.getvalue().splitlines()
    assert line.endswith(r"job=web reason=a\nb")


async def test_what_was_placed_is_told_as_spans_of_the_trace_that_asked(said: io.StringIO) -> None:
    world = World()
    event, piece = placed(world)
    spans: list[Span] = []
    traces.begin(spans.append)
    try:
        view, decisions = await told(world)
        decisions.tell(piece, Appended(70, 71), When(10, 20))
    finally:
        traces.begin(None)
    trace = traces.trace_id(view.state.incarnation, view.state.jobs[event.uid].spec_index)
    whole, append = spans
    assert (whole.name, append.name, whole.start, append.start) == ("pass", "append", 10, 20)
    assert (whole.trace, whole.parent, append.parent) == (trace, traces.span_id(trace, traces.ROOT), whole.id)
    assert {line["trace_id"] for line in lines(said)} == {trace.hex()}


@pytest.mark.parametrize("rings", [True, False])
async def test_a_command_lasts_until_its_node_was_told(rings: bool) -> None:  # noqa: FBT001 - a case
    world = World()
    event, _ = placed(world)
    log, spans = MemoryLog(), list[Span]()
    view = View(log)
    commands = Commands(lambda: True, rings=rings)
    view.subscribe(lambda change: commands.heard(view.state, change))
    await log.append(Append((world.records[1].event,), meta=Meta("user:ana")))
    await view.catch_up()
    traces.begin(spans.append)
    try:
        for record in world.records[2:]:
            epoch = log.epoch if record.event.WRITER == "decision" else None
            await log.append(Append((record.event,), epoch=epoch, meta=Meta("user:ana")))
        await view.catch_up()
        assert len(spans) == (not rings)
        commands.rung({"another"})
        commands.rung({event.node})
        commands.rung({event.node})
    finally:
        traces.begin(None)
    [span] = spans
    assert (span.name, span.id) == ("command", traces.span_id(span.trace, traces.COMMAND, event.id))
    assert span.end >= span.start
