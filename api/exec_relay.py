"""Passes on what a caller and an agent have to say to one another, as fast as the slower one reads, and counts it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from api.socket import Gone, Socket
from heroctl.domain.execs import Data, Exit, Fault, NotUnderstood, Start, asked, said

AHEAD: Final = 16  # messages of a caller that wait to be passed on, at most
LEFT = Fault("exec_left", "who had it run has left")
LOST = Fault("exec_lost", "the agent that ran it has gone: whether it ended, and how, is not known")


@dataclass(slots=True)
class Tally:
    """Bytes that were passed on each way, and when the last of them were (the loop's time)."""

    moved: float
    received: int = 0
    sent: int = 0

    def count(self, *, received: int = 0, sent: int = 0) -> None:
        """Count some more."""
        self.moved = asyncio.get_running_loop().time()
        self.received += received
        self.sent += sent


class Caller:
    """Who has a command run. Somebody listens all the time, so that it is known when they leave."""

    def __init__(self, socket: Socket) -> None:
        self.left = asyncio.Event()
        self._socket = socket
        self._said: asyncio.Queue[str | bytes] = asyncio.Queue(AHEAD)

    async def listen(self) -> None:
        """Hear what they say, some of it before anybody wants to know."""
        with contextlib.suppress(Gone):
            while True:
                await self._said.put(await self._socket.take())
        self.left.set()

    async def take(self) -> str | bytes:
        """Give the next message."""
        return await self._said.get()

    async def put(self, message: str | bytes) -> None:
        """Send a message. Raises Gone."""
        await self._socket.put(message)

    async def away(self) -> Fault:
        """Say so when they have left."""
        await self.left.wait()
        return LEFT


@contextlib.asynccontextmanager
async def heard(socket: Socket) -> AsyncIterator[Caller]:
    """Listen to a caller."""
    caller = Caller(socket)
    listening = asyncio.create_task(caller.listen())
    try:
        yield caller
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def relay(caller: Caller, agent: Socket, tally: Tally) -> Exit | Fault:
    """Pass on until the agent says how it ended, or one of them has left; that is told to nobody yet."""
    up, down = asyncio.create_task(_up(caller, agent, tally)), asyncio.create_task(_down(agent, caller, tally))
    ways = [down, up, asyncio.create_task(caller.away())]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if done == {up} and up.result() is LOST:
            await asyncio.wait([down], timeout=1)  # what it said last may still be on its way
        return next(way for way in ways if way.done()).result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _up(caller: Caller, agent: Socket, tally: Tally) -> Fault:
    while True:
        try:
            message = await caller.take()
            thing = asked(message)
        except NotUnderstood as error:
            return Fault("invalid_body", f"what was sent cannot be understood: {error}")
        if isinstance(thing, Start):
            return Fault("invalid_body", "a command is begun once")
        tally.count(received=len(thing.data) if isinstance(thing, Data) else 0)
        try:
            await agent.put(message)
        except Gone:
            return LOST


async def _down(agent: Socket, caller: Caller, tally: Tally) -> Exit | Fault:
    while True:
        try:
            message = await agent.take()
            thing = said(message)
        except (Gone, NotUnderstood):
            return LOST
        if isinstance(thing, Exit | Fault):
            return thing
        tally.count(sent=len(thing.data) if isinstance(thing, Data) else 0)
        try:
            await caller.put(message)
        except Gone:
            return LEFT
