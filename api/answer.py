"""An answer: status, headers and a whole body. The one thing that handlers return, and that is sent as it is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import msgspec

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
COMPRESSED_FROM: Final = 1024  # bytes of a body
_VARY: Final[Header] = (b"vary", b"accept-encoding")
_ENCODER: Final = msgspec.json.Encoder()


class Answer:
    """A JSON answer; its two messages are made once, so that one answer may be sent to any number of clients.

    `index` becomes `X-HeroCtl-Index`. `packed`: the same, compressed; itself where that does not pay.
    """

    __slots__ = ("body", "end", "headers", "packed", "status")

    def __init__(self, body: bytes, status: int = 200, *, index: int = 0, headers: Iterable[Header] = ()) -> None:
        self.status = status
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
    """An answer that is made while it is sent: lines of JSON, one after the other, each when it comes."""

    __slots__ = ("_lines",)

    def __init__(self, lines: AsyncGenerator[bytes]) -> None:
        super().__init__(b"")
        self.headers = [(b"content-type", b"application/x-ndjson"), *_GUARDS]
        self._lines = lines

    async def finish(self, send: Send) -> None:
        """Send all lines; whoever makes them is told when that ends early."""
        async with contextlib.aclosing(self._lines) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send(self.end)


def answer(value: Any, status: int = 200, *, index: int = 0, headers: Iterable[Header] = ()) -> Answer:  # noqa: ANN401 - whatever has JSON
    """Make an answer of anything that msgspec can write as JSON."""
    return Answer(_ENCODER.encode(value), status, index=index, headers=headers)
