"""Passes on what a caller and an agent have to say to one another, as fast as the slower one reads, and counts it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from api.socket import Gone, Socket
from heroctl.domain.execs import Data, Exit, Fault, NotUnderstood, Start, asked, said

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


async def relay(caller: Socket, agent: Socket, tally: Tally) -> Exit | Fault:
    """Pass on until the agent says how it ended, or one of them has left; that is told to nobody yet."""
    ways = [asyncio.create_task(_up(caller, agent, tally)), asyncio.create_task(_down(agent, caller, tally))]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if ways[0] in done and ways[1] not in done and ways[0].result() is LOST:
            done, _ = await asyncio.wait(ways[1:], timeout=1)  # what it said last may still be on its way
        return ways[1].result() if ways[1] in done else ways[0].result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _up(caller: Socket, agent: Socket, tally: Tally) -> Fault:
    while True:
        try:
            message = await caller.take()
            thing = asked(message)
        except Gone:
            return LEFT
        except NotUnderstood as error:
            return Fault("invalid_body", f"what was sent cannot be understood: {error}")
        if isinstance(thing, Start):
            return Fault("invalid_body", "a command is begun once")
        tally.count(received=len(thing.data) if isinstance(thing, Data) else 0)
        try:
            await agent.put(message)
        except Gone:
            return LOST


async def _down(agent: Socket, caller: Socket, tally: Tally) -> Exit | Fault:
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
