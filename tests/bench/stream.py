"""A thousand readers of the stream of events, ten of which read nothing: what they miss, and how late they hear."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Final

import msgspec

from eventstore.database import Database
from eventstore.log import Append
from eventstore.postgres import open_log
from heroctl.domain.events import SecretWritten
from tests.bench import product
from tests.bench.product import Server
from tests.bench.readers import Plan, Reading, Seen
from tests.bench.rows import Case, Gauge
from tests.eventstore.fastloop import elapse

_READERS: Final = 1_000
_STALLED: Final = 10
_RATE: Final = 200  # events a second
_TOGETHER: Final = 2  # in an append
_WARM: Final = 5.0  # seconds, after which memory is measured first
_SECONDS: Final = 30.0


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give what is missed, the lag, the memory by which the api grew, and its share of a core."""
    with product.cluster() as cluster:
        api = cluster.api(token_streams="100000")
        command = [sys.executable, "-m", "tests.bench.readers"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        _send(process.stdin, Plan(api.address, api.token, _READERS, _STALLED))
        msgspec.json.decode(process.stdout.readline(), type=Reading)
        placed, grown, core = asyncio.run(_write(cluster.postgres.dsn(), api))
        _send(process.stdin, {})
        seen = msgspec.json.decode(process.stdout.readline(), type=Seen)
        process.stdin.close()
        process.wait(timeout=60)
    lags = sorted(at - placed[first] for at, first, _ in seen.pieces if first in placed)
    say(f"{len(placed):,} events to {_READERS:,} readers in {len(seen.pieces):,} pieces, {seen.cut} streams ended")
    return {
        "sse_missed": seen.missed + sum(max(placed) - last for last in seen.lasts),
        "sse_lag_p99_ms": lags[int(len(lags) * 0.99)] * 1000,
        "sse_lag_p50_ms": lags[len(lags) // 2] * 1000,
        "sse_growth_mib": grown,
        "sse_core_pct": core,
    }


def _send(pipe: IO[bytes], what: object) -> None:
    pipe.write(msgspec.json.encode(what) + b"\n")
    pipe.flush()


async def _write(dsn: str, api: Server) -> tuple[dict[int, float], float, float]:
    """Append at a rate; give when each index was committed, by how many MiB the api grew, and its share of a core."""
    placed: dict[int, float] = {}
    before, steps = None, int((_WARM + _SECONDS) * _RATE / _TOGETHER)
    async with Database(dsn) as database, open_log(database) as log:
        began = time.monotonic()
        for step in range(steps):
            event = SecretWritten("default", f"s{step % 7}", step + 1, f"row-{step}", "update")
            appended = await log.append(Append((event,) * _TOGETHER))
            at = time.monotonic()
            placed |= dict.fromkeys(range(appended.first, appended.last + 1), at)
            if before is None and at - began >= _WARM:
                before = product.usage(api.pid), at
            await elapse(max(0.0, began + (step + 1) * _TOGETHER / _RATE - time.monotonic()))
        assert before is not None
        after, took = product.usage(api.pid), time.monotonic() - before[1]
        await elapse(2.0)  # so that the slowest has heard of the last
    grown = (after.resident - before[0].resident) / 2**20
    return placed, grown, (after.cpu - before[0].cpu) / took * 100


CASES: Final = (
    Case(
        gauges=(
            Gauge("sse_missed", "events", at_most=0),
            Gauge("sse_lag_p99_ms", "ms", at_most=500),
            Gauge("sse_lag_p50_ms", "ms"),
            Gauge("sse_growth_mib", "MiB", at_most=16),
            Gauge("sse_core_pct", "%"),
        ),
        run=run,
        method=(
            f"{_READERS:,} readers of `GET /v1/events?stream=true` of one api process, and {_STALLED} that read "
            f"nothing; {_RATE} events a second for {_SECONDS:.0f} s after {_WARM:.0f} s. Lag: from the answer of the "
            "append to the piece that has it, by the oldest event of each piece. Missed: ids passed over, doubled, or "
            "not heard at the end. Growth: of the api's resident set over those seconds."
        ),
    ),
)
