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
        if not 200 <= response.status < 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:500]!r}")
        index = int(response.headers.get("X-HeroCtl-Index", 0))
        return Answer(response.status, index, msgspec.json.decode(text) if text else None)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
