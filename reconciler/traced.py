"""Traces of what the coordinator decides: the pass that placed something, its append, and when each node was told.

An allocation's spans hang in the trace of what caused it, below the request that asked; see `heroctl.traces`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from eventstore.log import Appended
from eventstore.view import Change
from heroctl import traces
from heroctl.domain.assign import cause_of
from heroctl.domain.events import AllocPlaced, Event
from heroctl.domain.state import State
from heroctl.traces import COMMAND, ROOT, Span

_MOST: Final = 10_000  # allocations whose nodes were not told yet


class When(NamedTuple):
    """When a pass began, and when it began to append: ns since the epoch."""

    pass_began: int
    append_began: int


class _Issued(NamedTuple):
    trace: bytes
    alloc: str
    node: str
    at: int


def decided(state: State, events: Iterable[Event], place: Appended, when: When) -> str:
    """Tell of a decision that placed something, and name the trace; nothing: it placed nothing."""
    if not traces.on():
        return ""
    now = time.time_ns()
    placed = [event for event in events if isinstance(event, AllocPlaced)]
    by_trace: dict[bytes, list[AllocPlaced]] = {}
    for event in placed:
        cause = cause_of(state, event.uid, event.version, event.deployment)
        if cause:
            by_trace.setdefault(traces.trace_id(state.incarnation, cause), []).append(event)
    for trace, ones in by_trace.items():
        own = traces.span_id(trace, "pass", place.first)
        told: dict[str, traces.Value] = {
            "heroctl.job": ones[0].job,
            "heroctl.namespace": ones[0].namespace,
            "heroctl.placed": len(ones),
        }
        root, whole = traces.span_id(trace, ROOT), traces.stretch(when.pass_began, now)
        traces.emit(Span("pass", trace, own, root, *whole, attributes={**told, "heroctl.index": place.first}))
        append = traces.span_id(trace, "append", place.first)
        traces.emit(Span("append", trace, append, own, *traces.stretch(when.append_began, now)))
    return next(iter(by_trace), b"").hex()


class Commands:
    """Measures from the moment at which this process knows of a placement until its node was told.

    `rings`: whether nodes are told at all, or come and ask.
    """

    def __init__(self, coordinates: Callable[[], bool], *, rings: bool) -> None:
        self._coordinates = coordinates
        self._rings = rings
        self._issued: dict[str, _Issued] = {}  # by allocation

    def heard(self, state: State, change: Change) -> None:
        """Note what was placed."""
        if not traces.on():
            return
        if change.reloaded or not self._coordinates():
            self._issued.clear()
            return
        for record in change.records:
            event = record.event
            if not isinstance(event, AllocPlaced) or len(self._issued) >= _MOST:
                continue
            cause = cause_of(state, event.uid, event.version, event.deployment)
            if cause:
                trace = traces.trace_id(state.incarnation, cause)
                self._issued[event.id] = _Issued(trace, event.id, event.node, time.time_ns())
        if not self._rings:
            self.rung({issued.node for issued in self._issued.values()})

    def rung(self, nodes: Collection[str]) -> None:
        """Hear that nodes were told, or that it was tried."""
        for issued in [each for each in self._issued.values() if each.node in nodes]:
            del self._issued[issued.alloc]
            own = traces.span_id(issued.trace, COMMAND, issued.alloc)
            told = {"heroctl.alloc": issued.alloc, "heroctl.node": issued.node}
            span = traces.stretch(issued.at)
            root = traces.span_id(issued.trace, ROOT)
            traces.emit(Span("command", issued.trace, own, root, *span, kind="producer", attributes=told))
