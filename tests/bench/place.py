"""The group `place`: how quickly replicas find a node among thousands. One process, the planner alone."""

from __future__ import annotations

import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from heroctl.domain.events import AllocPlaced
from heroctl.domain.intents import jobs
from heroctl.domain.validate import parse
from reconciler.planner.plan import Memo, plan
from tests.bench.rows import Case, Gauge
from tests.reconciler.cluster import Cluster

_SIZES: Final = {"1k": 1_000, "5k": 5_000, "10k": 10_000}
_REPLICAS: Final = 1_200
_JOBS: Final = 1_000
_SHAPES: Final = 16
_ROUNDS: Final = 5


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give placements a second of one large task, and of a thousand small jobs, on each size of cluster."""
    values: dict[str, float] = {}
    for size, nodes in _SIZES.items():
        there = _fleet(nodes)
        for name, specs in (("place", [_one_large()]), ("place_jobs", _many_small())):
            rates = [_rate(there, specs) for _ in range(_ROUNDS)]
            say(f"{name} on {nodes:,} nodes: {min(rates):,.0f}..{max(rates):,.0f}/s")
            values[f"{name}_{size}_rps"] = statistics.median(rates)
    return values


def _fleet(nodes: int) -> Cluster:
    """Bring up nodes of four sizes."""
    there = Cluster()
    for number in range(nodes):
        there.join(f"n{number:05}", cpu=(4, 8, 16, 32)[number % 4], memory=f"{(16, 32, 64, 128)[number % 4]}GiB")
    there.decide()
    assert all(node.up for node in there.state.nodes.values())
    return there


def _one_large() -> dict[str, Any]:
    return _spec("large", _REPLICAS, 0.25, 256)


def _many_small() -> list[dict[str, Any]]:
    shapes = [(0.1 * (1 + number % 4), 64 * (1 + number // 4)) for number in range(_SHAPES)]
    return [_spec(f"small-{number}", 1, *shapes[number % _SHAPES]) for number in range(_JOBS)]


def _spec(name: str, count: int, cpu: float, memory: int) -> dict[str, Any]:
    resources = {"cpu": round(cpu, 2), "memory": f"{memory}MB", "disk": "100MB"}
    task = {"name": "main", "driver": "process", "command": ["serve"], "count": count, "resources": resources}
    return {"job": name, "tasks": [task]}


def _rate(there: Cluster, specs: list[dict[str, Any]]) -> float:
    """Submit, time the passes that place everything, and take it all away again."""
    for spec in specs:
        there.do(jobs.submit_job(there.state, parse(spec), "bench"))
    beats, memo = there.beats(), Memo()
    wanted: int = sum(task["count"] for spec in specs for task in spec["tasks"])
    placed: Counter[str] = Counter()
    took = 0.0
    gc.collect()
    while placed.total() < wanted:
        began = time.process_time()
        made = plan(there.state, beats, there.clock, memo)
        took += time.process_time() - began
        assert made.pieces, f"{placed.total()} of {wanted} placed"
        assert not made.faults, made.faults
        for piece in made.pieces:
            placed.update(event.node for event in piece.events if isinstance(event, AllocPlaced))
            there.add(*piece.events)
    for spec in specs:
        there.do(jobs.delete_job(there.state, "default", spec["job"]))
    there.settle()
    return wanted / took


CASES: Final = (
    Case(
        gauges=(
            Gauge("place_1k_rps", "placements/s", at_least=15_000),
            Gauge("place_5k_rps", "placements/s", at_least=15_000),
            Gauge("place_10k_rps", "placements/s", at_least=12_000),
            Gauge("place_jobs_1k_rps", "placements/s"),
            Gauge("place_jobs_5k_rps", "placements/s"),
            Gauge("place_jobs_10k_rps", "placements/s"),
        ),
        run=run,
        method=(
            f"CPU time within `plan` (liveness of all nodes, placing, ids, events, checks; not folding or appending) "
            f"until {_REPLICAS:,} replicas of one new job, or {_JOBS:,} new jobs of one replica in {_SHAPES} shapes "
            f"(`place_jobs`), are placed on so many ready nodes of four sizes, beginning without a memo "
            f"as after a take-over. Median of {_ROUNDS}."
        ),
    ),
)
