"""A WebSocket on its way through a handler: messages in order, each way, and its end."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from api.answer import Answer, Header, Message, Receive, Send

NORMAL: Final = 1000
GOING: Final = 1001  # this process ends
REFUSED: Final = 1008
BROKEN: Final = 1011  # what was there at the other end is gone


class Gone(Exception):  # noqa: N818 - people hang up
    """The peer has left."""


class Socket:
    """One connection, taken over once it is `accept`ed. Sending waits for as long as the peer does not read."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._sending = asyncio.Lock()
        self._over = False
        self.accepted = False

    async def accept(self, protocol: str) -> None:
        """Take it. Raises Gone."""
        await self._next("websocket.connect")
        self.accepted = True
        await self._tell({"type": "websocket.accept", "subprotocol": protocol, "headers": []})

    async def refuse(self, answer: Answer, headers: list[Header]) -> None:
        """Answer as if it were a plain request, in place of taking it."""
        self._over = True
        await self._receive()
        for message in (answer.start(*headers), answer.end):
            await self._send({**message, "type": f"websocket.{message['type']}"})

    async def take(self) -> str | bytes:
        """Give the next message. Raises Gone."""
        message = await self._next("websocket.receive")
        text: str | None = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    async def put(self, message: str | bytes) -> None:
        """Send a message. Raises Gone."""
        kind = "text" if isinstance(message, str) else "bytes"
        await self._tell({"type": "websocket.send", kind: message})

    async def close(self, code: int, reason: str = "") -> None:
        """End it, with a reason of at most 120 bytes; if it has not ended yet."""
        if not self._over:
            self._over = True
            said = reason.encode()[:120].decode(errors="ignore")
            await self._send({"type": "websocket.close", "code": code, "reason": said})

    async def _next(self, kind: str) -> Message:
        message: dict[str, Any] = await self._receive()
        if message["type"] != kind:
            self._over = True
            raise Gone
        return message

    async def _tell(self, message: Message) -> None:
        async with self._sending:
            if self._over:
                raise Gone
            try:
                await self._send(message)
            except Exception as error:  # whatever the server's word for it: nobody is there to hear
                self._over = True
                raise Gone from error
