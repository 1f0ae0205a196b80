"""Lines of workloads as OTLP log records: named by the semantic conventions, made by OpenTelemetry's own classes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.sdk.resources import OTELResourceDetector

from agents.log_origin import Forwarded, Origin
from heroctl.domain.logs import Line
from heroctl.otlp.post import Post

SCOPE: Final = "heroctl.agent"


class LogPost:
    """Sends lines. What `OTEL_RESOURCE_ATTRIBUTES` says is said of each, where the lines' origin says nothing else."""

    def __init__(self, post: Post) -> None:
        self._post = post
        said = OTELResourceDetector().detect().attributes
        self._more = {name: str(value) for name, value in said.items() if name != "service.name"}

    async def send(self, lines: list[Forwarded]) -> int:
        """Send a batch, and tell how many of it were not taken. Raises Away and Refused."""
        answer = await self._post.send(encoded(lines, self._more))
        try:
            told = ExportLogsServiceResponse.FromString(answer)
        except ValueError:  # DecodeError: it was taken, and answered by something else than a collector
            return 0
        refused: int = told.partial_success.rejected_log_records
        return max(0, min(refused, len(lines)))

    async def close(self) -> None:
        """End."""
        await self._post.close()


def encoded(lines: Iterable[Forwarded], more: Mapping[str, str]) -> bytes:
    """Make one message of lines, those of one origin together."""
    by_origin: dict[Origin, list[LogRecord]] = {}
    now = time.time_ns()
    for origin, line in lines:
        by_origin.setdefault(origin, []).append(_record(line, now))
    scope = InstrumentationScope(name=SCOPE)
    message = ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=_attributes({**more, **_named(origin)})),
                scope_logs=[ScopeLogs(scope=scope, log_records=records)],
            )
            for origin, records in by_origin.items()
        ]
    )
    return bytes(message.SerializeToString())


def _named(origin: Origin) -> dict[str, str]:
    """Name it by the semantic conventions, and what these do not know by our own words."""
    return {
        "service.name": origin.job,
        "service.namespace": origin.namespace,
        "service.instance.id": origin.alloc,
        "container.id": origin.container,
        "host.name": origin.node,
        "host.id": origin.node_id,
        "heroctl.task": origin.task,
    }


def _record(line: Line, now: int) -> LogRecord:
    said = []
    if line.source != "system":
        said.append(KeyValue(key="log.iostream", value=AnyValue(string_value=line.source)))
    if line.partial:
        said.append(KeyValue(key="heroctl.partial", value=AnyValue(bool_value=True)))
    if line.dropped:
        said.append(KeyValue(key="heroctl.dropped", value=AnyValue(int_value=line.dropped)))
    severity = SeverityNumber.SEVERITY_NUMBER_WARN if line.dropped else SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED
    return LogRecord(
        time_unix_nano=line.time * 1_000_000,
        observed_time_unix_nano=now,
        severity_number=severity,
        body=AnyValue(string_value=line.text),
        attributes=said,
    )


def _attributes(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in values.items()]
