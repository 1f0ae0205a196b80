"""The group `door`: what the front door costs, and what those who knock too hard cost the others."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Final

import msgspec
import uvloop

from api.limits import Counters, Limits, Sizes
from api.passwords import Passwords
from tests import servers
from tests.bench import product, wrk
from tests.bench.product import Cluster, Server
from tests.bench.rows import Case, Gauge
from tests.eventstore.fastloop import elapse

_SECONDS: Final = 8
_ROUNDS: Final = 3
_PATH: Final = "/v1/jobs/web-500"
_LIMIT: Final = 1_000
_FLOOD: Final = 10 * _LIMIT / 60  # requests a second
_OTHERS: Final = 4
_PACE: Final = 0.02  # seconds between two requests of one of the others
_HITS: Final = 3_000
_LOGINS: Final = 120
_USERS: Final = 12
_PASSWORD: Final = "quite another password"


# ── the gate ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def gate(say: Callable[[str], None]) -> dict[str, float]:
    """Give what looking up tokens and counting takes of the throughput of one GET."""
    gated: list[float] = []
    free: list[float] = []
    with product.cluster(filled=[f"web-{number}" for number in range(1000)]) as cluster:
        apis = {"gated": cluster.api(), "free": cluster.api(module="tests.bench.ungated")}
        for name, api in apis.items():
            assert api.client().get(_PATH).status == 200, name
        for turn in range(2 * _ROUNDS):
            for name, found in (("gated", gated), ("free", free))[:: 1 if turn % 2 else -1]:
                load = wrk.load(apis[name].url + _PATH, apis[name].token, seconds=_SECONDS // 2)
                say(f"{name}: {load.rps:,.0f}/s, p99 {load.p99:.1f} ms")
                found.append(load.rps)
    costs = [100 * (1 - mine / least) for mine, least in zip(gated, free, strict=True)]
    return {"gate_cost_pct": statistics.median(costs), "gated_get_job_rps": statistics.median(gated)}


# ── others ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def others(say: Callable[[str], None]) -> dict[str, float]:
    """Give how much slower a token's requests get while another sends ten times its limit."""
    ratios: list[float] = []
    with product.cluster(filled=["web-500"]) as cluster:
        api = cluster.api(limit_user=str(_LIMIT))
        noisy, calm = (_token(api, name) for name in ("noisy", "calm"))
        calm_api = Server(api.part, api.address, calm)
        with _flood(api, noisy) as (statuses, pause):
            for turn in range(2 * _ROUNDS):
                figures = {}
                for on in (True, False) if turn % 2 else (False, True):
                    pause(not on)
                    figures[on] = _p99(calm_api.address, api.token)
                say(f"p99 {figures[True]:.2f} ms under the flood, {figures[False]:.2f} ms without")
                ratios.append(figures[True] / figures[False])
        say(f"the flood was answered {statuses}")
        assert statuses[429] > statuses[200], statuses
        assert calm_api.client().get(_PATH).status == 200
    return {"others_p99_ratio": statistics.median(ratios)}


def _token(api: Server, name: str) -> str:
    made = api.client().post("/v1/acl/tokens", {"name": name, "roles": ["viewer"]})
    return str(made.body["secret"])


class _Flood:
    """Requests at ten times the limit from one token, in a thread; it may be held up."""

    def __init__(self, api: Server, token: str) -> None:
        self.statuses = {200: 0, 429: 0}
        self._api = api
        self._headers = {"Authorization": f"Bearer {token}"}
        self._on = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> tuple[dict[int, int], Callable[[bool], None]]:
        self._thread.start()
        return self.statuses, lambda paused: self._on.clear() if paused else self._on.set()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._on.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._end.is_set():
            self._on.wait()
            connection = HTTPConnection(*self._api.address, timeout=30)
            due = max(due, time.monotonic() - 0.1)
            while self._on.is_set() and not self._end.wait(max(0.0, due - time.monotonic())):
                due += 1 / _FLOOD
                self.statuses[_status(connection, _PATH, self._headers)] += 1
            connection.close()


_flood: Final = _Flood


