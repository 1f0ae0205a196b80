"""The group `placement`: how quickly replicas find a node among thousands. One process, the planner alone."""

from __future__ import annotations

import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from heroctl.domain import spec as specs
from heroctl.domain.events import AllocPlaced
from heroctl.domain.intents import jobs
from heroctl.domain.records import Usage
from heroctl.domain.validate import parse
from reconciler.planner.filters import Ask
from reconciler.planner.place import Fleet
from reconciler.planner.plan import Memo, plan
from tests.bench.rows import Case, Gauge
from tests.reconciler.cluster import Cluster
from tests.reconciler.naive import naive

_SIZES: Final = {"1k": 1_000, "5k": 5_000, "10k": 10_000}
_REPLICAS: Final = 1_200
_JOBS: Final = 1_000
_SHAPES: Final = 16
_RACKS: Final = 50
_ROUNDS: Final = 9
_SAMPLES: Final = 12  # placements of a row that are held against asking every node


class Load(NamedTuple):
    """What is submitted at once, and what is asked of it. `cold`: to a coordinator that remembers nothing."""

    specs: list[dict[str, Any]]
    bars: dict[str, float]
    cold: bool = False


def run(say: Callable[[str], None]) -> dict[str, float]:
    """Give placements a second of each load, on each size of cluster."""
    values: dict[str, float] = {}
    for size, nodes in _SIZES.items():
        there = _fleet(nodes)
        for name, load in _LOADS.items():
            rates = [_rate(there, load) for _ in range(_ROUNDS)]
            say(f"{name} on {nodes:,} nodes: {min(rates):,.0f}..{max(rates):,.0f}/s")
            values[f"{name}_{size}_s"] = statistics.median(rates)
    return values


def _fleet(nodes: int) -> Cluster:
    """Bring up nodes of four sizes, each of them full by another part."""
    there = Cluster()
    for number in range(nodes):
        cpu, memory = (4, 8, 16, 32)[number % 4], (16, 32, 64, 128)[number % 4]
        there.join(f"n{number:05}", cpu, f"{memory}GiB", labels={"rack": f"r{number % _RACKS:02}"})
    there.decide()
    for number, node in enumerate(there.state.nodes.values()):
        assert node.up
        share = number * 37 % 70 / 100
        total = node.capacity
        there.state.usage[node.id] = Usage(round(total.cpu * 1000 * share), round(total.memory * share))
    there.memo = Memo()
    there.decide()
    return there


def _one_large(**fields: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a task's fields
    return [_spec("large", _REPLICAS, 0.25, 256, **fields)]


def _many_small() -> list[dict[str, Any]]:
    shapes = [(0.1 * (1 + number % 4), 64 * (1 + number // 4)) for number in range(_SHAPES)]
    return [_spec(f"small-{number}", 1, *shapes[number % _SHAPES]) for number in range(_JOBS)]


def _spec(name: str, count: int, cpu: float, memory: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - a task's fields
    resources = {"cpu": round(cpu, 2), "memory": f"{memory}MB", "disk": "100MB"}
    task = {"name": "main", "driver": "process", "command": ["serve"], "count": count, "resources": resources}
    return {"job": name, "tasks": [{**task, **fields}]}


def _rate(there: Cluster, load: Load) -> float:
    """Submit, time the passes that place everything, and take it all away again."""
    for spec in load.specs:
        there.do(jobs.submit_job(there.state, parse(spec), "bench"))
    rooms = Fleet()
    rooms.refresh(there.state)
    beats, memo = there.beats(), Memo() if load.cold else there.memo
    wanted: int = sum(task["count"] for spec in load.specs for task in spec["tasks"])
    placed: list[AllocPlaced] = []
    took = 0.0
    gc.collect()
    while len(placed) < wanted:
        began = time.process_time()
        made = plan(there.state, beats, there.clock, memo)
        took += time.process_time() - began
        assert made.pieces, f"{len(placed)} of {wanted} placed"
        assert not made.faults, made.faults
        for piece in made.pieces:
            placed += [event for event in piece.events if isinstance(event, AllocPlaced)]
            there.add(*piece.events)
    _compare(there, rooms, placed)
    for spec in load.specs:
        there.do(jobs.delete_job(there.state, "default", spec["job"]))
    there.settle()
    return wanted / took


def _compare(there: Cluster, fleet: Fleet, placed: list[AllocPlaced]) -> None:
    """Hold some of the placements against what asking every node gives."""
    near: dict[int, Counter[str]] = {}
    for number, event in enumerate(placed):
        job = there.state.jobs[event.uid]
        task = specs.decode(job.current.spec).tasks[0]
        ask, here = Ask.of(task), near.setdefault(event.uid, Counter())
        if number % (len(placed) // _SAMPLES) == 0:
            assert event.node == naive(fleet.rooms, ask, task.count, here)
        here[event.node] += 1
        fleet.take(event.node, ask)


_LOADS: Final = {
    "place": Load(_one_large(), {"1k": 150_000, "5k": 120_000, "10k": 80_000}),
    "place_spread": Load(
        _one_large(spread=[{"attribute": "${node.labels.rack}"}]), {"1k": 120_000, "5k": 100_000, "10k": 60_000}
    ),
    "place_jobs": Load(_many_small(), {"1k": 15_000, "5k": 10_000, "10k": 6_000}),
    "place_cold": Load(_one_large(), {}, cold=True),
}
CASES: Final = (
    Case(
        gauges=tuple(
            Gauge(f"{name}_{size}_s", "placements/s", at_least=load.bars.get(size))
            for name, load in _LOADS.items()
            for size in _SIZES
        ),
        run=run,
        method=(
            f"CPU time within `plan` (liveness of all nodes, placing, ids, events, checks; not folding or appending) "
            f"until {_REPLICAS:,} replicas of one new job, the same spread over {_RACKS} racks (`place_spread`), or "
            f"{_JOBS:,} new jobs of one replica in {_SHAPES} shapes (`place_jobs`) are placed on so many ready nodes "
            f"of four sizes, full by 0 to 70 %. The coordinator is at work and has its memory, from which all that was "
            f"placed before is gone; beside that as after a take-over, without it (`place_cold`). {_SAMPLES} of the "
            f"placements of each round are compared with asking every node. Median of {_ROUNDS}."
        ),
    ),
)
