"""The nodes' side of Redis: their users, and the ids of their command streams.

Redis is a doorbell. Whatever goes wrong here is logged and answered with «none»: agents then ask more often.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from heroctl.domain.assignment import RedisAccess, log_keys, ring_stream

_TIMEOUT: Final = 0.5  # seconds of one call
# What an agent does with its keys: hear its stream, write and expire its log tails.
_COMMANDS: Final = (
    "+ping",
    "+hello",
    "+client|setinfo",
    "+client|setname",
    "+client|id",
    "+select",
    "+xread",
    "+xadd",
    "+xtrim",
    "+expire",
    "+pexpire",
)
_log: Final = structlog.get_logger(__name__)


class Streams:
    """Makes users and looks at streams. `advertised` is the URL that agents are given."""

    def __init__(self, url: str, advertised: str) -> None:
        self._url = _without_credentials(advertised or url)
        pool = BlockingConnectionPool.from_url(
            url, max_connections=16, timeout=_TIMEOUT, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
        )
        self._redis = Redis.from_pool(pool)  # which closes the pool, too

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def access(self, node: str) -> RedisAccess | None:
        """Make a node's user anew, with a password that only its agent gets; None: Redis is away."""
        name, password = f"heroctl-node-{node}", secrets.token_urlsafe(32)
        try:
            await self._redis.execute_command(  # type: ignore[no-untyped-call] # the library's
                "ACL", "SETUSER", name, "reset", "on",
                f"#{hashlib.sha256(password.encode()).hexdigest()}",
                f"%R~{ring_stream(node)}", f"%W~{log_keys(node)}",
                "-@all", *_COMMANDS,
            )  # fmt: skip
        except (RedisError, OSError) as error:
            _log.warning("no_redis_user", node=node, error=str(error))
            return None
        return RedisAccess(self._url, name, password, ring_stream(node))

    async def newest(self, node: str) -> str:
        """Return the id of the newest entry on a node's command stream; "": there is none, or Redis is away."""
        try:
            entries = await self._redis.xrevrange(ring_stream(node), count=1)
        except (RedisError, OSError):
            return ""
        return _text(entries[0][0]) if entries else "0-0"

    async def answers(self) -> bool:
        """Tell whether Redis is there."""
        try:
            return bool(await self._redis.ping())
        except (RedisError, OSError):
            return False


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
