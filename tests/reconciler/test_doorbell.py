"""The doorbell, against a real server: what agents find on their streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import msgspec
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from eventstore.log import Append, Position
from eventstore.memory import MemoryLog
from eventstore.tail import continues
from eventstore.view import View
from heroctl.domain.assign import assignment_index
from heroctl.domain.assignment import Ring, ring_stream
from heroctl.domain.events import Event
from heroctl.domain.spec import decode_hook
from reconciler.doorbell import FIELD, KEPT, Doorbell
from tests.reconciler.cluster import Cluster
from tests.servers import free_port
from tests.waiting import eventually


class Street:
    """A cluster whose events also go to a log that a doorbell follows."""

    def __init__(self, redis: Redis, view: View, log: MemoryLog, doorbell: Doorbell) -> None:
        self.cluster = Cluster()
        self.redis = redis
        self.view = view
        self.doorbell = doorbell
        self.log = log
        self._told = 1

    async def tell(self) -> None:
        """Bring the log up to the cluster, decision by decision."""
        events: list[Event] = [record.event for record in self.cluster.records[self._told :]]
        self._told = len(self.cluster.records)
        for event in events:
            await self.log.append(Append((event,), epoch=0))
        await self.view.reached(self.cluster.state.index)

    async def rings(self, name: str) -> list[Ring]:
        """Read what a node's agent would."""
        stream = ring_stream(self.cluster.state.node_names[name])
        decoder = msgspec.json.Decoder(Ring, dec_hook=decode_hook)
        return [decoder.decode((fields or {})[FIELD.encode()]) for _, fields in await self.redis.xrange(stream) or ()]

    async def rung(self, name: str, index: int) -> list[Ring]:
        """Wait until a node was rung about an index."""

        async def look() -> list[Ring]:
            rings = await self.rings(name)
            return rings if rings and rings[-1].index >= index else []

        return await eventually(look)

    def index(self, name: str) -> int:
        """Return the index of what a node should run."""
        return assignment_index(self.cluster.state, self.cluster.state.node_names[name])


@contextlib.asynccontextmanager
async def street(url: str) -> AsyncIterator[Street]:
    log = MemoryLog(cluster="c1", incarnation="inc1")
    view = View(log)
    redis = Redis.from_url(url)
    async with Doorbell(url, view) as doorbell, redis:
        unsubscribe = view.subscribe(doorbell.moved)
        tasks = [asyncio.create_task(view.run()), asyncio.create_task(doorbell.run())]
        try:
            yield Street(redis, view, log, doorbell)
        finally:
            unsubscribe()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_node_is_told_what_changed_since_when(redis_url: str) -> None:
    async with street(redis_url) as it:
        cluster = it.cluster
        cluster.join("n1")
        await it.tell()
        it.doorbell.begin()
        before = it.index("n1")
        cluster.run()
        cluster.decide()
        await it.tell()
        [ring] = await it.rung("n1", it.index("n1"))
        assert (ring.incarnation, ring.prev, ring.index) == ("inc1", before, it.index("n1"))
        assert ring.mark is not None
        assert await continues(it.log, Position(ring.mark.index, ring.mark.chain))
        assert ring.changed is not None
        assert [(one.slot, one.wanted, one.spec.name) for one in ring.changed] == [(0, "run", "main")]
        cluster.delete("web")
        cluster.decide()
        await it.tell()
        last = (await it.rung("n1", it.index("n1")))[-1]
        assert last.prev == ring.index
        assert [one.wanted for one in last.changed or ()] == ["stop"]


async def test_every_ring_begins_where_the_one_before_ended(redis_url: str) -> None:
    """However changes and rings interleave: an agent that hears them all never has to ask."""
    async with street(redis_url) as it:
        it.cluster.join("n1", 64, "512GiB", "10TB")
        await it.tell()
        it.doorbell.begin()
        at = it.index("n1")
        for number in range(40):
            it.cluster.run(f"job{number}", count=1 + number % 3)
            it.cluster.decide()
            await it.tell()
            await asyncio.sleep(0)
        for ring in await it.rung("n1", it.index("n1")):
            assert ring.prev == at
            at = ring.index


async def test_what_is_large_goes_without_its_content(redis_url: str) -> None:
    async with street(redis_url) as it:
        it.cluster.join("n1")
        await it.tell()
        it.doorbell.begin()
        it.cluster.run(env={"TEXT": "x" * 20_000})
        it.cluster.decide()
        await it.tell()
        [ring] = await it.rung("n1", it.index("n1"))
        assert ring.changed is None


async def test_streams_stay_short_and_go_with_their_node(redis_url: str) -> None:
    async with street(redis_url) as it:
        it.cluster.join("n1", 64, "512GiB", "10TB")
        await it.tell()
        it.doorbell.begin()
        stream = ring_stream(it.cluster.state.node_names["n1"])
        for number in range(3 * KEPT):
            await it.redis.xadd(stream, {"old": number})
        it.cluster.run()
        it.cluster.decide()
        await it.tell()

        async def trimmed() -> bool:
            return await it.redis.xlen(stream) < KEPT + 101  # by whole nodes of the stream, of a hundred

        await eventually(trimmed)
        it.cluster.remove("n1")
        await it.tell()

        async def gone() -> bool:
            return not await it.redis.exists(stream)

        await eventually(gone)


async def test_who_does_not_coordinate_does_not_ring(redis_url: str) -> None:
    async with street(redis_url) as it:
        it.cluster.join("n1")
        await it.tell()
        it.doorbell.begin()
        it.doorbell.end()
        it.cluster.run()
        it.cluster.decide()
        await it.tell()
        it.doorbell.begin()
        it.cluster.run("api")
        it.cluster.decide()
        await it.tell()
        assert len(await it.rung("n1", it.index("n1"))) == 1


async def test_without_redis_it_says_so_once_and_goes_on() -> None:
    with capture_logs() as said:
        async with street(f"redis://127.0.0.1:{free_port()}") as it:
            it.cluster.join("n1")
            await it.tell()
            it.doorbell.begin()
            for number in range(3):
                it.cluster.run(f"job{number}")
                it.cluster.decide()
                await it.tell()
                await eventually(lambda: any(line["event"] == "doorbell_away" for line in said))
    assert warned(said) == ["doorbell_away"]


async def test_it_warns_of_a_redis_that_throws_things_away(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with capture_logs() as said:
                async with street(redis_url):
                    await eventually(lambda: warned(said))
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")
    assert warned(said) == ["redis_evicts"]


def warned(said: Sequence[EventDict]) -> list[str]:
    return [str(line["event"]) for line in said if line["log_level"] != "info"]
