"""A receiver of webhooks in a thread: keeps all that comes, answers as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Got(NamedTuple):
    """One delivery, as it arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:  # noqa: ANN401 - JSON
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """What came, in the order in which it came; `status` says what to answer, 204 unless told otherwise."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    status: Callable[[Got], int] = lambda _: 204
    free: threading.Event = field(default_factory=threading.Event)  # nothing is answered before it is set

    def types(self) -> list[str]:
        """Name what came."""
        return [each.said["type"] for each in self.got]

    def firsts(self) -> list[int]:
        """Give the indexes of the events that came, each where it came first."""
        return list(dict.fromkeys(each.said["index"] for each in self.got))


@contextlib.contextmanager
def receiver(*, hangs: bool = False) -> Iterator[Receiver]:
    """Listen on loopback; one that `hangs` answers nobody until it ends."""
    made = Receiver()
    if not hangs:
        made.free.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(size := int(self.headers["Content-Length"]))
            if len(body) < size:
                return  # whoever sent it was killed meanwhile
            got = Got({name.lower(): value for name, value in self.headers.items()}, body)
            made.got.append(got)
            made.free.wait(60)
            with contextlib.suppress(OSError):
                self.send_response(made.status(got))
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.free.set()
        server.shutdown()
        server.server_close()
        thread.join()
