"""Permits, by any number of processes in any order: never more than the limit in any window, hardly ever fewer."""

from __future__ import annotations

import itertools
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api.permits import Bucket, Chunk, Draw, Grant, Size, Told
from tests.api.ledger import MemoryLedger

WINDOW: Final = 64.0  # seconds; times are parts of 1024, so that sums are exact


@dataclass(slots=True)
class Process:
    """One process: its clock began some time ago. A question of its may be under way."""

    name: str
    bucket: Bucket
    began: float
    draw: Draw | None = None
    sent: float = 0.0
    grant: Grant | None = None
    passed: list[float] = field(default_factory=list)


class World:
    """Processes, a ledger, and time. What was let through is kept, by true time."""

    def __init__(self, limit: int, processes: int) -> None:
        self.size = Size(limit, WINDOW)
        self.now = 1000.0
        self.ledger = MemoryLedger(self.size, now=5000.0)
        self.processes = [Process(f"p{n}", Bucket(self.size, itertools.count(1)), 100.0 * n) for n in range(processes)]
        self.passed: list[float] = []
        self.touched = -math.inf  # when something last went wrong
        self.refusals = 0

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.now += seconds

    def request(self, process: Process, count: int) -> None:
        """Ask so often; where the ledger has to be asked, the rest goes unanswered until it has replied."""
        for _ in range(count):
            now = self.now + process.began
            if process.bucket.spend(now):
                self.passed.append(self.now)
                process.passed.append(self.now)
            elif now < process.bucket.refused_until:
                self.refused()
                return
            else:
                if process.draw is None:
                    process.draw, process.sent = self._draw(process, now), now
                return

    def _draw(self, process: Process, now: float) -> Draw:
        return process.bucket.draw(now, self.size.chunk(len(self.processes)))

    def arrive(self, process: Process) -> None:
        """Let a question reach the ledger."""
        if process.draw is not None and process.grant is None:
            process.grant = self.ledger.ask(process.name, process.draw)

    def reply(self, process: Process) -> None:
        """Let an answer reach its process, which asks anew where the ledger has forgotten."""
        draw, grant, now = process.draw, process.grant, self.now + process.began
        if draw is None or grant is None:
            return
        process.grant = None
        if grant.forgot:
            process.draw, process.sent = process.bucket.again(draw, now), now
        else:
            process.draw = None
            process.bucket.take(draw, grant, process.sent, now)

    def lose(self, process: Process) -> None:
        """Lose a question or its answer, and grant alone once."""
        if process.draw is not None:
            self.touched = self.now
            process.bucket.lost(process.draw, process.sent)
            process.draw = process.grant = None
            apis = len(self.processes)
            process.bucket.draw_alone(self.now + process.began, self.size.chunk(apis), self.size.share(apis).limit)

    def kill(self, process: Process) -> None:
        """End a process without a word; another one takes its place."""
        self.touched = self.now
        process.name = f"p{secrets.token_hex(4)}"
        process.bucket, process.draw, process.grant = Bucket(self.size, itertools.count(1)), None, None

    def forget(self) -> None:
        """Start the ledger anew, empty."""
        self.touched = self.now
        self.ledger.entries.clear()

    def step(self, seconds: float) -> None:
        """Set the ledger's clock."""
        self.touched = self.now
        self.ledger.now += seconds

    def refused(self) -> None:
        """Judge a refusal: nine tenths of the limit were let through in this window."""
        self.refusals += 1
        if self.now - self.touched > 3 * WINDOW:
            most = sum(self.now - WINDOW < at <= self.now for at in self.passed)
            assert most >= 0.9 * self.size.limit, (most, self.size)


def most_in_a_window(passed: list[float]) -> int:
    """Count the requests of the fullest window."""
    first, most = 0, 0
    for last, at in enumerate(passed):
        while passed[first] <= at - WINDOW:
            first += 1
        most = max(most, last - first + 1)
    return most


