"""Bounds of one request, before anything of it is understood: its URL, its headers, how many are open for an address.

The server cuts what it can by itself: heads that do not come, or are larger than it keeps. The rest is here, where it
gets an answer that says what is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from api.answer import PATIENCE
from heroctl.domain.errors import Refusal, TooMany


class UriTooLong(Refusal):
    """414: the path and query have more bytes than are taken."""

    status = 414


class HeadTooLarge(Refusal):
    """431: the headers have more bytes than are taken."""

    status = 431


class Bounds(Struct, frozen=True):
    """What is taken: bytes of a URL, of all headers, of a body, and open requests of one address.

    `patience`: seconds for which a client may take nothing of a stream. `exec_idle`: seconds for which nothing need be
    said of a command that is run; `exec_longest`: seconds that it may take.
    """

    url: int = 8 << 10
    head: int = 32 << 10
    body: int = 1 << 20
    connections: int = 1_000
    patience: float = PATIENCE
    exec_idle: float = 3600.0
    exec_longest: float = 43_200.0

    def judge(self, scope: Any) -> None:  # noqa: ANN401 - ASGI
        """Refuse a URL or headers that are too large."""
        if _url(scope) > self.url:
            raise UriTooLong("uri_too_long", f"path and query have at most {self.url} bytes")
        if _head(scope) > self.head:
            raise HeadTooLarge("headers_too_large", f"the headers have at most {self.head} bytes")

    def takes(self, scope: Any) -> bool:  # noqa: ANN401 - ASGI
        """Tell whether `judge` would refuse nothing."""
        return _url(scope) <= self.url and _head(scope) <= self.head


def _url(scope: Any) -> int:  # noqa: ANN401 - ASGI
    return len(scope["raw_path"] or scope["path"]) + len(scope["query_string"])


def _head(scope: Any) -> int:  # noqa: ANN401 - ASGI
    return sum(len(name) + len(value) for name, value in scope["headers"])


class Crowd:
    """How many requests are open for each address: with HTTP/1.1 each has a connection of its own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, int] = {}

    @contextlib.contextmanager
    def one_more(self, address: str) -> Iterator[None]:
        """Count a request while it is open."""
        self._open[address] = self._open.get(address, 0) + 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def check(self, address: str) -> None:
        """Raise `too_many_connections` where an address has more open than it may."""
        if self._open.get(address, 0) > self._most:
            raise TooMany(
                "too_many_connections", f"an address may have {self._most} open requests at a time", retry_after=1
            )
