"""How long a process takes to know the present, and how much memory, where the log holds a million events."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eventstore.migrate import PARTITION
from tests.bench import past, product
from tests.bench.product import Cluster
from tests.bench.rows import Case, Gauge

_EVENTS: Final = 999_999  # the next snapshot will be of the event after it: no start has more to fold
_JOBS: Final = 2_000
_ROUNDS: Final = 3


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give the median of some starts, and the greatest memory of any."""
    with product.cluster() as cluster:
        made = past.write(cluster.postgres.dsn(), events=_EVENTS, running=_JOBS)
        state = made.state
        say(f"{len(state.jobs):,} jobs, {len(state.allocs):,} allocations, {len(state.deployments):,} deployments")
        del made, state
        _snapshots(cluster.postgres.dsn(), say)
        starts = [_start(cluster, say) for _ in range(_ROUNDS)]
    return {
        "cold_start_1m_s": statistics.median(seconds for seconds, _ in starts),
        "cold_start_1m_mib": max(mib for _, mib in starts),
    }


def _snapshots(dsn: str, say: Callable[[str], None]) -> None:
    """Have made what a coordinator would have had made by now."""
    began = time.monotonic()
    command = [sys.executable, "-m", "eventstore", "snapshot"]
    run = subprocess.run(command, env={**os.environ, "HEROCTL_DSN": dsn}, capture_output=True, check=True, timeout=300)
    made = run.stdout.count(b"snapshot_made")
    assert made == _EVENTS // PARTITION, run.stdout.decode()
    say(f"{made} snapshots in {time.monotonic() - began:.0f} s")


def _start(cluster: Cluster, say: Callable[[str], None]) -> tuple[float, float]:
    """Start an api process; give the seconds until it is ready, and the most MiB it ever had resident."""
    began = time.monotonic()
    api = cluster.api()
    took, mib = time.monotonic() - began, _peak(api.pid)
    api.stop()
    say(f"{took:.1f} s, {mib:.0f} MiB")
    return took, mib


def _peak(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} tells no peak")


CASE: Final = Case(
    gauges=(
        Gauge("cold_start_1m_s", "s", at_most=10),
        Gauge("cold_start_1m_mib", "MiB", at_most=400),
    ),
    run=run,
    method=(
        f"A log of {_EVENTS:,} events, of {_JOBS:,} jobs with two replicas on fifty nodes that were rolled out again "
        "and again, so that old versions, deployments and allocations were forgotten on the way; its chain and its "
        "streams are true, and every snapshot is made that was due. Starting an api process, its imports included, "
        "until it is ready and has let an admin in. "
        f"Median of {_ROUNDS} starts; memory is the peak of the resident set over all of them."
    ),
)
