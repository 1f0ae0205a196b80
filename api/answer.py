"""An answer: status, headers and a whole body. The one thing that handlers return, and that is sent as it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import msgspec
import structlog

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Header = tuple[bytes, bytes]

INDEX: Final = b"x-heroctl-index"
_JSON: Final[Header] = (b"content-type", b"application/json")
_GUARDS: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
PATIENCE: Final = 20.0  # seconds that a client may take nothing of what is sent
COMPRESSED_FROM: Final = 1024  # bytes of a body
_VARY: Final[Header] = (b"vary", b"accept-encoding")
_log: Final = structlog.get_logger(__name__)
_ENCODER: Final = msgspec.json.Encoder()


class Answer:
    """A JSON answer; its two messages are made once, so that one answer may be sent to any number of clients.

    `index` becomes `X-HeroCtl-Index`. `packed`: the same, compressed; itself where that does not pay.
    """

    __slots__ = ("body", "end", "headers", "index", "packed", "status")

    def __init__(self, body: bytes, status: int = 200, *, index: int = 0, headers: Iterable[Header] = ()) -> None:
        self.status = status
        self.index = index
        self.body = body
        self.end: Message = {"type": "http.response.body", "body": body}
        self.packed: Answer | None = None
        own = [_JSON, (b"content-length", b"%d" % len(body)), *_GUARDS, *headers]
        if len(body) >= COMPRESSED_FROM:
            own.append(_VARY)
        if index:
            own.append((INDEX, b"%d" % index))
        self.headers = own

    async def finish(self, send: Send) -> None:
        """Send what follows the first message."""
        await send(self.end)

    def start(self, *more: Header) -> Message:
        """Make the first message, with the headers that belong to one request."""
        return {"type": "http.response.start", "status": self.status, "headers": [*self.headers, *more]}


def empty(status: int, *headers: Header) -> Answer:
    """Make an answer that has no body, nor anything to say of one."""
    made = Answer(b"", status)
    made.headers = [*_GUARDS, *headers]
    return made


class Flow(Answer):
    """An answer that is made while it is sent: lines of JSON, or messages of a stream, each when it comes.

    A client that takes none of it for `patience` seconds is cut.
    """

    __slots__ = ("_lines", "_patience")

    def __init__(
        self,
        lines: AsyncGenerator[bytes],
        media: bytes = b"application/x-ndjson",
        *,
        index: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(b"")
        self.headers = [(b"content-type", media), (b"x-accel-buffering", b"no"), *_GUARDS]
        if index:
            self.headers.append((INDEX, b"%d" % index))
        self._lines = lines
        self._patience = patience

    async def finish(self, send: Send) -> None:
        """Send all lines; whoever makes them is told when that ends early."""
        try:
            async with contextlib.aclosing(self._lines) as lines:
                async for line in lines:
                    async with asyncio.timeout(self._patience):
                        await send({"type": "http.response.body", "body": line, "more_body": True})
        except TimeoutError:
            _log.warning("slow_reader_cut", seconds=self._patience)
            return
        await send(self.end)


def answer(value: Any, status: int = 200, *, index: int = 0, headers: Iterable[Header] = ()) -> Answer:  # noqa: ANN401 - whatever has JSON
    """Make an answer of anything that msgspec can write as JSON."""
    return Answer(_ENCODER.encode(value), status, index=index, headers=headers)
