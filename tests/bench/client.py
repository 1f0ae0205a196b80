"""A plain client of the API for what a bench does around its measurements."""

from __future__ import annotations

import http.client
from typing import Any, NamedTuple

import msgspec


class Answer(NamedTuple):
    """A success: status, the topic's index, and the decoded body."""

    status: int
    at: int
    body: Any


class Api:
    """One connection to one api process, under a token."""

    def __init__(self, address: tuple[str, int], token: str = "") -> None:
        """Connect at the first request."""
        self.address = address
        self.token = token
        self._connection = http.client.HTTPConnection(*address, timeout=120)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def get(self, path: str) -> Answer:
        """Read. RuntimeError unless it succeeds."""
        return self.ask("GET", path)

    def post(self, path: str, body: object) -> Answer:
        """Write. RuntimeError unless it succeeds."""
        return self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Ask anything. RuntimeError unless the answer is a 2xx."""
        data = None if body is None else msgspec.json.encode(body)
        text, status, index = self._bytes(method, path, data)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {text[:500]!r}")
        return Answer(status, index, msgspec.json.decode(text) if text else None)

    def body(self, path: str) -> bytes:
        """Read, and leave the body as it is."""
        text, status, _ = self._bytes("GET", path, None)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {text[:500]!r}")
        return text

    def _bytes(self, method: str, path: str, data: bytes | None) -> tuple[bytes, int, int]:
        headers = {"Content-Type": "application/json"} if data else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            self._connection.request(method, path, data, headers)
            response = self._connection.getresponse()
            text = response.read()
        except OSError:
            self._connection.close()
            raise
        return text, response.status, int(response.headers.get("X-HeroCtl-Index", 0))

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
