"""Follows what containers write and ships it: to Redis, or through an api where Redis is out of reach.

Beside everything else and never waited for, but for a moment before a container is removed. What cannot be shipped
waits within bounds, is counted beyond them, and a line says so. Where reading has come to is remembered over the
agent's own end; lines carry numbers, so that what was shipped twice is told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError

from agents.client import Away, Refused
from agents.clock import Clock
from agents.container import Container
from agents.desired import Desired
from agents.log_origin import Forward
from agents.log_tail import Kept, Memory, Stream, Tail, Whose
from agents.runtime import Runtime
from heroctl.domain.assignment import RedisAccess
from heroctl.domain.logs import AWAY, FIELD, KEEP, Batch, LogsReply, LogsRequest, Shipment, log_key

LOOK: Final = 0.5  # seconds between two looks for containers that nobody follows yet
GATHER: Final = 0.1  # seconds for which lines are gathered before they are shipped
LAST: Final = 3.0  # seconds that the end of an output may take, before its container is removed
TOTAL: Final = 16 << 20  # bytes that wait in all
ROUND: Final = 384 << 10  # bytes that are shipped at a time
CALL: Final = 2.0  # seconds
RENEW: Final = 3600.0  # seconds between two times that a stream is told to stay
AGAIN: Final = 1.0  # seconds after nobody took anything
FORGET: Final = 600.0  # seconds after which a container that was not seen again is forgotten
_log = structlog.get_logger("logs")


class Source(NamedTuple):
    """A container, and where it runs."""

    whose: Whose
    runtime: Runtime


class Worked(Protocol):
    """What carries an allocation through its life."""

    @property
    def alloc(self) -> str:
        """Its allocation."""
        ...

    @property
    def containers(self) -> list[Container] | None:
        """What there is of it."""
        ...

    @property
    def runtime(self) -> Runtime:
        """Where that runs."""
        ...


def sources(workers: Iterable[Worked], desired: Desired) -> Iterator[Source]:
    """Name the containers of the allocations that a node holds."""
    for worker in workers:
        known = desired.known(worker.alloc)
        if known is None:
            continue
        for container in worker.containers or ():
            if container.state != "created":
                whose = Whose(worker.alloc, known.namespace, known.job, known.task, container.id)
                yield Source(whose, worker.runtime)


class Bounds(Struct, frozen=True):
    """What is kept of an allocation: bytes and lines; and bytes a second that may be shipped of one, for long."""

    size: int = 2 << 20
    lines: int = 10_000
    rate: int = 256 << 10


USUAL: Final = Bounds()


class Ways(NamedTuple):
    """How lines are shipped, and to whom else they are given."""

    bounds: Bounds = USUAL
    forward: Forward | None = None


WAYS: Final = Ways()


class Keeper(Protocol):
    """Where that is remembered."""

    def logs(self) -> Memory:
        """Read it back."""
        ...

    async def keep_logs(self, memory: Memory) -> None:
        """Remember it."""
        ...


class Logs:
    """See above. `sources`: the containers there are; `post`: the way through an api; `session`: 0, none is open."""

    def __init__(
        self,
        node: str,
        sources: Callable[[], Iterable[Source]],
        post: Callable[[LogsRequest], Awaitable[LogsReply]],
        *,
        clock: Clock,
        keeper: Keeper,
        session: Callable[[], int],
        ways: Ways = WAYS,
        ca_cert: str = "",
    ) -> None:
        self._node = node
        self._sources = sources
        self._post = post
        self._clock = clock
        self._keeper = keeper
        self._session = session
        self._bounds, self._forward = ways
        self._ca_cert = ca_cert
        self._redis: Redis | None = None
        self._tails: dict[str, Tail] = {}  # by container
        self._streams: dict[str, Stream] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._remembered: dict[str, Kept] = {}
        self._began = clock.now()
        self._away = False
        self._renewed = clock.now()
        self._lasting: dict[str, int] = {}  # by allocation: for how many seconds from now its stream is to stay

    async def use(self, access: RedisAccess | None) -> None:
        """Ship with these credentials from here on. None: through an api."""
        before, self._redis = self._redis, self._connect(access) if access is not None else None
        if before is not None:
            await before.aclose()

    def _connect(self, access: RedisAccess) -> Redis:
        secure: dict[str, Any] = (
            {"ssl_ca_certs": self._ca_cert} if self._ca_cert and access.url.startswith("rediss:") else {}
        )
        return Redis.from_url(
            access.url,
            username=access.username,
            password=access.password,
            socket_timeout=CALL,
            socket_connect_timeout=CALL,
            retry=Retry(NoBackoff(), 0),
            max_connections=2,
            **secure,
        )

    async def run(self) -> None:
        """Follow and ship, for ever."""
        memory = self._keeper.logs()
        self._remembered = dict(memory.tails)
        self._streams |= {alloc: Stream(marks) for alloc, marks in memory.streams.items()}
        if self._forward is not None:
            self._forward.open()
        try:
            while True:
                self._look()
                if not await self._clock.wait(self._news, LOOK):
                    continue
                await self._clock.sleep(GATHER)
                self._news.clear()
                await self._ship()
        finally:
            await self._close()

    async def _close(self) -> None:
        for follower in self._followers.values():
            follower.cancel()
        await asyncio.gather(*self._followers.values(), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALL):
                await self._ship()
        if self._forward is not None:
            await self._forward.close()
        if self._redis is not None:
            await self._redis.aclose()

    # ── following ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        """Follow what nobody follows yet, and forget what is over and gone."""
        there = {source.whose.container: source for source in self._sources()}
        for container, source in there.items():
            if container not in self._tails:
                self._begin(source)
        for container, tail in list(self._tails.items()):
            if tail.done and not tail.waits() and container not in there:
                self._end(container, tail.whose.alloc)
        self._renew()
        if self._remembered and self._clock.now() > self._began + FORGET:
            self._remembered.clear()

    def _end(self, container: str, alloc: str) -> None:
        """Forget a container that is gone, and its allocation's stream with the last one."""
        del self._tails[container]
        self._followers.pop(container, None)
        if alloc not in {tail.whose.alloc for tail in self._tails.values()} and alloc in self._streams:
            del self._streams[alloc]
            self._lasting[alloc] = KEEP
            self._news.set()

    def _begin(self, source: Source) -> None:
        whose, bounds = source.whose, self._bounds
        kept = self._remembered.pop(whose.container, None)
        tail = self._tails[whose.container] = Tail(whose, bounds.rate, bounds.size, kept)
        following = self._follow(source.runtime, tail)
        self._followers[whose.container] = asyncio.create_task(following, name=f"logs-{whose.container[:12]}")

    async def _follow(self, runtime: Runtime, tail: Tail) -> None:
        def spare() -> bool:
            return tail.spare(self._clock.now()) and sum(each.size for each in self._tails.values()) < TOTAL

        try:
            async with contextlib.aclosing(runtime.follow(tail.whose.container, tail.position, spare)) as pieces:
                async for said in pieces:
                    lines = tail.take(said, self._clock.now(), round(time.time() * 1000))
                    if self._forward is not None:
                        self._forward.put(tail.whose, lines, said.dropped)
                    self._news.set()
        except Exception:  # noqa: BLE001 - a bug in the reading of one output ends no other's, and no agent
            _log.exception("output_not_followed", alloc=tail.whose.alloc)
        tail.done = True
        if self._forward is not None:
            self._forward.end(tail.whose)
        self._news.set()

    async def finish(self, container: str) -> None:
        """Read a container that has ended to its end, before it is removed; for a moment at most."""
        self._look()
        follower = self._followers.get(container)
        if follower is not None and not follower.done():
            ended = asyncio.Event()
            follower.add_done_callback(lambda _: ended.set())
            await self._clock.wait(ended, LAST)

    # ── shipping ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ship(self) -> None:
        """Ship what waits, in rounds, as far as somebody takes it."""
        moved = False
        while (rounds := self._round()) or self._lasting:
            lasting, self._lasting = self._lasting, {}
            shipments = [self._shipment(tail, batch) for tail, batch, _ in rounds]
            ids = await self._sent([*shipments, *(Shipment(alloc, keep=keep) for alloc, keep in lasting.items())])
            if ids is None:
                self._lasting = lasting | self._lasting
                await self._clock.sleep(AGAIN)
                break
            for (tail, batch, pieces), entry in zip(rounds, ids, strict=False):
                self._answered(tail, batch, pieces, entry)
            moved = True
        if moved:
            await self._keep()
        if self._lasting or any(tail.waits() for tail in self._tails.values()):
            self._news.set()

    def _round(self) -> list[tuple[Tail, Batch, int]]:
        found: list[tuple[Tail, Batch, int]] = []
        size, now = 0, self._clock.now()
        for tail in sorted(self._tails.values(), key=lambda each: each.told_ms):
            made = tail.batch(now)
            if made is not None:
                found.append((tail, *made))
                size += sum(line.size for line in made[0].lines)
            if size >= ROUND:
                break
        return found

    def _shipment(self, tail: Tail, batch: Batch) -> Shipment:
        stream = self._streams.setdefault(tail.whose.alloc, Stream())
        return Shipment(tail.whose.alloc, batch, stream.trim, 0 if stream.lasts else round(KEEP + 2 * RENEW))

    def _answered(self, tail: Tail, batch: Batch, pieces: int, entry: str) -> None:
        if not entry:
            tail.lost(pieces, "there was no room for them in Redis", self._clock.now())
            return
        tail.shipped(pieces)
        stream, bounds = self._streams[tail.whose.alloc], self._bounds
        stream.trim, stream.lasts = "", True
        size, lines = sum(line.size for line in batch.lines), len(batch.lines)
        stream.grew(entry, size, lines, most_bytes=bounds.size, most_lines=bounds.lines)

    def _renew(self) -> None:
        """Have streams stay whose allocations are here, however quiet they are."""
        now = self._clock.now()
        if now >= self._renewed + RENEW:
            self._renewed = now
            self._lasting |= dict.fromkeys(self._streams, round(KEEP + 2 * RENEW))
            self._news.set()

    async def _sent(self, shipments: list[Shipment]) -> list[str] | None:
        """Send them by the one way or the other; None: nobody takes them now."""
        try:
            ids = await (self._by_redis(self._redis, shipments) if self._redis else self._by_api(shipments))
        except (RedisError, OSError, TimeoutError) as error:
            ids = await self._by_api(shipments)
            self._tell(ids is None, error)
            return ids
        self._tell(ids is None, None)
        return ids

    def _tell(self, away: bool, error: Exception | None) -> None:  # noqa: FBT001 - one word for a state
        if away != self._away:
            _log.info("logs_not_taken" if away else "logs_taken", because=str(error or AWAY) if away else "")
        self._away = away

    async def _by_redis(self, redis: Redis, shipments: list[Shipment]) -> list[str]:
        async with asyncio.timeout(CALL), redis.pipeline(transaction=False) as calls:
            for each in shipments:
                key = log_key(self._node, each.alloc)
                if each.batch is not None:
                    calls.xadd(key, {FIELD: msgspec.json.encode(each.batch)})
                if each.trim:
                    calls.xtrim(key, minid=each.trim, approximate=False)
                if each.keep:
                    calls.expire(key, each.keep)
            answers = iter(await calls.execute(raise_on_error=False))
        return [_id(each, answers) for each in shipments]

    async def _by_api(self, shipments: list[Shipment]) -> list[str] | None:
        session = self._session()
        if not session:
            return None
        try:
            return (await self._post(LogsRequest(session, shipments))).ids
        except Away:
            return None
        except Refused as error:
            _log.info("logs_refused", error=str(error))
            return [""] * len(shipments) if error.status in (400, 413) else None

    async def _keep(self) -> None:
        """Write down how far it is shipped. A disk that refuses costs doubled lines after a restart, no more."""
        tails = self._remembered | {container: tail.kept for container, tail in self._tails.items()}
        with contextlib.suppress(OSError):
            await self._keeper.keep_logs(Memory(tails, {a: s.marks for a, s in self._streams.items()}))


def _id(shipment: Shipment, answers: Iterator[Any]) -> str:
    """Read what became of an entry, and pass by what became of the rest. RedisError where that cannot be known."""
    entry = next(answers) if shipment.batch is not None else b""
    for asked in (shipment.trim, shipment.keep):
        if asked:
            next(answers)
    if isinstance(entry, OutOfMemoryError):
        return ""
    if isinstance(entry, Exception):
        raise entry
    return entry.decode() if isinstance(entry, bytes) else str(entry)