SMALL = st.integers(1, 64 * 1024).map(lambda ticks: ticks / 1024 / 8)
WELL = [
    st.tuples(st.just("request"), st.integers(0, 3), st.sampled_from([1, 5, 30, 200])),
    st.tuples(st.just("request"), st.integers(0, 3), st.just(200)),
    st.tuples(st.sampled_from(["arrive", "reply"]), st.integers(0, 3)),
    st.tuples(st.just("settle")),
    st.tuples(st.just("pass"), SMALL),
    st.tuples(st.just("pass"), st.sampled_from([0.0, 1 / 1024, 5.0, WINDOW - 5.5, WINDOW])),
]
ILL = [
    st.tuples(st.sampled_from(["lose", "kill"]), st.integers(0, 3)),
    st.tuples(st.just("forget")),
    st.tuples(st.just("step"), st.integers(-100, 100).map(float)),
]


def play(world: World, deeds: list[tuple[Any, ...]]) -> None:
    """Do this, in this order; whatever is under way stays so until a deed goes on with it."""
    for name, *given_ in deeds:
        if name == "pass":
            world.pass_(given_[0])
        elif name == "settle":
            for process in world.processes:
                world.arrive(process)
                world.reply(process)
        elif name in ("forget", "step"):
            getattr(world, name)(*given_)
        else:
            which, *more = given_
            getattr(world, name)(world.processes[which % len(world.processes)], *more)


BENIGN = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@BENIGN
@given(st.sampled_from([100, 400, 1000]), st.integers(1, 4), st.lists(st.one_of(WELL), min_size=20, max_size=250))
def test_never_more_than_the_limit_and_never_refused_below_nine_tenths(
    limit: int, processes: int, deeds: list[tuple[Any, ...]]
) -> None:
    world = World(limit, processes)
    play(world, deeds)
    assert most_in_a_window(world.passed) <= limit


# An answer after a whole window, to a question that tells of what was spent before.
_MORE = ("request", 0, 200)
_LATE: list[tuple[Any, ...]] = [_MORE, ("settle",), _MORE, ("settle",), _MORE, ("pass", WINDOW)]


@BENIGN
@example(100, 1, _LATE)
@given(st.sampled_from([100, 400]), st.integers(1, 4), st.lists(st.one_of(WELL + ILL), min_size=20, max_size=250))
def test_whatever_goes_wrong_no_process_lets_more_through_and_it_heals(
    limit: int, processes: int, deeds: list[tuple[Any, ...]]
) -> None:
    world = World(limit, processes)
    ended: list[list[float]] = []
    for deed in deeds:
        if deed[0] == "kill":
            process = world.processes[deed[1] % processes]
            ended.append(process.passed)
            process.passed = []
        play(world, [deed])
    for passed in [*ended, *(process.passed for process in world.processes)]:
        assert most_in_a_window(passed) <= limit
    play(world, [("settle",), ("settle",), ("pass", 3 * WINDOW + 1)])
    began = world.now
    for _ in range(200):
        play(world, [("request", n, 50) for n in range(processes)] + [("settle",), ("pass", 1 / 16)])
    late = [at for at in world.passed if at >= began]
    assert 0.9 * limit <= most_in_a_window(late) <= limit


@BENIGN
@given(st.sampled_from([100, 400]), st.integers(1, 4), st.lists(st.one_of([*WELL, ILL[0]]), min_size=20, max_size=250))
def test_a_ledger_that_is_lost_lets_twice_the_limit_through_at_most_and_only_then(
    limit: int, processes: int, deeds: list[tuple[Any, ...]]
) -> None:
    world = World(limit, processes)
    play(world, [deed for deed in deeds if deed[0] != "kill"])
    assert most_in_a_window(world.passed) <= 2 * limit
    if world.touched < 0:
        assert most_in_a_window(world.passed) <= limit


def test_a_fast_client_gets_nearly_all_in_each_window() -> None:
    world = World(1000, 3)
    for turn in range(3 * 64 * 4):
        world.request(world.processes[turn % 3], 40)
        play(world, [("settle",), ("pass", 0.25)])
    assert world.refusals > 100
    for start in (0.0, 64.0, 128.0):
        assert sum(1000.0 + start <= at < 1000.0 + start + WINDOW for at in world.passed) >= 900


def test_waiting_as_told_is_enough() -> None:
    world = World(100, 1)
    [process] = world.processes
    for _ in range(10):
        while world.refusals == 0:
            world.request(process, 10)
            play(world, [("settle",), ("pass", 1 / 8)])
        wait = process.bucket.retry_after(world.now + process.began)
        world.refusals, before = 0, len(world.passed)
        world.pass_(wait)
        world.request(process, 1)
        play(world, [("settle",)])
        world.request(process, 1)
        assert len(world.passed) > before
        assert world.refusals == 0


