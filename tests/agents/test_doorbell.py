"""The doorbell against a real Valkey: rings, floods, flushes, forgotten users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from agents.doorbell import Doorbell
from heroctl.domain.assignment import RedisAccess, Ring, ring_stream
from heroctl.domain.spec import encode_hook
from tests.agents.rig import alloc
from tests.waiting import eventually

STREAM = ring_stream("n1")


class Bell:
    """A node's stream with its user, and what its agent heard."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis: Any = Redis.from_url(url)  # the library types its commands as sync or async, or not at all
        self.rings: list[Ring | None] = []
        self.doorbell = Doorbell(self.rings.append)

    async def user(self, password: str) -> RedisAccess:
        await self.redis.execute_command(
            *("ACL", "SETUSER", "node-n1", "reset", "on", f">{password}", f"%R~{STREAM}"),
            *("-@all", "+xread", "+ping", "+hello", "+client|setinfo", "+client|setname", "+select"),
        )
        return RedisAccess(self.url, "node-n1", password, STREAM)

    async def ring(self, index: int, id: str = "*", content: bytes | None = None) -> str:  # noqa: A002 - Redis' word
        ring = Ring("i1", index, index - 1, [alloc("a")])
        written = msgspec.json.encode(ring, enc_hook=encode_hook) if content is None else content
        return str((await self.redis.xadd(STREAM, {"ring": written}, id=id)).decode())

    def heard(self, *indexes: int) -> Callable[[], bool]:
        return lambda: [ring.index for ring in self.rings if ring is not None] == list(indexes)


@pytest.fixture
async def bell(redis_url: str) -> AsyncIterator[Bell]:
    made = Bell(redis_url)
    try:
        yield made
    finally:
        await made.doorbell.close()
        await made.redis.execute_command("ACL", "DELUSER", "node-n1")
        await made.redis.aclose()


async def test_rings_are_heard_in_order_also_those_from_before(bell: Bell) -> None:
    await bell.ring(1)
    await bell.doorbell.use(await bell.user("one"))
    await eventually(bell.heard(1), what="the first ring")
    assert bell.doorbell.hears
    last = await bell.ring(2)
    await eventually(bell.heard(1, 2), what="the second ring")
    assert bell.doorbell.position == last
    assert bell.rings[0] is not None
    assert bell.rings[0].changed == [alloc("a")]


async def test_an_empty_stream_is_heard_too(bell: Bell) -> None:
    await bell.doorbell.use(await bell.user("one"))
    await eventually(lambda: bell.doorbell.hears, what="an answer")
    assert bell.doorbell.position == "0-0"


async def test_what_cannot_be_read_is_a_reason_to_pull(bell: Bell) -> None:
    await bell.doorbell.use(await bell.user("one"))
    await bell.ring(1, content=b"\xff{")
    await eventually(lambda: bell.rings == [None], what="the ring")


async def test_more_rings_than_one_read_takes_are_all_heard(bell: Bell) -> None:
    for index in range(1, 251):
        await bell.ring(index)
    await bell.doorbell.use(await bell.user("one"))
    await eventually(bell.heard(*range(1, 251)), what="all rings")


async def test_after_a_flush_the_stream_is_read_from_its_beginning(bell: Bell) -> None:
    await bell.doorbell.use(await bell.user("one"))
    await bell.ring(1)
    await eventually(bell.heard(1), what="the ring before")
    await bell.redis.delete(STREAM)
    newest = await bell.ring(2, id="5-1")
    await bell.doorbell.compare(newest)
    await eventually(bell.heard(1, 2), what="the ring after")


async def test_a_reader_long_below_the_newest_entry_begins_anew(bell: Bell) -> None:
    await bell.doorbell.use(await bell.user("one"))
    newest = await bell.ring(1)
    await eventually(bell.heard(1), what="the ring")
    await bell.doorbell.compare(newest)
    listener = bell.doorbell._task
    later = f"{int(newest.partition('-')[0]) + 1000}-0"
    await bell.doorbell.compare(later)
    assert bell.doorbell._task is listener
    await bell.doorbell.compare(later)
    assert bell.doorbell._task is not listener


async def test_a_user_that_redis_forgot_is_asked_for_again(bell: Bell) -> None:
    await bell.doorbell.use(await bell.user("one"))
    await bell.ring(1)
    await eventually(bell.heard(1), what="the ring before")
    await bell.redis.execute_command("ACL", "DELUSER", "node-n1")
    await eventually(lambda: bell.doorbell.locked_out, what="the loss of the user")
    assert not bell.doorbell.hears
    await bell.ring(2)
    await bell.doorbell.use(await bell.user("two"))
    await eventually(bell.heard(1, 2), what="the ring after")


async def test_where_nobody_answers_it_does_not_hear_and_tries_on(bell: Bell) -> None:
    access = await bell.user("one")
    nowhere = RedisAccess("redis://127.0.0.1:1", access.username, access.password, access.stream)
    await bell.doorbell.use(nowhere)
    assert not bell.doorbell.hears
    await bell.doorbell.use(access)
    await eventually(lambda: bell.doorbell.hears, what="an answer")
    await bell.doorbell.use(None)
    assert (bell.doorbell.hears, bell.doorbell.position) == (False, "")
