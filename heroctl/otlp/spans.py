"""Spans in OTLP's words, made by OpenTelemetry's own classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status as State
from opentelemetry.sdk.resources import OTELResourceDetector

from heroctl.otlp.post import Post
from heroctl.traces import Span, Value

SCOPE: Final = "heroctl"
_KINDS: Final = {
    "internal": Message.SPAN_KIND_INTERNAL,
    "server": Message.SPAN_KIND_SERVER,
    "producer": Message.SPAN_KIND_PRODUCER,
    "consumer": Message.SPAN_KIND_CONSUMER,
}
_SAMPLED: Final = 1  # of a span's flags


class SpanPost:
    """Sends spans of one process. `resource` names it; `OTEL_RESOURCE_ATTRIBUTES` and `_SERVICE_NAME` say it better."""

    def __init__(self, post: Post, resource: Mapping[str, str]) -> None:
        self._post = post
        said = {name: str(value) for name, value in OTELResourceDetector().detect().attributes.items()}
        self._resource = {**resource, **said}

    async def send(self, spans: list[Span]) -> None:
        """Send a batch. Raises Away and Refused."""
        await self._post.send(encoded(spans, self._resource))

    async def close(self) -> None:
        """End."""
        await self._post.close()


def encoded(spans: Iterable[Span], resource: Mapping[str, str]) -> bytes:
    """Make one message of spans."""
    scoped = ScopeSpans(scope=InstrumentationScope(name=SCOPE), spans=[_message(span) for span in spans])
    told = ResourceSpans(resource=Resource(attributes=_attributes(resource)), scope_spans=[scoped])
    return bytes(ExportTraceServiceRequest(resource_spans=[told]).SerializeToString())


def _message(span: Span) -> Message:
    links = [] if span.link is None else [Message.Link(trace_id=span.link.trace, span_id=span.link.span)]
    status = State() if span.error is None else State(code=State.STATUS_CODE_ERROR, message=span.error)
    return Message(
        trace_id=span.trace,
        span_id=span.id,
        parent_span_id=span.parent,
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end,
        attributes=_attributes(span.attributes),
        links=links,
        status=status,
        flags=_SAMPLED,
    )


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
