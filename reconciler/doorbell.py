"""Rings the agents: what changed in their assignments, on one Redis stream a node.

A ring is a hint. An agent applies it if it holds the index before, else it asks an api; without Redis, or with a lost
ring, it hears of the change with its next beat. So nothing here is retried, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Final, Self

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from eventstore.view import Change, View
from heroctl.domain.assign import assignment_index, changed
from heroctl.domain.assignment import Mark, Ring, ring_stream
from heroctl.domain.spec import encode_hook
from heroctl.domain.topics import assignment_topic

FIELD: Final = "ring"  # of a stream's entry: the Ring as JSON
KEPT: Final = 128  # entries of a stream, about
LARGEST: Final = 16 * 1024  # bytes of an entry; a larger one goes without its content
_TOPIC: Final = assignment_topic("")
_MOST: Final = 64  # allocations in an entry: more of them are never small enough
_AT_ONCE: Final = 256  # rings sent together
_TIMEOUT: Final = 0.5  # seconds of one call
_ENCODER: Final = msgspec.json.Encoder(enc_hook=encode_hook)

_log: Final = structlog.get_logger(__name__)


class Doorbell:
    """Follows a view while `run` runs, between `begin` and `end`. Changes that come faster than they go out are one."""

    def __init__(self, url: str, view: View, rung: Callable[[Collection[str]], None] = lambda _: None) -> None:
        pool = BlockingConnectionPool.from_url(
            url, max_connections=4, timeout=_TIMEOUT, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
        )
        self._redis = Redis.from_pool(pool)  # which closes the pool, too
        self._view = view
        self._rung = rung  # hears of the nodes that were told, or that it was tried
        self._known: dict[str, int] | None = None  # node -> index of its assignment; None: somebody else rings
        self._due: dict[str, int] = {}  # node -> the index before its changes that were not rung yet
        self._work = asyncio.Event()
        self._away = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    def begin(self) -> None:
        """Ring from here on."""
        state = self._view.state
        self._known = {node: assignment_index(state, node) for node in state.nodes}
        self._due.clear()

    def end(self) -> None:
        """Ring no more: another coordinates."""
        self._known = None
        self._due.clear()

    def moved(self, change: Change) -> None:
        """Note what an application of appends changed."""
        if self._known is None:
            return
        if change.reloaded:
            self.begin()  # no agent holds an index of this history; each will ask
            return
        for topic in change.topics:
            if topic.startswith(_TOPIC):
                node = topic.removeprefix(_TOPIC)
                self._due.setdefault(node, self._known.get(node, 0))
                self._known[node] = self._view.state.topics.get(topic, 0)
        if self._due:
            self._work.set()

    async def run(self) -> None:
        """Ring, for ever."""
        await self._check()
        while True:
            await self._work.wait()
            self._work.clear()
            while self._due:
                batch = dict(islice(self._due.items(), _AT_ONCE))
                for node in batch:
                    del self._due[node]
                await self._ring(batch)
                self._rung(batch.keys())

    async def _check(self) -> None:
        """Warn of a Redis that throws away what it is given when it is full."""
        try:
            policy = (await self._redis.config_get("maxmemory-policy")).get("maxmemory-policy", "noeviction")
        except (RedisError, OSError):
            return  # away, or it does not let itself be asked
        if policy != "noeviction":
            _log.warning("redis_evicts", policy=policy, wanted="noeviction")

    async def _ring(self, batch: Mapping[str, int]) -> None:
        """Send the rings of some nodes, in one round trip."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for node, before in batch.items():
                    entry = self._entry(node, before)
                    if entry is None:
                        pipeline.delete(ring_stream(node))
                    else:
                        pipeline.xadd(ring_stream(node), {FIELD: entry}, maxlen=KEPT, approximate=True)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            if not self._away:
                self._away = True
                _log.warning("doorbell_away", error=str(error))
            return
        if self._away:
            self._away = False
            _log.info("doorbell_back")

    def _entry(self, node: str, before: int) -> bytes | None:
        """Write what a node is told; None: the node is no more."""
        state, here = self._view.state, self._view.position
        known = state.nodes.get(node)
        if known is None:
            return None
        mark = Mark(here.index, here.chain)
        ring = Ring(state.incarnation, assignment_index(state, node), before, mark=mark)
        news = changed(state, known, before) if before else []
        if not news or len(news) > _MOST:
            return _ENCODER.encode(ring)
        whole = _ENCODER.encode(msgspec.structs.replace(ring, changed=news))
        return whole if len(whole) <= LARGEST else _ENCODER.encode(ring)
