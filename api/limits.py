"""Limits: how many requests a token, or an address without one, may make in any window, over all apis together.

Permits are counted in Redis (see permits.py) and drawn in chunks, so that most requests ask nobody. Redis gets 20 ms;
then this process grants its own share, the limit divided by the apis that live, and asks again after five seconds.
It never lets everything through.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple, Protocol, Self, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.access import Principal
from api.answer import Header
from api.permits import Bucket, Draw, Grant, Size
from api.proxies import whose
from heroctl.domain.errors import TooMany

T = TypeVar("T")

PATIENCE: Final = 0.02  # seconds that Redis gets
ALONE: Final = 5.0  # seconds for which it is not asked after that
_LATE: Final = 0.5  # seconds after which an answer does not come any more
_CONNECTIONS: Final = 8
_LOOKS: Final = 3
_MOST: Final = 50_000
_EVERYBODY_ELSE: Final = "everybody-else"
_MICRO: Final = 1_000_000
_KEY: Final = "heroctl:limit:"
_log: Final = structlog.get_logger(__name__)


class Away(Exception):  # noqa: N818 - not a fault: there is another way
    """Redis did not answer in time."""


class Counters:
    """Redis, asked by scripts, each of which counts in one step. Raises Away after 20 ms, and then for five seconds."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_LATE,
            socket_timeout=_LATE,
            socket_connect_timeout=_LATE,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 1),  # a connection may have broken while nobody used it
        )
        self._redis = Redis.from_pool(pool)  # which closes the pool, too
        self._clock = clock
        self._away_until = float("-inf")
        self._asking: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for asking in tuple(self._asking):
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._redis.aclose()

    @property
    def away(self) -> bool:
        """Whether it is not asked just now."""
        return self._clock() < self._away_until

    def script(self, name: str) -> Callable[[Sequence[str], Sequence[object]], Awaitable[Any]]:
        """Make a script of this package callable, by keys and arguments. It raises RedisError and OSError."""
        script = self._redis.register_script(files("api").joinpath(name).read_text())
        return lambda keys, args: script(keys=keys, args=args)  # type: ignore[arg-type] # any that have a text

    async def ask(self, asking: Awaitable[T]) -> T:
        """Wait for an answer, for 20 ms; what comes later is awaited behind the caller's back. Raises Away."""
        task = asyncio.ensure_future(asking)
        self._asking.add(task)
        task.add_done_callback(self._heard)
        for _ in range(_LOOKS):
            began = self._clock()
            await asyncio.wait({task}, timeout=PATIENCE)
            # A loop that stood still has not looked at what came meanwhile.
            if task.done() or self._clock() - began < 1.5 * PATIENCE:
                break
        try:
            if task.done():
                return task.result()
        except (RedisError, OSError) as error:
            self._gone(str(error))
            raise Away from error
        self._gone("no answer in time")
        raise Away

    def _gone(self, why: str) -> None:
        if not self.away:
            _log.warning("limits_alone", error=why, seconds=ALONE)
        self._away_until = self._clock() + ALONE

    def _heard(self, task: asyncio.Task[Any]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # told by whoever still waits


class Ledger(Protocol):
    """Where permits are counted for all processes."""

    def draw(self, key: str, size: Size, draw: Draw) -> Awaitable[Grant]:
        """Take in what is told, and grant."""
        ...


class RedisLedger:
    """The ledger of a cluster. Raises RedisError and OSError."""

    def __init__(self, counters: Counters) -> None:
        self._draw = counters.script("permits.lua")
        self._process = secrets.token_hex(6)

    async def draw(self, key: str, size: Size, draw: Draw) -> Grant:
        """Take in what is told, and grant."""
        told = [number for told in draw.told for number in (told.number, told.spent, int(told.age * _MICRO))]
        times = int(size.window * _MICRO), int(size.lease * _MICRO)
        args = [size.limit, *times, draw.want, self._process, draw.number, draw.mine, *told]
        permits, free, wait = await self._draw([_KEY + key], args)
        return Grant(max(0, permits), free, wait / _MICRO, forgot=permits < 0)


# ── who has which limit ──────────────────────────────────────────────────────────────────────────────────────────────


class Sizes(NamedTuple):
    """The limits of all that have one."""

    user: int = 1_000
    service: int = 5_000
    admin: int = 10_000
    node: int = 3_000
    address: int = 600
    window: float = 60.0

    def of(self, tier: str) -> Size:
        """Give the limit of a tier, which is a field's name."""
        return Size(getattr(self, tier), self.window)


def tier(principal: Principal) -> str:
    """Say which limit a principal has."""
    if principal.node:
        return "node"
    return "admin" if principal.admin else principal.kind


def key_of(address: str) -> str:
    """Name the bucket of an address."""
    return f"address:{whose(address)}"


# ── buckets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Counted(NamedTuple):
    """A request that was counted, let through or not: which limit it is under, for its answer's headers."""

    tier: str
    bucket: Bucket

    def headers(self, now: float) -> tuple[Header, Header]:
        """Write what is left, and for how long."""
        tier, bucket = self
        size = bucket.size
        resets = bucket.resets - now
        seconds = math.ceil(resets if resets > 0 else size.window)
        return (
            (b"ratelimit", b'"%s";r=%d;t=%d' % (tier.encode(), bucket.left(), seconds)),
            (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (tier.encode(), size.limit, size.window)),
        )


class Limits:
    """Lets requests through, or not. `apis` says how many processes share the limits."""

    def __init__(
        self,
        sizes: Sizes,
        counters: Counters | None = None,
        *,
        ledger: Ledger | None = None,
        apis: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._sizes = sizes
        self._counters = counters
        self._ledger = ledger if ledger is not None or counters is None else RedisLedger(counters)
        self._apis = apis
        self._numbers = itertools.count(1)
        self._buckets: dict[str, Counted] = {}
        self._drawing: dict[str, asyncio.Task[None]] = {}

    def at_hand(self, key: str) -> Counted | None:
        """Let a request through if that needs nobody to be asked; None: `admit` is to judge."""
        counted = self._buckets.get(key)
        return counted if counted is not None and counted.bucket.spend(self.clock()) else None

    async def admit(self, key: str, tier: str) -> Counted:
        """Let a request through; its permit is spent. Raises TooMany `rate_limited`, which says when to come again."""
        counted = self._counted(key, tier)
        bucket = counted.bucket
        while not bucket.spend(now := self.clock()):
            if now < bucket.refused_until and (not bucket.alone or self._alone):
                raise Limited(counted, now)
            await self._draw(key, bucket)
        return counted

    @property
    def _alone(self) -> bool:
        return self._counters is None or self._counters.away

    def _counted(self, key: str, tier: str) -> Counted:
        size = self._sizes.of(tier)
        counted = self._buckets.get(key)
        if counted is None and len(self._buckets) >= _MOST:
            self._forget()
            if len(self._buckets) >= _MOST:
                key = _EVERYBODY_ELSE
                counted = self._buckets.get(key)
        if counted is None:
            counted = self._buckets[key] = Counted(tier, Bucket(size, self._numbers))
        elif counted.tier != tier:
            counted.bucket.resize(size)
            counted = self._buckets[key] = Counted(tier, counted.bucket)
        return counted

    def _forget(self) -> None:
        now = self.clock()
        for key in [key for key, counted in self._buckets.items() if counted.bucket.idle(now)]:
            del self._buckets[key]

    # ── drawing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _draw(self, key: str, bucket: Bucket) -> None:
        """Get permits, or a refusal: all who want some of one bucket wait for the same answer."""
        drawing = self._drawing.get(key)
        if drawing is None:
            drawing = self._drawing[key] = asyncio.get_running_loop().create_task(self._fill(key, bucket))
            drawing.add_done_callback(lambda _: self._drawing.pop(key, None))
        await asyncio.shield(drawing)

    async def _fill(self, key: str, bucket: Bucket) -> None:
        apis = max(1, self._apis())
        want = bucket.size.chunk(apis)
        counters, ledger = self._counters, self._ledger
        if counters is not None and ledger is not None and not self._alone:
            try:
                return await counters.ask(self._asked(ledger, key, bucket, want))
            except Away:
                pass
        bucket.draw_alone(self.clock(), want, bucket.size.share(apis).limit)
        return None

    async def _asked(self, ledger: Ledger, key: str, bucket: Bucket, want: int) -> None:
        sent = self.clock()
        draw = bucket.draw(sent, want)
        try:
            grant = await ledger.draw(key, bucket.size, draw)
            if grant.forgot:
                sent = self.clock()
                draw = bucket.again(draw, sent)
                grant = await ledger.draw(key, bucket.size, draw)
        except BaseException:
            bucket.lost(draw, sent)
            raise
        bucket.take(draw, grant, sent, self.clock())


class Limited(TooMany):
    """429: the limit is reached; everything else that this token may do waits as well."""

    def __init__(self, counted: Counted, now: float) -> None:
        size, seconds = counted.bucket.size, counted.bucket.retry_after(now)
        super().__init__(
            "rate_limited",
            f"at most {size.limit} requests in {size.window:g} s are taken: try again in {seconds} s",
            retry_after=seconds,
        )
        self.counted = counted
