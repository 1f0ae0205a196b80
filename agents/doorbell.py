"""Hears the node's command stream in Redis. Only a doorbell: without it agents ask more often and miss nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from heroctl.domain.assignment import RedisAccess, Ring
from heroctl.domain.spec import decode_hook

START: Final = "0-0"
BLOCK: Final = 5.0  # seconds of one read; one that takes much longer is a dead connection
CONNECT: Final = 2.0
AGAIN: Final = (0.2, 5.0)  # seconds between two attempts to connect, first and at most
AT_ONCE: Final = 100
_RING: Final = msgspec.json.Decoder(Ring, dec_hook=decode_hook)
_log = structlog.get_logger("doorbell")


class Doorbell:
    """Reads the stream until closed. `rang` gets what was rung; None: something was, and cannot be read.

    `used` is told with which credentials Redis is spoken to, as they change.
    """

    def __init__(
        self,
        rang: Callable[[Ring | None], None],
        *,
        ca_cert: str = "",
        used: Callable[[RedisAccess | None], Awaitable[None]] | None = None,
    ) -> None:
        self.position = ""  # the last entry read; "": there is no stream to read
        self.hears = False  # whether the last read was answered
        self.locked_out = False  # whether Redis does not know us any more
        self._rang = rang
        self._used = used
        self._ca_cert = ca_cert
        self._access: RedisAccess | None = None
        self._behind = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def lacks(self) -> bool:
        """Whether there is nothing to read, or not with what we have."""
        return self._access is None or self.locked_out

    async def use(self, access: RedisAccess | None) -> None:
        """Read with these credentials from here on. None: not at all."""
        known = self._access.stream if self._access else ""
        self._access = access
        self.locked_out = False
        if access is None or access.stream != known:
            self.position = START if access else ""
        await self._restart()
        if self._used is not None:
            await self._used(access)

    async def compare(self, newest: str) -> None:
        """Compare with the stream's newest entry, as the api sees it: a reader above it, or long below it, is deaf."""
        if self._access is None or not newest or not self.position:
            return
        if _number(newest) < _number(self.position):
            _log.info("stream_was_emptied", newest=newest, position=self.position)
            self.position = START
            await self._restart()
        elif newest != self.position and self._behind == newest:
            await self._restart()
        self._behind = newest if newest != self.position else ""

    async def close(self) -> None:
        """End."""
        self._access = None
        await self._restart()

    async def _restart(self) -> None:
        self.hears = False
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = asyncio.create_task(self._listen(self._access), name="doorbell") if self._access else None

    async def _listen(self, access: RedisAccess) -> None:
        least, most = AGAIN
        seconds = least
        while not self.locked_out:
            try:
                async with self._connect(access) as redis:
                    while True:
                        await self._read(redis, access.stream)
                        seconds = least
            except (AuthenticationError, NoPermissionError) as error:
                self.locked_out = True
                _log.info("doorbell_locked_out", error=str(error))
            except (RedisError, OSError, TimeoutError) as error:
                _log.info("doorbell_away", error=str(error) or type(error).__name__)
            self.hears = False
            await asyncio.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311 - spreads, hides nothing
            seconds = min(most, seconds * 2)

    def _connect(self, access: RedisAccess) -> Redis:
        secure: dict[str, Any] = (
            {"ssl_ca_certs": self._ca_cert} if self._ca_cert and access.url.startswith("rediss:") else {}
        )
        return Redis.from_url(
            access.url,
            username=access.username,
            password=access.password,
            socket_timeout=None,  # a blocking read has a limit of its own, and hidden retries would double it
            socket_connect_timeout=CONNECT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
            **secure,
        )

    async def _read(self, redis: Redis, stream: str) -> None:
        block = round(BLOCK * 1000) if self.hears else None  # the first one only shows that there is an answer
        async with asyncio.timeout(BLOCK * 2):
            answer: Any = await redis.xread({stream: self.position}, count=AT_ONCE, block=block)
        if not self.hears:
            self.hears = True
            _log.info("doorbell_hears", stream=stream)
        streams = answer.items() if isinstance(answer, dict) else answer or ()
        for _, entries in streams:
            for position, fields in _flat(entries):
                self.position = position.decode()
                self._rang(_ring(next(iter(fields.values()), b"")))


def _flat(entries: list[Any]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of one stream: the newer protocol wraps them in one more list."""
    return entries[0] if entries and isinstance(entries[0], list) else entries


def _ring(content: bytes) -> Ring | None:
    try:
        return _RING.decode(content)
    except (msgspec.MsgspecError, ValueError):
        return None


def _number(position: str) -> tuple[int, int]:
    milliseconds, _, number = position.partition("-")
    return int(milliseconds or 0), int(number or 0)
