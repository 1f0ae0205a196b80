"""Reads of one job and of a thousand, while those jobs change ten times a second."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tests.bench import fill, product, wrk
from tests.bench.client import Api
from tests.bench.product import Server
from tests.bench.rows import Case, Gauge

_SECONDS: Final = 8
_ROUNDS: Final = 3
_PERIOD: Final = 0.1  # seconds between two writes


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give requests a second and latencies of both reads, each the median of its rounds."""
    names = [f"web-{number}" for number in range(1000)]
    asks = {"get_job": ("/v1/jobs/web-500", ["web-500"]), "list_1000_jobs": ("/v1/jobs", names)}
    rounds: dict[str, list[wrk.Load]] = {name: [] for name in asks}
    wrk.ensure()
    bare: dict[str, list[wrk.Load]] = {name: [] for name in asks}
    with product.cluster(filled=names) as cluster:
        api = cluster.api()
        client = api.client()
        assert len(client.get("/v1/jobs").body) == len(names)
        floors = {name: cluster.bare(client.body(path)) for name, (path, _) in asks.items()}
        for _ in range(_ROUNDS):
            for name, (path, written) in asks.items():
                load = _under_writes(api, path, written)
                least = wrk.load(floors[name].url + path, "none", seconds=_SECONDS // 2)
                say(f"{name}: {load.rps:,.0f}/s, p99 {load.p99:.1f} ms, {load.bytes:,.0f} B; bare {least.rps:,.0f}/s")
                rounds[name].append(load)
                bare[name].append(least)
    values = {
        f"{name}_{figure}": statistics.median(getattr(load, part) for load in loads)
        for name, loads in rounds.items()
        for figure, part in (("rps", "rps"), ("p50_ms", "p50"), ("p99_ms", "p99"))
    }
    return values | {f"{name}_bare_rps": statistics.median(load.rps for load in loads) for name, loads in bare.items()}


def _under_writes(api: Server, path: str, names: Sequence[str]) -> wrk.Load:
    with _writes(api, names) as count:
        load = wrk.load(api.url + path, api.token, seconds=_SECONDS)
        done = count()
    wanted = _SECONDS / _PERIOD
    assert done > wanted * 0.85, f"{done} writes instead of {wanted:.0f}"
    return load


@contextlib.contextmanager
def _writes(api: Server, names: Sequence[str]) -> Iterator[Callable[[], int]]:
    """Change these jobs in turn, ten times a second; yield how often that was done."""
    stop = threading.Event()
    done = 0
    failures: list[Exception] = []

    def write() -> None:
        nonlocal done
        client = api.client()
        began = time.monotonic()
        try:
            for number in itertools.count():
                if stop.wait(max(0.0, began + number * _PERIOD - time.monotonic())):
                    return
                _change(client, names[number % len(names)])
                done += 1
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)
        finally:
            client.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: done
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


_release: Final = itertools.count()


def _change(client: Api, name: str) -> None:
    answer = client.post("/v1/jobs", fill.spec(name) | {"meta": {"release": str(next(_release))}})
    assert answer.status == 200, answer


CASE: Final = Case(
    gauges=(
        Gauge("get_job_rps", "requests/s", at_least=10_000),
        Gauge("get_job_p50_ms", "ms"),
        Gauge("get_job_p99_ms", "ms"),
        Gauge("get_job_bare_rps", "requests/s"),
        Gauge("list_1000_jobs_rps", "requests/s", at_least=2_000),
        Gauge("list_1000_jobs_p50_ms", "ms"),
        Gauge("list_1000_jobs_p99_ms", "ms"),
        Gauge("list_1000_jobs_bare_rps", "requests/s"),
    ),
    run=run,
    method=(
        "wrk, 64 connections, on one api process with a bearer token; full shapes of jobs with two healthy replicas; "
        "meanwhile ten `POST /v1/jobs` a second change the job read, or the listed ones in turn, on the same process. "
        f"Median of {_ROUNDS} runs of {_SECONDS} s, the two reads interleaved, "
        "and so are runs on the same server with an application that only sends the same bytes (bare)."
    ),
)
