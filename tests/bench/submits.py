"""New jobs a second, each of them on disk before it is answered."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from tests.bench import fill, product
from tests.bench.posters import Plan, Posted
from tests.bench.product import Server
from tests.bench.rows import Case, Gauge

_SECONDS: Final = 12.0
_ROUNDS: Final = 3
_GONE: Final = 30_000
_CLIENTS: Final = 32


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give jobs a second, and the latencies, of an api on a log that has seen 30,000 jobs come and go."""
    rounds: list[Posted] = []
    with product.cluster(gone=_GONE) as cluster:
        api = cluster.api()
        for number in range(_ROUNDS):
            posted = _post(api, f"new-{number}")
            say(f"{posted.jobs / posted.seconds:,.0f}/s, p50 {posted.p50:.1f}, p99 {posted.p99:.1f} ms")
            rounds.append(posted)
        listed = len(api.client().get("/v1/jobs").body)
        assert listed == sum(posted.jobs for posted in rounds), f"{listed} jobs are there"
    return {
        "post_jobs_rps": statistics.median(posted.jobs / posted.seconds for posted in rounds),
        "post_jobs_p50_ms": statistics.median(posted.p50 for posted in rounds),
        "post_jobs_p99_ms": statistics.median(posted.p99 for posted in rounds),
    }


def _post(api: Server, prefix: str) -> Posted:
    plan = Plan(api.address, api.token, _CLIENTS, _SECONDS, fill.spec("any"), prefix)
    command = [sys.executable, "-m", "tests.bench.posters"]
    run = subprocess.run(command, input=msgspec.json.encode(plan), stdout=subprocess.PIPE, check=True, timeout=120)
    return msgspec.json.decode(run.stdout, type=Posted)


CASE: Final = Case(
    gauges=(
        Gauge("post_jobs_rps", "jobs/s", at_least=1_000),
        Gauge("post_jobs_p50_ms", "ms"),
        Gauge("post_jobs_p99_ms", "ms"),
    ),
    run=run,
    method=(
        f"{_CLIENTS} clients of one process, each submitting one new job after the other to one api process, "
        f"with fsync on, to a log that holds {_GONE:,} jobs that came and went; the jobs are counted afterwards. "
        f"Median of {_ROUNDS} runs of {_SECONDS:.0f} s."
    ),
)
