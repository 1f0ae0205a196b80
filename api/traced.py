"""Traces of requests that lead to containers: one for each version or restart of a job that a request asked for."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterable, Mapping
from typing import Final

from api.answer import Header
from heroctl import traces
from heroctl.domain.events import Event, JobRestarted, JobSubmitted
from heroctl.traces import ROOT, Span

_CAUSES: Final = (JobSubmitted, JobRestarted)
_HEADER: Final = b"traceparent"


class Asked:
    """A request that is being answered, and what it has caused by now."""

    __slots__ = ("began", "made")

    def __init__(self) -> None:
        self.began = time.time_ns()
        self.made: list[tuple[bytes, int, int, int]] = []  # trace, index, and when its append was begun and over


_asked: Final[contextvars.ContextVar[Asked | None]] = contextvars.ContextVar("asked", default=None)


def asked() -> Asked | None:
    """Begin to measure a request; None: nobody wants to know."""
    if not traces.on():
        return None
    one = Asked()
    _asked.set(one)
    return one


def appended(events: Iterable[Event], first: int, incarnation: str, began: int) -> None:
    """Hear that events stand in the log, from this index on; the append was begun at a time in ns."""
    one = _asked.get()
    if one is None:
        return
    now = time.time_ns()
    for index, event in enumerate(events, first):
        if isinstance(event, _CAUSES):
            one.made.append((traces.trace_id(incarnation, index), index, began, now))


def answered(one: Asked, headers: Iterable[Header], said: Mapping[str, traces.Value]) -> str:
    """Tell of a request that caused something, and name the trace; nothing: it caused nothing."""
    link = _link(headers) if one.made else None
    for trace, index, began, appended_at in one.made:
        root = traces.span_id(trace, ROOT)
        start, end = traces.stretch(one.began)
        status = said.get("http.response.status_code", 0)
        failed = f"answered {status}" if isinstance(status, int) and status >= 500 else None
        name = f"{said.get('http.request.method', '')} {said.get('http.route', '')}"
        told = {**said, "heroctl.index": index}
        traces.emit(Span(name, trace, root, b"", start, end, kind="server", attributes=told, error=failed, link=link))
        own = traces.span_id(trace, "append", index)
        traces.emit(Span("append", trace, own, root, *traces.stretch(began, appended_at)))
    return one.made[0][0].hex() if one.made else ""


def _link(headers: Iterable[Header]) -> traces.Link | None:
    """Find the caller's own span: ours is linked with it, and keeps a trace that every process finds by itself."""
    for name, value in headers:
        if name == _HEADER:
            return traces.link_of(value.decode("latin-1"))
    return None
