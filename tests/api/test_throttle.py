"""Attempts to log in: what guessing costs, and that nobody is locked out by somebody elsewhere."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Final

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from api.attempts import ADDRESS, NAME, PAIR, QUIET, RULES, Tally, Verdict, held, keys_of
from api.limits import Counters
from api.throttle import Throttle
from heroctl.domain.addresses import networks
from heroctl.domain.errors import TooMany
from tests.api.rig import PASSWORD, Reply, Rig

HERE: Final = "198.51.100.1"
THERE: Final = "198.51.100.2"


async def login(api: Rig, name: str, password: str, address: str = HERE) -> Reply:
    api.parts.trusted = networks(["192.0.2.7"])
    body = {"username": name, "password": password}
    return await api.post("/v1/auth/login", body, token="", headers={"x-forwarded-for": address})


class Dial:
    """A clock in hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pass_(api: Rig, seconds: float) -> None:
    """Let time pass for the throttle alone."""
    api.parts.throttle.dial.now += seconds  # type: ignore[attr-defined] # the fixture's


@pytest.fixture
def quick(api: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """An api whose clock of attempts stands still, whose passwords cost nothing, and whose pauses take no time."""

    async def match(kept: bytes | None, password: str) -> bool:
        return kept is not None and password == PASSWORD

    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(api.parts.passwords, "match", match)
    dial = Dial()
    api.parts.throttle = Throttle(clock=dial, pause=pause)
    monkeypatch.setattr(api.parts.throttle, "paused", paused, raising=False)
    monkeypatch.setattr(api.parts.throttle, "dial", dial, raising=False)
    return api


async def test_the_addresses_of_one_network_count_as_one(quick: Rig) -> None:
    for number in range(10):
        address = f"2001:db8:0:7:{number:x}::1"
        assert (await login(quick, "admin", "wrong", address)).error == "invalid_credentials"
    assert (await login(quick, "admin", "wrong", "2001:db8:0:7:ffff::1")).error == "too_many_logins"
    assert (await login(quick, "admin", PASSWORD, "2001:db8:0:8::1")).status == 200


async def test_ten_may_be_wrong_then_each_doubles_the_wait(quick: Rig) -> None:
    for _ in range(10):
        assert (await login(quick, "admin", "wrong")).error == "invalid_credentials"
    waits = []
    for _ in range(12):
        refused = await login(quick, "admin", PASSWORD)
        assert (refused.status, refused.error) == (429, "too_many_logins")
        waits.append(int(refused.headers["retry-after"]))
        pass_(quick, waits[-1])
        assert (await login(quick, "admin", "wrong")).error == "invalid_credentials"
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


async def test_a_right_password_begins_anew(quick: Rig) -> None:
    for _ in range(3):
        for _ in range(9):
            await login(quick, "admin", "wrong")
        assert (await login(quick, "admin", PASSWORD)).status == 200


async def test_nobody_is_locked_out_from_elsewhere(quick: Rig) -> None:
    for number in range(300):
        await login(quick, "admin", "wrong", f"203.0.113.{number % 250}")
    assert (await login(quick, "admin", PASSWORD, THERE)).status == 200


async def test_an_address_may_not_go_through_names(quick: Rig) -> None:
    errors = [(await login(quick, f"user-{number}", "wrong")).error for number in range(60)]
    assert errors == ["invalid_credentials"] * ADDRESS.free + ["too_many_logins"] * (60 - ADDRESS.free)
    assert (await login(quick, "admin", PASSWORD)).error == "too_many_logins"
    assert (await login(quick, "admin", PASSWORD, THERE)).status == 200
    pass_(quick, ADDRESS.first)
    assert (await login(quick, "admin", PASSWORD)).status == 200


async def test_guesses_from_everywhere_are_held_back_three_seconds_at_most(quick: Rig) -> None:
    for number in range(200):
        await login(quick, "admin", "wrong", f"203.0.113.{number}")
    paused: list[float] = quick.parts.throttle.paused  # type: ignore[attr-defined] # the fixture's
    assert len(paused) == 200 - NAME.free
    assert paused == sorted(paused)
    assert max(paused) == 3.0


async def test_it_makes_no_difference_whether_there_is_such_a_user(quick: Rig) -> None:
    await quick.parts.view.catch_up()
    told: list[list[object]] = []
    for name, address in (("admin", "198.51.100.8"), ("nobody", "198.51.100.9")):
        replies = [await login(quick, name, "wrong", address) for _ in range(12)]
        told.append(
            [(each.status, each.error, each.body["message"], each.headers.get("retry-after")) for each in replies]
        )
    assert told[0] == told[1]


async def test_spellings_of_a_name_count_as_one(quick: Rig) -> None:
    for name in ("admin", "ADMIN", " Admin ", "\uff41dmin", "aDmin") * 2:
        assert (await login(quick, name, "wrong")).error == "invalid_credentials"
    assert (await login(quick, "admin", PASSWORD)).error == "too_many_logins"


async def test_known_and_unknown_names_take_as_long(api: Rig) -> None:
    api.parts.throttle = Throttle(clock=api.clock.monotonic)
    took: dict[str, list[float]] = {"admin": [], "nobody": []}

    def alike() -> bool:
        known, unknown = (min(times) for times in took.values())
        return known == pytest.approx(unknown, rel=0.5)  # only gross differences: a bench tells the fine ones

    for number in range(60):  # as many as a machine takes that has other things to do
        for name, times in took.items():
            began = time.perf_counter()
            assert (await login(api, name, "wrong")).status == 401
            times.append(time.perf_counter() - began)
        if number > 5 and alike():
            break
    assert alike(), took


# ── over all apis ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_attempts_are_counted_over_all_processes(redis_url: str) -> None:
    async with Counters(redis_url) as one, Counters(redis_url) as other:
        throttles = [Throttle(one), Throttle(other)]
        for number in range(10):
            await throttles[number % 2].attempt("admin", HERE)
        for throttle in throttles:
            with pytest.raises(TooMany) as refused:
                await throttle.attempt("admin", HERE)
            assert refused.value.retry_after == 1
        await throttles[0].attempt("admin", THERE)
        await throttles[0].good("admin", THERE)


async def test_many_at_once_are_no_way_around(redis_url: str) -> None:
    async with Counters(redis_url) as counters:
        throttle = Throttle(counters)
        passed = 0
        for _ in range(40):
            try:
                await throttle.attempt("admin", HERE)
            except TooMany:
                continue
            passed += 1
        assert passed == PAIR.free


async def test_no_name_is_kept(redis_url: str) -> None:
    async with Counters(redis_url) as counters:
        await Throttle(counters).attempt("very-secret-name", HERE)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = client.keys("*")
        assert len(keys) == 3
        for key in keys:
            assert "very-secret-name" not in key + str(client.hgetall(key))
            assert 0 < client.pttl(key) <= QUIET * 1000


async def test_without_redis_each_process_counts_for_itself() -> None:
    async with Counters("redis://127.0.0.1:1") as counters:
        throttle = Throttle(counters)
        for _ in range(10):
            await throttle.attempt("admin", HERE)
        with pytest.raises(TooMany):
            await throttle.attempt("admin", HERE)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.attempts._MOST", 300)
    tally = Tally()
    for number in range(1000):
        tally.attempt(keys_of(f"name-{number}", f"address-{number}"), float(number))
    assert len(tally._counts) <= 300


# ── the script ───────────────────────────────────────────────────────────────────────────────────────────────────────


def script_at(client: redis.Redis) -> Callable[[str, Sequence[str], int], list[int]]:
    """Make the script callable with the time of its clock, which it reads itself otherwise."""
    text = files("api").joinpath("attempts.lua").read_text()
    read = "redis.call('TIME')"
    assert text.count(read) == 1
    script = client.register_script(text.replace(read, "{ARGV[#ARGV], 0}"))
    rules = [int(number) for rule in RULES for number in (rule.free, rule.first * 1000, rule.longest * 1000)]
    return lambda what, keys, now: script(keys=keys, args=[what, int(QUIET * 1000), *rules, now])


def test_the_script_counts_as_the_tally_does(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    ask = script_at(client)
    deeds = st.tuples(
        st.sampled_from(["try", "try", "try", "try", "good"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from([0, 0, 0, 1, 5, 40]),
    )

    @settings(max_examples=40)
    @given(st.lists(deeds, max_size=100))
    def same(deeds: list[tuple[str, str, str, int]]) -> None:
        tally, now, mark = Tally(), 1_700_000_000, secrets.token_hex(6)
        for what, name, address, seconds in deeds:
            now += seconds
            keys = keys_of(mark + name, mark + address)
            wait, *tried = ask(what, keys, now)
            if what == "good":
                tally.good(keys, float(now))
            else:
                told = Verdict(wait / 1000, 0.0 if wait else held(tried[-1]))
                assert tally.attempt(keys, float(now)) == told

    same()
    client.close()
