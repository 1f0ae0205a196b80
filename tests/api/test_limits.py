"""Limits over real Redis: shared by all processes, alone without it, and never open."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest

from api.access import Principal
from api.limits import ALONE, PATIENCE, Away, Counted, Counters, Limited, Limits, Sizes, key_of, tier
from api.permits import Draw, Grant, Size
from tests.api.ledger import MemoryLedger
from tests.eventstore.proxy import Proxy
from tests.waiting import eventually

SIZES: Final = Sizes(user=100, service=200, admin=400, node=300, address=50, window=2.0)


@contextlib.asynccontextmanager
async def processes(
    url: str, count: int, sizes: Sizes = SIZES, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[list[Limits]]:
    """Make the limits of so many processes."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            counters = await stack.enter_async_context(Counters(url, clock))
            made.append(Limits(sizes, counters, apis=lambda: count, clock=clock))
        yield made


async def passes(limits: Limits, key: str, tier: str = "user") -> bool:
    try:
        await limits.admit(key, tier)
    except Limited:
        return False
    return True


async def count(limits: Limits, times: int, key: str = "user:a", tier: str = "user") -> int:
    return sum([await passes(limits, key, tier) for _ in range(times)])


class Dial:
    """A clock in hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# ── together ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_processes_share_a_limit(redis_url: str) -> None:
    sizes = SIZES._replace(window=60.0)
    async with processes(redis_url, 3, sizes) as all_:
        passed = [0, 0, 0]
        for number in itertools.islice(itertools.cycle(range(3)), 450):
            passed[number] += await passes(all_[number], "user:a")
        assert 90 <= sum(passed) <= 100
        assert [await count(limits, 10) for limits in all_] == [0, 0, 0]
        assert 90 <= await count(all_[0], 100, "user:b") <= 100, "another's limit is its own"


async def test_one_process_may_use_it_all(redis_url: str) -> None:
    async with processes(redis_url, 3, SIZES._replace(window=60.0)) as [one, *_]:
        assert await count(one, 200) == 100


async def test_a_fast_client_gets_no_more_in_any_window_and_hardly_less(redis_url: str) -> None:
    passed: list[float] = []
    window, limit = SIZES.window, SIZES.user
    async with processes(redis_url, 3) as all_:
        began = time.monotonic()
        for limits in itertools.cycle(all_):
            before = time.monotonic()
            if before > began + 3 * window:
                break
            if await passes(limits, "user:a"):
                passed.append(before)
            else:
                # What is told is told a moment late, by which permits come free late: here a busy machine's moment.
                recent = sum(at > before - window - 0.1 for at in passed)
                assert recent >= 0.9 * limit, recent
                await asyncio.sleep(0)
    # What was let through was so after `before`, and no later than the next one's: a millisecond is for that.
    first = 0
    for last, at in enumerate(passed):
        while passed[first] <= at - window + 0.001:
            first += 1
        assert last - first + 1 <= limit
    assert len(passed) >= 0.9 * limit * 3


async def test_waiting_as_told_is_enough(redis_url: str) -> None:
    async with processes(redis_url, 2, SIZES._replace(user=40)) as [one, other]:
        await count(one, 60)
        counted = await _refused(one)
        told = counted.bucket.retry_after(time.monotonic())
        assert told in (1, 2)
        due = time.monotonic() + told
        await eventually(lambda: time.monotonic() >= due)
        assert await passes(other, "user:a")
        assert await passes(one, "user:a")


async def _refused(limits: Limits, key: str = "user:a", tier: str = "user") -> Counted:
    await count(limits, 1000, key, tier)
    with pytest.raises(Limited) as refused:
        await limits.admit(key, tier)
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.retry_after
    return refused.value.counted


async def test_a_flood_asks_redis_no_more_than_a_trickle(redis_url: str) -> None:
    async with Proxy(redis_url).serve() as proxy, processes(through(proxy), 1, SIZES._replace(window=60.0)) as [one]:
        await count(one, 150)
        asked = proxy.asked
        assert await count(one, 2000) == 0
        assert proxy.asked == asked
        assert asked < 40


async def test_many_at_once_wait_for_one_answer(redis_url: str) -> None:
    async with Proxy(redis_url).serve() as proxy, processes(through(proxy), 1, SIZES._replace(window=60.0)) as [one]:
        assert await passes(one, "user:b")
        asked = proxy.asked
        passed = await asyncio.gather(*(passes(one, "user:a") for _ in range(150)))
        assert sum(passed) == 100
        assert proxy.asked - asked <= 21


async def test_a_larger_limit_counts_from_the_next_draw(redis_url: str) -> None:
    async with processes(redis_url, 1, SIZES._replace(window=60.0)) as [one]:
        assert await count(one, 150) == 100
        assert await count(one, 500, tier="admin") == 300
        one._buckets.clear()
        assert await count(one, 10, tier="admin") == 0, "Redis remembers"


# ── alone ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def through(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy._port}/0"


async def test_without_redis_a_process_has_its_share() -> None:
    dial = Dial()
    limits = Limits(SIZES, apis=lambda: 3, clock=dial)
    assert await count(limits, 100) == 33
    counted = await _refused(limits)
    dial.now += counted.bucket.retry_after(dial.now)
    assert await count(limits, 100) == 33


@pytest.mark.parametrize("fault", ["refuse", "swallow", "delay"])
async def test_redis_that_is_away_costs_twenty_ms_and_opens_nothing(redis_url: str, fault: str) -> None:
    dial = Dial()
    async with (
        Proxy(redis_url).serve() as proxy,
        processes(through(proxy), 3, SIZES._replace(window=60.0), dial) as (
            one,
            *_,
        ),
    ):
        assert await count(one, 10) == 10
        setattr(proxy, fault, 0.2 if fault == "delay" else True)
        proxy.cut()
        slow = 0.0
        passed = 10
        for _ in range(100):
            began = time.monotonic()
            passed += await passes(one, "user:a")
            slow = max(slow, time.monotonic() - began)
        assert passed == 33
        assert slow < 3 * PATIENCE, "a busy machine has been thought of"
        asked = proxy.asked
        assert await count(one, 100, "user:b") == 33
        assert proxy.asked == asked, "it is not asked for five seconds"
        setattr(proxy, fault, 0)
        dial.now += ALONE
        assert await count(one, 100) >= 50, "it shares again, and has told what it let through alone"
        assert one._buckets["user:a"].bucket.left() == 0


async def test_an_answer_that_comes_late_is_not_wasted(redis_url: str) -> None:
    dial = Dial()
    async with (
        Proxy(redis_url).serve() as proxy,
        processes(through(proxy), 1, SIZES._replace(window=60.0), dial) as [one],
    ):
        assert await passes(one, "user:b")
        proxy.hold = True
        assert await passes(one, "user:a")
        alone = one._buckets["user:a"].bucket
        assert alone.alone
        proxy.hold = False
        await eventually(lambda: not alone.alone, what="the answer")
        assert await count(one, 200) == 99


async def test_what_redis_forgot_it_is_told_again(redis_url: str) -> None:
    sizes = SIZES._replace(window=60.0)
    async with processes(redis_url, 2, sizes) as [one, other]:
        assert await count(one, 60) == 60
        assert await count(other, 30) == 30
        async with Counters(redis_url) as counters:
            await counters._redis.flushall()
        assert await count(one, 100) + await count(other, 100) <= 40, "one may not know of the other's at first"
        assert await count(one, 10) == 0


async def test_a_loop_that_stands_still_is_not_taken_for_a_redis_that_does() -> None:
    counters = Counters("redis://127.0.0.1:1")
    answered = asyncio.get_running_loop().create_future()

    async def answer() -> int:
        return int(await answered)

    def stand_still() -> None:
        until = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < until:
            pass
        asyncio.get_running_loop().call_later(PATIENCE / 4, answered.set_result, 7)

    asyncio.get_running_loop().call_soon(stand_still)
    assert await counters.ask(answer()) == 7
    before = counters.away
    await _no_answer(counters)
    assert (before, counters.away) == (False, True)
    await counters.__aexit__()


async def _no_answer(counters: Counters) -> None:
    with pytest.raises(Away):
        await counters.ask(asyncio.get_running_loop().create_future())


# ── buckets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_memory_is_bounded_and_what_matters_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits._MOST", 100)
    dial = Dial()
    limits = Limits(SIZES, clock=dial)
    assert await count(limits, 200) == 100
    for number in range(300):
        await passes(limits, f"address:{number}", "address")
    assert len(limits._buckets) <= 101
    assert not await passes(limits, "user:a")
    assert sum([await passes(limits, f"address:{number}", "address") for number in range(1000, 1200)]) < 50
    dial.now += 3 * SIZES.window
    assert await passes(limits, "address:new", "address")
    assert len(limits._buckets) < 10


async def test_headers_tell_what_is_left() -> None:
    dial = Dial()
    limits = Limits(SIZES._replace(window=60.0), clock=dial)
    assert await count(limits, 9) == 9
    counted = await limits.admit("user:a", "user")
    assert counted.headers(dial.now) == (
        (b"ratelimit", b'"user";r=90;t=60'),
        (b"ratelimit-policy", b'"user";q=100;w=60'),
    )
    dial.now += 12.5
    counted = await _refused(limits)
    assert counted.headers(dial.now)[0] == (b"ratelimit", b'"user";r=0;t=48')


def test_who_has_which_limit() -> None:
    assert tier(Principal("node:n", node="n1")) == "node"
    assert tier(Principal("user:a", roles=("admin",))) == "admin"
    assert tier(Principal("token:t", roles=("deployer",), kind="service")) == "service"
    assert tier(Principal("user:b", roles=("viewer",))) == "user"
    assert {"node", "admin", "service", "user", "address"} < {*Sizes._fields}


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "address:2001:db8:1:2::/64"),
        ("fe80::1%eth0", "address:fe80::/64"),
        ("", "address:"),
        ("a:b:c", "address:a:b:c"),
    ],
)
def test_an_address_of_ipv6_is_its_network(address: str, key: str) -> None:
    assert key_of(address) == key


async def test_a_ledger_in_memory_serves_as_well() -> None:
    dial = Dial()
    ledger = MemoryLedger(Size(100, 2.0))

    class Shared:
        def draw(self, key: str, size: Size, draw: Draw) -> Awaitable[Grant]:
            async def ask() -> Grant:
                ledger.now = dial.now
                return ledger.ask("one", draw)

            return ask()

    async with Counters("redis://127.0.0.1:1") as counters:
        limits = Limits(SIZES, counters, ledger=Shared(), clock=dial)
        assert await count(limits, 300) == 100
