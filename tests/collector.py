"""A collector of OpenTelemetry on loopback: takes OTLP over HTTP, decodes it, and answers as it is told."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

Does = Literal["answer", "hang", "pour", "redirect"]


class LogLine(NamedTuple):
    """A log record, and the resource it is of."""

    resource: dict[str, Any]
    attributes: dict[str, Any]
    text: str
    time_ns: int
    severity: int


class Span(NamedTuple):
    """A span, and the resource it is of."""

    resource: dict[str, Any]
    attributes: dict[str, Any]
    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    links: list[tuple[str, str]]
    failed: bool
    message: str


class Answer(NamedTuple):
    """What is answered."""

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


@dataclass
class Collector:
    """`does`: what becomes of whoever comes; `answer`: by the number of the request, from 1 on."""

    url: str = ""
    does: Does = "answer"
    answer: Callable[[int], Answer] = lambda _: Answer()
    asked: int = 0
    times: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)  # of those requests alone that were answered with 200
    spans: list[Span] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def texts(self) -> list[str]:
        """Give the lines that came."""
        return [each.text for each in self.logs]

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Take a request."""
        self.asked += 1
        self.times.append(time.monotonic())
        self.headers.append(headers)
        answer = self.answer(self.asked)
        if answer.status == 200:
            data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            assert headers["content-type"] == "application/x-protobuf"
            if path == "/v1/logs":
                self.logs += _logs(data)
            elif path == "/v1/traces":
                self.spans += _spans(data)
            else:
                return Answer(404)
        return answer


@contextlib.contextmanager
def collector(does: Does = "answer", port: int = 0) -> Iterator[Collector]:
    """Listen on loopback."""
    made = Collector(does=does)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if made.does == "hang":
                made.asked += 1
                made.over.wait(60)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            with contextlib.suppress(OSError):
                if made.does == "pour":
                    self._pour()
                    return
                if made.does == "redirect":
                    self._say(Answer(307, {"Location": f"{made.url}/v1/logs"}))
                    return
                self._say(made.take(self.path, headers, body))

        def _say(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def _pour(self) -> None:
            """Answer without an end."""
            made.asked += 1
            self.send_response(200)
            self.end_headers()
            while not made.over.is_set():
                self.wfile.write(b"x" * 65536)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def loaded_by(module: str) -> list[str]:
    """Name what a module loads of OpenTelemetry, but for what the client of Redis loads where it is installed."""
    script = (
        "import sys, redis.asyncio; before = set(sys.modules)\n"
        f"import {module}\n"
        "print(*(n for n in sorted(set(sys.modules) - before) if n.startswith(('opentelemetry', 'google.protobuf'))))"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def _logs(data: bytes) -> Iterator[LogLine]:
    for group in ExportLogsServiceRequest.FromString(data).resource_logs:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_logs:
            for record in scope.log_records:
                said = _attributes(record.attributes)
                severity = int(record.severity_number)
                yield LogLine(resource, said, record.body.string_value, record.time_unix_nano, severity)


def _spans(data: bytes) -> Iterator[Span]:
    for group in ExportTraceServiceRequest.FromString(data).resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _span(resource, span)


def _span(resource: dict[str, Any], span: SpanMessage) -> Span:
    return Span(
        resource,
        _attributes(span.attributes),
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.status.code == 2,
        span.status.message,
    )


def _attributes(said: Any) -> dict[str, Any]:  # noqa: ANN401 - a repeated field of protobuf
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in said}
