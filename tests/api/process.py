"""A real api process over a real Postgres and Valkey, and plain sockets to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.api.rig import MASTER_KEYS
from tests.e2e.parts import Part
from tests.servers import free_port
from tests.waiting import until

# One machine and one token ask for what a cluster's clients ask for.
PLENTY: Final = (
    "--limit-admin=1000000",
    "--limit-address=1000000",
    "--token-waiters=100000",
    "--address-connections=100000",
)
_STARTED: Final = 30.0  # seconds


@dataclass(slots=True)
class Api:
    """One api process. `token` is its admin's."""

    part: Part
    port: int
    password_file: Path
    token: str = ""
    scheme: str = "http"
    verify: bool = True
    _client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self._client = httpx2.Client(base_url=self.url, verify=self.verify, timeout=30)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """The admin's password."""
        return self.password_file.read_text().strip()

    def start(self) -> None:
        """Start it, wait until it is ready, and log in."""
        self.part.start()
        until(self._ready, timeout=_STARTED, what=f"readiness of {self.part.name}")
        self.token = self.login()

    def login(self) -> str:
        """Log in as admin; return the token."""
        return str(self.ask("POST", "/v1/auth/login", {"username": "admin", "password": self.password})["token"])

    def ask(self, method: str, path: str, body: object = None, *, status: int = 200, token: str | None = None) -> Any:  # noqa: ANN401 - JSON
        """Ask, and return the body; the status must be as given."""
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        reply = self._client.request(method, path, json=body, headers=headers)
        assert reply.status_code == status, (reply.status_code, reply.text, self.part.tail())
        return reply.json()

    def index(self, path: str) -> int:
        """Return the index of a page."""
        reply = self._client.get(path, headers={"Authorization": f"Bearer {self.token}"})
        return int(reply.headers["x-heroctl-index"])

    def said(self, event: str) -> dict[str, Any]:
        """Find the log line of an event."""
        text = self.part.log.read_text()
        found = re.findall(rf'^\{{.*"event": ?"{event}".*$', text, flags=re.MULTILINE)
        assert found, self.part.tail()
        return dict(json.loads(found[-1]))

    def close(self) -> None:
        """End it, in whatever state it is."""
        self._client.close()
        if self.part.runs:
            self.part.kill9()

    def _ready(self) -> bool:
        assert self.part.runs, f"it ended while starting:\n{self.part.tail()}"
        try:
            return self._client.get("/v1/health/ready").status_code == 200
        except httpx2.HTTPError:
            return False


@contextlib.contextmanager
def api(folder: Path, dsn: str, redis_url: str = "", *flags: str, **environ: str) -> Iterator[Api]:
    """Run an api process; `flags` are more of its flags."""
    port, name = free_port(), f"api-{secrets.token_hex(3)}"
    password = folder / "password"
    given = ("--dsn", dsn, "--listen", f"127.0.0.1:{port}", "--admin-password-file", str(password), *PLENTY, *flags)
    redis = ("--redis-url", redis_url) if redis_url else ()
    secure = "--tls-cert" in flags
    made = Api(
        Part(
            name,
            "api",
            (*given, *redis),
            folder,
            {"HEROCTL_REGISTRIES": "", "HEROCTL_SECRETS_KEYS": MASTER_KEYS[0], **environ},
        ),
        port,
        password,
        scheme="https" if secure else "http",
        verify=not secure,
    )
    try:
        made.start()
        yield made
    finally:
        made.close()


class Watcher(asyncio.Protocol):
    """A raw client with one request, usually a long poll; what it hears is kept."""

    def __init__(self, request: bytes) -> None:
        self.heard = b""
        self.answered = asyncio.Event()
        self.closed = asyncio.Event()
        self._request = request
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Keep what comes."""
        self.heard += data
        self.answered.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that it is over."""
        del exc
        self.closed.set()
        self.answered.set()

    @property
    def status(self) -> int:
        """The status of the answer; 0: none came."""
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", self.heard)
        return int(found[1]) if found else 0

    def reset(self) -> None:
        """Leave without a word."""
        assert self._transport is not None
        raw: socket.socket = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def watch(made: Api, path: str, count: int, headers: Mapping[str, str] | None = None) -> list[Watcher]:
    """Open so many connections and ask each for a path."""
    lines = {"Host": "x", "Authorization": f"Bearer {made.token}", **(headers or {})}
    request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    loop = asyncio.get_running_loop()
    watchers: list[Watcher] = []
    for start in range(0, count, 100):
        made_now = await asyncio.gather(
            *(
                loop.create_connection(lambda: Watcher(request.encode()), "127.0.0.1", made.port)
                for _ in range(min(100, count - start))
            )
        )
        watchers += [watcher for _, watcher in made_now]
    return watchers
