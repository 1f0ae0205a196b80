"""An API in a thread: pages with an index each, long polls that wait for it, and a record of all that was asked."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

JSON: Final = "application/json"


class Request(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """Read the body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int = 200
    body: Any = None
    index: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None


def refusal(status: int, code: str, message: str, **more: Any) -> Reply:  # noqa: ANN401 - any JSON
    """Answer as the API refuses."""
    headers = {"Retry-After": more.pop("retry_after")} if "retry_after" in more else {}
    body = {"error": code, "message": message, "request_id": "req_test", **more}
    return Reply(status, body, headers=headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's signature
        """Tell what broke, unless the client just left."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class FakeApi:
    """Serves `pages` (reads) and `acts` (writes); a page may be a function of the request."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._pages: dict[str, Reply] = {}
        self._acts: dict[tuple[str, str], list[Reply | Callable[[Request], Reply]]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def page(self, path: str, body: Any, index: int = 1) -> None:  # noqa: ANN401 - any JSON
        """Put a page there, or a newer one; wakes who waits for it."""
        self.answer(path, Reply(200, body, index))

    def answer(self, path: str, reply: Reply) -> None:
        """Let reads of this path be answered so."""
        with self._changed:
            self._pages[path] = reply
            self._changed.notify_all()

    def act(self, method: str, path: str, *replies: Reply | Callable[[Request], Reply]) -> None:
        """Answer writes so, one after the other; the last for ever."""
        self._acts[method, path] = list(replies)

    def asked(self, method: str, path: str) -> list[Request]:
        """Return the requests of this kind so far."""
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def close(self) -> None:
        """Answer who still waits, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def reply(self, request: Request) -> Reply:
        """Decide the answer, after the wait that was asked for."""
        self.requests.append(request)
        acts = self._acts.get((request.method, request.path))
        if acts:
            act = acts.pop(0) if len(acts) > 1 else acts[0]
            return act(request) if callable(act) else act
        if request.method != "GET":
            return refusal(404, "not_found", "no such route")
        index = int(request.query.get("index", 0))
        wait = float(request.query.get("wait", "0s").removesuffix("s"))
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._news(request.path, index), wait if index else 0)
            return self._pages.get(request.path) or refusal(404, "not_found", "no such route")

    def _news(self, path: str, index: int) -> bool:
        page = self._pages.get(path)
        return page is None or page.status >= 400 or page.index > index


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            reply = api.reply(Request(self.command, unquote(url.path), query, dict(self.headers.items()), body))
            raw = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            headers = {"Content-Type": JSON, "X-HeroCtl-Index": str(reply.index), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _any  # noqa: N815 - the names that the library looks for

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    return Handler