def test_alone_a_process_counts_what_it_let_through_before() -> None:
    bucket = Bucket(Size(90, 60.0), itertools.count(1))
    draw = bucket.draw(0.0, 20)
    bucket.take(draw, Grant(20, 70, 60.0), 0.0, 0.0)
    assert all(bucket.spend(0.0) for _ in range(20))
    alone = 0
    for _ in range(20):
        bucket.draw_alone(1.0, 7, 30)
        while bucket.spend(1.0):
            alone += 1
    assert alone == 10
    assert bucket.refused_until == 60.0
    assert bucket.retry_after(1.0) == 59


def test_chunks_are_a_twentieth_at_most_and_smaller_among_many() -> None:
    size = Size(1000, 60.0)
    assert [size.chunk(apis) for apis in (0, 1, 2, 3, 10)] == [50, 50, 33, 20, 5]
    assert Size(10, 60.0).chunk(3) == 1


def test_what_was_not_told_stays_little_however_long_the_ledger_is_away() -> None:
    bucket = Bucket(Size(100, 60.0), itertools.count(1))
    for second in range(3000):
        now = float(second)
        bucket.lost(bucket.draw(now, 5), now)
        bucket.draw_alone(now, 5, 33)
        bucket.spend(now)
    assert len(bucket._untold) < 140
    assert len(bucket._past) <= 60


# ── the script ───────────────────────────────────────────────────────────────────────────────────────────────────────


def script_at(client: redis.Redis) -> Callable[[str, Size, int, str, Draw], tuple[int, int, int]]:
    """Make the script callable with the time of its clock, which it reads itself otherwise."""
    text = files("api").joinpath("permits.lua").read_text()
    read = "redis.call('TIME')"
    assert text.count(read) == 1
    script = client.register_script(
        text.replace(read, "{ARGV[#ARGV] / 1000000, 0}").replace("#ARGV, 3", "#ARGV - 1, 3")
    )

    def ask(key: str, size: Size, now: int, owner: str, draw: Draw) -> tuple[int, int, int]:
        told = [number for each in draw.told for number in (each.number, each.spent, int(each.age * 1e6))]
        times = int(size.window * 1e6), int(size.lease * 1e6)
        permits, free, wait = script(
            keys=[key], args=[size.limit, *times, draw.want, owner, draw.number, draw.mine, *told, now]
        )
        return int(permits), int(free), int(wait)

    return ask


QUESTIONS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 500, 3000, -2000, 12_000]),  # ms that pass
        st.sampled_from("abc"),
        st.integers(1, 30),  # permits wanted
        st.floats(0, 1),  # how much of the last chunk was spent
        st.sampled_from([0, 0, 0, 1, 40]),  # what it thinks the ledger knows beside
    ),
    max_size=40,
)


def test_the_script_does_what_its_model_does(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    ask = script_at(client)

    @settings(max_examples=60)
    @given(QUESTIONS)
    def same(questions: list[tuple[int, str, int, float, int]]) -> None:
        size, key = Size(60, 12.0), secrets.token_hex(8)
        ledger = MemoryLedger(size, now=1_700_000_000.0)
        chunks: dict[str, Chunk] = {}
        for number, (ms, owner, want, part, beside) in enumerate(questions, 1):
            ledger.now = round(ledger.now + ms / 1000, 3)
            last = chunks.get(owner, Chunk(0))
            told = (Told(last.number, int(last.granted * part), 0.25),) if last.number else ()
            draw = Draw(number, want, told, beside)
            permits, free, wait = ask(key, size, round(ledger.now * 1e6), owner, draw)
            grant = ledger.ask(owner, draw)
            assert grant.forgot == (permits < 0)
            assert (grant.permits, grant.free) == (max(permits, 0), free)
            assert wait / 1e6 == pytest.approx(grant.wait, abs=1e-3)
            chunks[owner] = Chunk(number, grant.permits)
            assert client.pttl(key) > 0 or not client.exists(key)

    same()
    client.close()


def test_windows_are_counted_right() -> None:
    """The counting of the tests themselves."""
    assert most_in_a_window([0.0, WINDOW]) == 1
    assert most_in_a_window([0.0, WINDOW - 1 / 1024]) == 2
    assert all(a <= b for a, b in pairwise([1.0, 1.0, 2.0]))
