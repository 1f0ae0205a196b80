"""One write wakes everybody who waits for that job: when the last of them has the answer, and what each costs."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgspec

from tests.bench import fill, product
from tests.bench.product import Server
from tests.bench.rows import Case, Gauge
from tests.bench.watchers import Gathered, Plan, Round, Woken

T = TypeVar("T")

_JOB: Final = "watched"
_ROUNDS: Final = 7
_WARM: Final = 200


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give, for 5,000 and 10,000 watchers, the median of the last answers; and what one costs the api in memory."""
    values: dict[str, float] = {}
    with product.cluster(filled=[_JOB]) as cluster:
        for count in (5_000, 10_000):
            # A new process each time: what one crowd left behind in the allocator would hide what the next one takes.
            ours = cluster.api()
            floor = cluster.bare(ours.client().body(f"/v1/jobs/{_JOB}"))
            rounds, kib = _measure(ours, count)
            least, _ = _measure(floor, count)
            ours.stop()
            floor.stop()
            lasts, bare = ([round(each.last) for each in some] for some in (rounds, least))
            say(f"{count}: last {lasts} ms, bare {bare} ms, {kib:.1f} KiB each, a body has {rounds[0].bytes} bytes")
            values[f"wake_{count}_last_ms"] = statistics.median(each.last for each in rounds)
            values[f"wake_{count}_p50_ms"] = statistics.median(each.p50 for each in rounds)
            values[f"wake_{count}_write_ms"] = statistics.median(each.written for each in rounds)
            values[f"wake_{count}_bare_ms"] = statistics.median(each.last for each in least)
            values["waiter_kib"] = kib
    return values


def _measure(server: Server, count: int) -> tuple[list[Woken], float]:
    """Give some rounds with so many watchers, and the KiB by which each of them made the server grow."""
    with _watchers(server, _WARM) as wake:
        for number in range(3):
            wake(number)
    before = product.settled(server.pid).resident
    with _watchers(server, count) as wake:
        after = product.settled(server.pid).resident
        rounds = [wake(number) for number in range(_ROUNDS)]
    return rounds, (after - before) / count / 1024


@contextlib.contextmanager
def _watchers(api: Server, count: int) -> Iterator[Callable[[int], Woken]]:
    """Run so many watchers; yield what writes version `number` and tells when each of them had it."""
    command = [sys.executable, "-m", "tests.bench.watchers"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    send, hear = process.stdin, process.stdout

    def ask(order: object, kind: type[T]) -> T:
        send.write(msgspec.json.encode(order) + b"\n")
        send.flush()
        line = hear.readline()
        assert line, "the watchers ended"
        return msgspec.json.decode(line, type=kind)

    def wake(number: int) -> Woken:
        product.settled(api.pid)
        spec = fill.spec(_JOB)
        return ask(Round(spec | {"meta": {"release": f"{count}-{number}"}}), Woken)

    try:
        ask(Plan(api.address, api.token, f"/v1/jobs/{_JOB}", count), Gathered)
        yield wake
    finally:
        send.close()
        process.wait(timeout=60)


CASE: Final = Case(
    gauges=(
        Gauge("wake_5000_last_ms", "ms", at_most=350),
        Gauge("wake_5000_p50_ms", "ms"),
        Gauge("wake_5000_write_ms", "ms"),
        Gauge("wake_5000_bare_ms", "ms"),
        Gauge("wake_10000_last_ms", "ms", at_most=700),
        Gauge("wake_10000_p50_ms", "ms"),
        Gauge("wake_10000_write_ms", "ms"),
        Gauge("wake_10000_bare_ms", "ms"),
        Gauge("waiter_kib", "KiB", at_most=60),
    ),
    run=run,
    method=(
        "Watchers of one process (`GET /v1/jobs/<name>?index=N&wait=5m`, bearer token, a connection each) on one api "
        "process; a `POST /v1/jobs` that changes that job; from sending it to the last byte of the last watcher's "
        f"answer, every status, index and length checked. Median of {_ROUNDS} rounds. Bare: the same server with an "
        "application that does nothing but wake and send the same bytes. Memory: growth of the resident "
        "set of a fresh api process, which had served 200 watchers before, over 10,000."
    ),
)
