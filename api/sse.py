"""Streams of server-sent events: what all of them have in common, whatever they tell.

A stream says something at least every 15 s, ends when its token or the process does and says why, and goes on with
other rights where those have changed. Whoever reads too slowly is cut by `Flow`, and resumes with the id it saw last.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final, Literal, Protocol

import msgspec

from api.access import Principal, allows
from api.answer import Flow, Header
from api.call import Call
from api.contract import STREAM
from eventstore.waiters import Woken

HEARTBEAT: Final = 15.0  # seconds
LAST_ID: Final = b"last-event-id"
_BEAT: Final = b":\n\n"
_BEGIN: Final = b"retry: 1000\n\n"  # ms after which a client comes back; and the headers are sent at once

End = Literal["drain", "token_expired", "token_revoked", "forbidden"]


class Pump(Protocol):
    """Where the messages of one stream come from."""

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Be read meanwhile."""
        ...

    async def take(self) -> bytes:
        """Give the messages that are there, or some of them; none: there are none just now."""
        ...

    async def wait(self, seconds: float, ended: asyncio.Future[Any]) -> Woken:
        """Wait until there may be some, at most so long, and no longer than until `ended` is done."""
        ...

    def admit(self, who: Principal) -> None:
        """Go on for a reader whose rights have changed."""
        ...


def message(data: Any, *, event: str = "", id: str = "") -> bytes:  # noqa: A002, ANN401 - the standard's word; JSON
    """Write one message of a stream."""
    head = (f"id: {id}\n" if id else "") + (f"event: {event}\n" if event else "")
    return b"%bdata: %b\n\n" % (head.encode(), msgspec.json.encode(data))


def wanted(call: Call) -> bool:
    """Tell whether a stream is asked for, by `?stream=true` or by what the client accepts."""
    stream = call.args.get("stream", "")
    return stream == "true" or (not stream and any(STREAM.encode() in v for n, v in call.headers if n == b"accept"))


def last_id(call: Call) -> str:
    """Give the id that the client saw last; "": it comes for the first time."""
    return next((value.decode("latin-1").strip() for name, value in call.headers if name == LAST_ID), "")


def stream(call: Call, pump: Pump, *, index: int = 0, headers: tuple[Header, ...] = ()) -> Flow:
    """Answer with a stream of what a pump gives. Raises `too_many_streams`."""
    call.parts.waiters.check(call.principal)
    flow = Flow(_messages(call, pump), STREAM.encode(), index=index, patience=call.parts.bounds.patience)
    flow.headers += headers
    return flow


async def _messages(call: Call, pump: Pump) -> AsyncGenerator[bytes]:
    parts = call.parts
    end: End | None = None
    yield _BEGIN
    with pump.reading():
        while end is None:
            who = call.principal
            with parts.waiters.hold(who, call.receive) as leaving:
                async with contextlib.aclosing(_while(leaving, pump, who.until - parts.clock())) as messages:
                    async for each in messages:
                        yield each
                if leaving.done() and not leaving.cancelled():
                    return  # nobody is there any more
            end = admitted_again(call)
            pump.admit(call.principal)
    yield message({"reason": end}, event="drain" if end == "drain" else "end")


async def _while(leaving: asyncio.Future[None], pump: Pump, seconds: float) -> AsyncGenerator[bytes]:
    """Give messages until somebody leaves or has to, at most for so long."""
    loop = asyncio.get_running_loop()
    said = loop.time()
    ends = said + seconds
    while not leaving.done() and (now := loop.time()) < ends:
        messages = await pump.take()
        if not messages and now >= said + HEARTBEAT:
            messages = _BEAT
        if messages:
            said = loop.time()
            yield messages
        else:
            await pump.wait(max(0.0, min(said + HEARTBEAT, ends) - now), leaving)


def admitted_again(call: Call) -> End | None:
    """Say why a stream ends that was interrupted; None: it goes on, for its reader as it is now."""
    if call.parts.waiters.draining:
        return "drain"
    if call.principal.until <= call.parts.clock():
        return "token_expired"
    now = call.parts.gate.now(call.principal)
    if now is None:
        return "token_revoked"
    call.principal = now
    return None if allows(call.access, now) else "forbidden"
