"""Postgres away, silent, slow or locked: the api does what it can, and says so.

Reads go on and tell how old they are, writes are refused in time, nothing piles up; three seconds after the return of
Postgres all is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest

from tests import servers
from tests.api.process import Api, api, watch
from tests.api.specs import spec
from tests.eventstore.proxy import Proxy
from tests.needs import needs
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)
BACK: Final = 8.0  # seconds after the return of Postgres in which everything is as before: mostly 1 to 2
PATIENCE: Final = 15.0  # seconds in which every request is answered, whatever happens
CONNECTIONS: Final = 8 + 2  # of one api: its pool, the appender's, the listener's


@dataclass
class Place:
    """An api before which a proxy stands, and somebody who asks."""

    api: Api
    proxy: Proxy
    dsn: str
    client: httpx2.AsyncClient

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        """Ask, and be answered within patience."""
        given = {"Authorization": f"Bearer {self.api.token}"} | headers
        return await self.client.request(method, path, json=body, headers=given)

    async def submit(self, name: str = "web", **more: Any) -> httpx2.Response:  # noqa: ANN401 - fields of a spec
        """Submit a job."""
        return await self.ask("POST", "/v1/jobs", spec(name, **more))

    async def stale(self) -> int:
        """Read; return how old the answer says to be."""
        reply = await self.ask("GET", "/v1/jobs")
        assert reply.status_code == 200
        return int(reply.headers.get("x-heroctl-stale", 0))

    async def degraded(self) -> bool:
        """Tell whether the process says that it has lost the log."""
        assert (await self.ask("GET", "/v1/health/live")).status_code == 200
        reply = await self.ask("GET", "/v1/health/ready")
        assert reply.status_code == 200
        return bool(reply.json()["status"] == "degraded")

    async def back(self) -> None:
        """All is as before, in time: fresh reads, accepted writes, and a long poll that wakes."""
        began = time.monotonic()
        index = int((await self.ask("GET", "/v1/jobs/web")).headers["x-heroctl-index"])
        [waiter] = await watch(self.api, f"/v1/jobs/web?index={index}&wait=1m", 1)
        await eventually(self._accepts, timeout=BACK, what="an accepted write")
        await eventually(self._fresh, timeout=BACK, what="fresh reads")
        async with asyncio.timeout(BACK):
            await waiter.answered.wait()
        assert waiter.status == 200
        assert time.monotonic() - began < BACK

    async def refused_at_once(self) -> bool:
        """Tell whether a write is refused in less time than an append is waited for. (The machine may be busy.)"""
        began = time.monotonic()
        refused = await self.submit()
        assert (refused.status_code, refused.json()["error"]) == (503, "log_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        return time.monotonic() - began < 1

    async def fresh_at_once(self) -> bool:
        """Tell whether a fresh read takes less time than one way to the database and back."""
        began = time.monotonic()
        assert await self.stale() == 0
        return time.monotonic() - began < 2 * self.proxy.delay

    async def _accepts(self) -> bool:
        return (await self.submit(meta={"at": str(time.monotonic())})).status_code == 200

    async def _fresh(self) -> bool:
        return await self.stale() == 0 and not await self.degraded()


@contextlib.asynccontextmanager
async def _place(folder: Path, dsn: str) -> AsyncIterator[Place]:
    async with Proxy(dsn).serve() as proxy:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            made = await loop.run_in_executor(None, lambda: stack.enter_context(api(folder, proxy.dsn)))
            limits = httpx2.Limits(max_connections=500)
            async with httpx2.AsyncClient(base_url=made.url, timeout=PATIENCE, limits=limits) as client:
                there = Place(made, proxy, dsn, client)
                assert (await there.submit()).status_code == 201
                yield there
            await asyncio.to_thread(stack.close)


@pytest.fixture
async def place(tmp_path: Path, postgres_dsn: str) -> AsyncIterator[Place]:
    async with _place(tmp_path, postgres_dsn) as made:
        yield made


def _gone(proxy: Proxy) -> None:
    proxy.refuse = True
    proxy.cut()


def _silent(proxy: Proxy) -> None:
    proxy.swallow = True


def _held(proxy: Proxy) -> None:
    proxy.hold = True


def _returned(proxy: Proxy) -> None:
    proxy.refuse = proxy.swallow = proxy.hold = False


@pytest.mark.parametrize("away", [_gone, _silent, _held])
async def test_while_postgres_is_away(place: Place, away: Callable[[Proxy], None]) -> None:
    """It refuses, it is silent for ever, or packets wait: the same to whoever asks."""
    ready = await place.ask("GET", "/v1/jobs")
    index = ready.headers["x-heroctl-index"]
    [short] = await watch(place.api, f"/v1/jobs?index={index}&wait=7s", 1)
    [long] = await watch(place.api, f"/v1/jobs?index={index}&wait=1m", 1)
    away(place.proxy)
    writing = asyncio.gather(*(place.submit(meta={"n": str(number)}) for number in range(20)))
    await eventually(place.stale, what="a stale read")
    assert (await place.ask("GET", "/v1/jobs")).content == ready.content
    assert await place.degraded()
    await eventually(place.refused_at_once, what="a refusal within a second: known to be away, nobody waits to hear it")
    async with asyncio.timeout(10):
        await short.answered.wait()
    assert (short.status, b"x-heroctl-stale: " in short.heard.lower()) == (200, True)
    assert not long.answered.is_set()
    assert {reply.status_code for reply in await writing} <= {200, 503}
    _returned(place.proxy)
    await place.back()
    async with asyncio.timeout(BACK):
        await long.answered.wait()
    assert (long.status, b"x-heroctl-stale" in long.heard.lower()) == (200, False)


@contextlib.contextmanager
def _dropped(port: int) -> Iterator[None]:
    """Swallow every packet from and to a port of loopback."""
    rules = [["INPUT", "-i", "lo", "-p", "tcp", way, str(port), "-j", "DROP"] for way in ("--dport", "--sport")]
    made = []
    try:
        for rule in rules:
            subprocess.run(["iptables", "-w", "-I", *rule], check=True)
            made.append(rule)
        yield
    finally:
        for rule in made:
            subprocess.run(["iptables", "-w", "-D", *rule], check=True)


@needs("netns")
@pytest.mark.parametrize("age", [5, 11])
async def test_a_network_that_swallows_packets(place: Place, age: int) -> None:
    """Short or long: the kernel, which asks ever more seldom, is not waited for."""
    port = urlsplit(place.proxy.dsn).port
    assert port is not None
    with _dropped(port):
        writing = asyncio.ensure_future(place.submit(meta={"a": "b"}))
        await eventually(partial(_older, place, age), timeout=20, what="a stale read")
    await place.back()
    assert (await writing).status_code in (200, 503)


async def _older(place: Place, age: int) -> bool:
    return await place.stale() > age


async def test_a_short_silence_is_no_outage(place: Place) -> None:
    """What was asked meanwhile is answered when it is over."""
    place.proxy.hold = True
    writing = asyncio.ensure_future(place.submit(meta={"a": "b"}))
    await eventually(lambda: place.proxy.asked)
    place.proxy.hold = False
    assert (await writing).status_code == 200
    assert await place.stale() == 0


async def test_a_slow_postgres_is_slow_and_nothing_else(place: Place) -> None:
    """Half a second on every way: reads do not notice, writes come through, connections are bounded."""
    place.proxy.delay = 0.2
    replies = await asyncio.gather(*(place.submit(f"job-{number}") for number in range(60)))
    assert {reply.status_code for reply in replies} == {201}
    await eventually(place.fresh_at_once, what="a read that does not notice")
    assert place.proxy.open <= CONNECTIONS
    place.proxy.delay = 0.0
    await place.back()


async def test_a_lock_on_the_logs_head(place: Place) -> None:
    """Appends wait in vain. Each caller hears so in time, of many on one job the last as well; reads are fresh."""
    async with await psycopg.AsyncConnection.connect(place.dsn) as holder:
        await holder.execute("SELECT * FROM heroctl.head FOR UPDATE")
        one = [place.submit(meta={"n": str(number)}) for number in range(40)]
        many = [place.submit(f"job-{number}") for number in range(100)]
        began = time.monotonic()
        writing = asyncio.gather(*one, *many)
        assert await place.stale() == 0
        replies = await writing
        assert {(reply.status_code, reply.json()["error"]) for reply in replies} <= {
            (503, "log_unavailable"),
            (503, "busy"),
        }
        assert all("retry-after" in reply.headers for reply in replies)
        assert time.monotonic() - began < PATIENCE
        assert await place.stale() == 0
        assert place.proxy.open <= CONNECTIONS
    await place.back()


async def test_it_ends_in_time_while_postgres_is_silent(place: Place) -> None:
    place.proxy.swallow = True
    await eventually(place.stale, what="a stale read")
    began = time.monotonic()
    assert await asyncio.to_thread(place.api.part.stop, 10) == 0
    assert time.monotonic() - began < 5


async def test_postgres_stopped_and_started(tmp_path: Path) -> None:
    with servers.postgres(shared_buffers="32MB") as server:
        async with _place(tmp_path, server.dsn()) as place:
            await asyncio.to_thread(server.stop)
            await eventually(place.stale, what="a stale read")
            assert (await place.submit()).status_code == 503
            await asyncio.to_thread(server.start)
            await place.back()
