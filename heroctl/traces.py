"""Spans: what took how long between a request and the containers that it led to. Off, and then free, unless begun.

All that one request caused is one trace. Its id is made of the history's incarnation and the index of the event that
was asked for, and so are the ids of the spans that others hang theirs under: every process finds them by itself.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from msgspec import Struct

Kind = Literal["internal", "server", "producer", "consumer"]
Value = str | int | bool

ROOT: Final = "request"  # words that spans' ids are made of, where others hang theirs below
COMMAND: Final = "command"
_PARENT: Final = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


class Link(NamedTuple):
    """A span of somebody else's trace."""

    trace: bytes
    span: bytes


class Span(Struct, frozen=True, gc=False):
    """Something that took a while, from `start` to `end`: ns since the epoch."""

    name: str
    trace: bytes
    id: bytes
    parent: bytes
    start: int
    end: int
    kind: Kind = "internal"
    attributes: Mapping[str, Value] = MappingProxyType({})
    error: str | None = None  # why it failed; None: it did not
    link: Link | None = None


class Place(NamedTuple):
    """Where spans are hung: a trace, and the span above. `words` tell those of one name apart."""

    trace: bytes
    parent: bytes
    words: tuple[str | int, ...] = ()


class _Told:
    """Who takes spans in this process. None: nobody, nothing is measured."""

    sink: Callable[[Span], object] | None = None


_here: Final[contextvars.ContextVar[Place | None]] = contextvars.ContextVar("place", default=None)


def begin(sink: Callable[[Span], object] | None) -> None:
    """Give spans to somebody from here on; None: to nobody."""
    _Told.sink = sink


def on() -> bool:
    """Tell whether anybody takes spans."""
    return _Told.sink is not None


def emit(span: Span) -> None:
    """Give a span to whoever takes them."""
    if _Told.sink is not None:
        _Told.sink(span)


def trace_id(incarnation: str, cause: int) -> bytes:
    """Name the trace of the version that the event at an index made."""
    return hashlib.blake2b(f"{incarnation}/{cause}".encode(), digest_size=16, person=b"heroctl trace").digest()


def span_id(trace: bytes, *words: str | int) -> bytes:
    """Name a span of a trace by what it is about."""
    return hashlib.blake2b("/".join(map(str, words)).encode(), key=trace, digest_size=8).digest()


def stretch(start: int, end: int | None = None) -> tuple[int, int]:
    """Give beginning and end, now unless given, in this order, whatever the clock did meanwhile."""
    return start, max(start, time.time_ns() if end is None else end)


def link_of(traceparent: str) -> Link | None:
    """Read the W3C's header; None: it is none, or names nothing."""
    found = _PARENT.fullmatch(traceparent.strip().lower())
    if found is None or traceparent.startswith("ff"):
        return None
    trace, span = bytes.fromhex(found["trace"]), bytes.fromhex(found["span"])
    return Link(trace, span) if any(trace) and any(span) else None


@contextlib.contextmanager
def under(place: Place | None) -> Iterator[None]:
    """Hang spans here that are made within; None: nobody wants them."""
    token = _here.set(place)
    try:
        yield
    finally:
        _here.reset(token)


@contextlib.contextmanager
def span(name: str, **attributes: Value) -> Iterator[None]:
    """Measure what is done within, and hang it under what is around it. Nothing, where nobody asked.

    Of what is raised the kind alone is told: its words may hold what was given in confidence.
    """
    place = _here.get() if _Told.sink is not None else None
    if place is None:
        yield
        return
    began, error = time.time_ns(), None
    own = span_id(place.trace, *place.words, name, began)
    try:
        with under(Place(place.trace, own, place.words)):
            yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        emit(Span(name, place.trace, own, place.parent, *stretch(began), attributes=attributes, error=error))