def _status(connection: HTTPConnection, path: str, headers: dict[str, str]) -> int:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _p99(address: tuple[str, int], token: str) -> float:
    """Ask at a steady pace on a few connections; give the 99th percentile in ms."""
    took: list[float] = []

    def client() -> None:
        connection, headers = HTTPConnection(*address, timeout=30), {"Authorization": f"Bearer {token}"}
        end = time.monotonic() + _SECONDS
        pause = threading.Event()
        while (began := time.monotonic()) < end:
            assert _status(connection, _PATH, headers) == 200
            took.append((time.monotonic() - began) * 1000)
            pause.wait(max(0.0, began + _PACE - time.monotonic()))
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(_OTHERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.quantiles(took, n=100)[98]


# ── the limiter ──────────────────────────────────────────────────────────────────────────────────────────────────────


def hits(say: Callable[[str], None]) -> dict[str, float]:
    """Give the time of a request's permit where Redis has to be asked for it, and where it has not."""
    with servers.redis() as redis:
        asked, at_hand = uvloop.run(_hits(redis.url))
    say(f"p50 {statistics.median(asked):.3f} ms, p99 {statistics.quantiles(asked, n=100)[98]:.3f} ms")
    return {"limiter_hit_ms": statistics.median(asked), "limiter_at_hand_us": at_hand}


async def _hits(url: str) -> tuple[list[float], float]:
    asked: list[float] = []
    async with Counters(url) as counters:
        limits = Limits(Sizes(user=1_000), counters, apis=lambda: 3)
        for number in range(_HITS):
            began = time.perf_counter()
            await limits.admit(f"user:{number % 1000}-{number % 3}", "user")
            asked.append((time.perf_counter() - began) * 1000)
        assert not counters.away
        limits = Limits(Sizes(user=100 * _HITS), counters)
        await limits.admit("user:one", "user")
        began = time.perf_counter()
        for _ in range(_HITS):
            counted = limits.at_hand("user:one")
            assert counted is not None
            counted.headers(limits.clock())
        return asked, (time.perf_counter() - began) * 1e6 / _HITS


# ── logins ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def logins(say: Callable[[str], None]) -> dict[str, float]:
    """Give how far the times of logins under known and unknown names are apart, and how long they stop the loop."""
    with product.cluster() as cluster:
        known, unknown = _logins(cluster)
    low, high = statistics.median(known), statistics.median(unknown)
    say(f"known {low:.2f} ms, unknown {high:.2f} ms")
    stalls = uvloop.run(_stalls())
    say(f"the loop came late by {statistics.median(stalls):.3f} ms at the median, {max(stalls):.2f} ms at most")
    return {
        "login_known_unknown_pct": 100 * abs(high - low) / low,
        "login_ms": low,
        "loop_stall_login_ms": statistics.quantiles(stalls, n=100)[98],
    }


def _logins(cluster: Cluster) -> tuple[list[float], list[float]]:
    api = cluster.api(trusted_proxy="127.0.0.1")
    admin = api.client()
    for number in range(_USERS):
        admin.post("/v1/acl/users", {"name": f"known-{number}", "password": _PASSWORD, "roles": ["viewer"]})
    addresses = (f"10.{a}.{b}.{c}" for a, b, c in itertools.product(range(9), range(250), range(1, 250)))
    connection = HTTPConnection(*api.address, timeout=30)
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for turn in range(_LOGINS):
        for kind in ("known", "unknown") if turn % 2 else ("unknown", "known"):
            took[kind].append(_login(connection, f"{kind}-{turn % _USERS}", addresses))
    connection.close()
    return took["known"], took["unknown"]


def _login(connection: HTTPConnection, name: str, addresses: Iterator[str]) -> float:
    body = msgspec.json.encode({"username": name, "password": "a wrong password"})
    headers = {"Content-Type": "application/json", "X-Forwarded-For": next(addresses)}
    began = time.perf_counter()
    connection.request("POST", "/v1/auth/login", body, headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 401, answer.status
    return (time.perf_counter() - began) * 1000


async def _stalls() -> list[float]:
    """Look every millisecond how late that is, while four passwords at a time are checked."""
    passwords = Passwords()
    kept = await passwords.hashed(_PASSWORD)
    ended = False

    async def check() -> None:
        while not ended:
            assert await passwords.match(kept, _PASSWORD)

    checking = [asyncio.create_task(check()) for _ in range(4)]
    late: list[float] = []
    end = time.monotonic() + _SECONDS
    while (began := time.monotonic()) < end:
        await elapse(0.001)
        late.append((time.monotonic() - began - 0.001) * 1000)
    ended = True
    await asyncio.gather(*checking)
    return late


CASES: Final[tuple[Case, ...]] = (
    Case(
        gauges=(
            Gauge("gate_cost_pct", "%", at_most=20),
            Gauge("gated_get_job_rps", "requests/s", at_least=10_000),
        ),
        run=gate,
        method=(
            "wrk, 64 connections, `GET /v1/jobs/:name` with a bearer token under a limit that is out of reach; beside "
            "the same process without its gate: no token is looked up, no right is judged, nothing is counted, no "
            f"header tells of limits. Median over {2 * _ROUNDS} pairs of {_SECONDS // 2} s, in turn."
        ),
    ),
    Case(
        gauges=(Gauge("others_p99_ratio", "ratio", at_most=2),),
        run=others,
        method=(
            f"{_OTHERS} connections ask {1 / _PACE:.0f} times a second each, while another token sends ten times its "
            f"limit of {_LIMIT} a minute, and while it does not. Median of the ratios of {2 * _ROUNDS} pairs of "
            f"{_SECONDS} s."
        ),
    ),
    Case(
        gauges=(Gauge("limiter_hit_ms", "ms", at_most=0.5), Gauge("limiter_at_hand_us", "µs")),
        run=hits,
        method=(
            f"{_HITS} requests, each of a token whose permits have to be drawn from Redis, one after the other: the "
            "median; and requests whose permit is at hand, with the headers of their answers."
        ),
    ),
    Case(
        gauges=(
            Gauge("login_known_unknown_pct", "%", at_most=5),
            Gauge("login_ms", "ms"),
            Gauge("loop_stall_login_ms", "ms", at_most=10),
        ),
        run=logins,
        method=(
            f"{_LOGINS} logins with a wrong password under names of users and as many under names of nobody, in turn, "
            "each from another address: how far the medians are apart. Then four passwords at a time are checked for "
            f"{_SECONDS} s, while the loop looks every millisecond how late that is: the 99th percentile."
        ),
    ),
)
