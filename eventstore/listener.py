"""Listening for appends: one direct connection a process, proven by an echo, tried again for ever."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import structlog
from psycopg import AsyncConnection, sql

from eventstore.bell import Bell
from eventstore.database import CALL
from eventstore.log import LogUnavailable

CHANNEL: Final = "heroctl"
PROVEN, UNPROVEN = 2.0, 0.25  # seconds between looks at the log's head
_PROBE: Final = 10.0  # seconds between echoes
_ECHO: Final = 2.0  # seconds that an echo may take
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 2.0  # seconds between attempts

_log: Final = structlog.get_logger(__name__)


class Listener:
    """Rings `bell` at every notification. While it is not `proven`, whoever tails must look often: `interval` says.

    `connect` gives a connection of the listener's own; `greet` is called with it before anything else. `notify` sends
    to a channel over another one: a pooler passes an echo on that comes with the answer, and nothing that comes later.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection]],
        greet: Callable[[AsyncConnection], Awaitable[None]],
        notify: Callable[[str], Awaitable[object]],
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.bell = Bell(self.interval)
        self.proven = False
        self._connect = connect
        self._greet = greet
        self._notify = notify
        self._chance = chance
        self._own = f"{CHANNEL}_{secrets.token_hex(8)}"  # one for all connections: a pooler's may keep it for ever
        self._told = ""

    def interval(self) -> float:
        """Return the seconds until the next unasked look at the log's head."""
        return PROVEN * self._chance(0.8, 1.2) if self.proven else UNPROVEN

    async def run(self) -> None:
        """Listen for ever."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with await self._connect() as connection:
                    await self._listen(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                self._tell(str(error) or "the database does not answer")
            pause = _FIRST_PAUSE if self.proven else min(2 * pause, _LAST_PAUSE)
            self._prove(proven=False)
            await asyncio.sleep(pause * self._chance(0.5, 1.0))

    async def _listen(self, connection: AsyncConnection) -> None:
        async with asyncio.timeout(CALL):
            await self._greet(connection)
            for channel in (CHANNEL, self._own):
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        while True:
            _, heard = await asyncio.gather(self._send(), self._hear(connection, _ECHO, self._own))
            if not heard:
                raise TimeoutError("notifications do not arrive; is there a pooler in between?")
            self._prove(proven=True)
            await self._hear(connection, _PROBE)

    async def _send(self) -> None:
        with contextlib.suppress(LogUnavailable):  # then nothing comes back
            await self._notify(self._own)

    async def _hear(self, connection: AsyncConnection, seconds: float, echo: str = "") -> bool:
        """Ring for that long, or until the echo comes back; tell whether it did."""
        async with contextlib.aclosing(connection.notifies(timeout=seconds)) as notifications:
            async for notification in notifications:
                if notification.channel == echo:
                    return True
                if notification.channel == CHANNEL:
                    self.bell.ring(int(notification.payload) if notification.payload.isdecimal() else 0)
        return False

    def _prove(self, *, proven: bool) -> None:
        if proven != self.proven:
            self.proven = proven
            self._told = ""
            self.bell.ring()  # those who tail look now, and ask for the interval again

    def _tell(self, why: str) -> None:
        if why != self._told:
            self._told = why
            _log.warning("not_listening", error=why)
