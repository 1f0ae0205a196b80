"""The first start of an allocation as spans of its trace: heard of, pulled, made, started, healthy.

Later attempts are none of it: who asked for the allocation waits for the first one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from agents.record import Record
from agents.step import Action, Pull, Start
from heroctl import traces
from heroctl.domain.assignment import Assigned
from heroctl.domain.lifecycle import Health
from heroctl.traces import COMMAND, Place, Span

_ENDED: Final = frozenset({"ended", "failed", "complete", "stopping"})


class Story:
    """What is measured of one allocation; nothing, once it is over or where nobody wants to know."""

    def __init__(self, record: Record) -> None:
        self._waits = traces.on() and record.phase == "pending" and not record.attempt
        self._began = time.time_ns() if self._waits else 0
        self._running = 0  # since when it runs: ns since the epoch
        self._assigned: Assigned | None = None
        self._place: Place | None = None  # of the spans below its own
        self._acting = False
        self._fault = ""  # why it came to an end

    @property
    def trace(self) -> dict[str, str]:
        """Name the trace, for the log."""
        return {"trace_id": self._place.trace.hex()} if self._place is not None else {}

    @contextlib.contextmanager
    def doing(self, action: Action, assigned: Assigned | None, incarnation: str) -> Iterator[None]:
        """Measure an action."""
        if not self._waits or assigned is None or not assigned.cause:
            yield
            return
        self._open(assigned, incarnation)
        self._acting = True
        try:
            with self._measured(action):
                yield
        finally:
            self._acting = False
            if self._fault:
                self._close(self._fault)

    @contextlib.contextmanager
    def _measured(self, action: Action) -> Iterator[None]:
        with traces.under(self._place):
            if isinstance(action, Pull):
                with traces.span("image pull", **{"container.image.name": action.image}):
                    yield
            elif isinstance(action, Start):
                with traces.span("container"):
                    yield
            else:
                yield

    def _open(self, assigned: Assigned, incarnation: str) -> None:
        """Begin with the time since it was heard of."""
        if self._place is not None:
            return
        self._assigned = assigned
        trace = traces.trace_id(incarnation, assigned.cause)
        own = traces.span_id(trace, "allocation", assigned.id)
        self._place = Place(trace, own, (assigned.id,))
        self._emit("receive", own, *traces.stretch(self._began))

    def became(self, record: Record) -> None:
        """Hear of another phase."""
        if self._place is None or not self._waits:
            return
        if record.phase == "running" and not self._running:
            self._running = time.time_ns()
        elif record.phase in _ENDED:
            self._fault = f"{record.reason or record.phase}: {record.message}".rstrip(": ")
            if not self._acting:  # else the span of what failed comes first
                self._close(self._fault)

    def felt(self, health: Health) -> None:
        """Hear how it is: healthy is what everybody waits for."""
        if health == "healthy" and self._running and self._waits and self._place is not None:
            self._emit("healthy", self._place.parent, *traces.stretch(self._running))
            self._close(None)

    def _close(self, error: str | None) -> None:
        self._waits = False
        if self._place is not None and self._assigned is not None:
            trace, own, assigned = self._place.trace, self._place.parent, self._assigned
            above = traces.span_id(trace, COMMAND, assigned.id)
            told: dict[str, traces.Value] = {
                "heroctl.alloc": assigned.id,
                "heroctl.namespace": assigned.namespace,
                "heroctl.job": assigned.job,
                "heroctl.task": assigned.task,
                "heroctl.node": assigned.node,
                "heroctl.version": assigned.version,
            }
            whole = traces.stretch(self._began)
            traces.emit(Span("allocation", trace, own, above, *whole, kind="consumer", attributes=told, error=error))

    def _emit(self, name: str, parent: bytes, start: int, end: int) -> None:
        if self._place is not None:
            trace = self._place.trace
            own = traces.span_id(trace, name, *self._place.words)
            traces.emit(Span(name, trace, own, parent, start, end))
