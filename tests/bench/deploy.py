"""The group `deploy`: what planning costs while little moves, and what a rollout takes beyond what it waits for.

And how long the loop of an api is held while a plan is made beside it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from api.aside import Aside
from heroctl.domain.duration import Duration
from heroctl.domain.intents import jobs
from heroctl.domain.validate import parse
from reconciler.planner.dryrun import overlay, steps
from reconciler.planner.plan import Memo, plan
from tests.bench.rows import Case, Gauge
from tests.e2e.cluster import Cluster as Processes
from tests.e2e.cluster import Size, cluster
from tests.e2e.runtimes import Workload
from tests.reconciler.cluster import Cluster

_NODES: Final = 100
_JOBS: Final = 1_000
_EACH: Final = 10
_TOUCHES: Final = 200
_REPLICAS: Final = 100
_AT_ONCE: Final = 10
_HEALTHY: Final = Duration(1_000)
_UPDATES: Final = 5
_TICK: Final = 0.001


# ── one job of many is touched ───────────────────────────────────────────────────────────────────────────────────────


def touched(say: Callable[[str], None]) -> dict[str, float]:
    """Give the time of a pass in which one job of a thousand is to be planned."""
    there, memo = _busy(), Memo()
    beats = there.beats()
    while (made := plan(there.state, beats, there.clock, memo)).pieces or made.more:
        raise AssertionError("the cluster is not at rest")
    took = []
    gc.collect()
    for number in range(_TOUCHES):
        there.do(jobs.submit_job(there.state, parse(_spec(number * 7 % _JOBS, f"touch-{number}")), "bench"))
        began = time.perf_counter()
        made = plan(there.state, beats, there.clock, memo)
        took.append((time.perf_counter() - began) * 1000)
        assert len(made.pieces) == 1, made
        there.apply(made.pieces[0])
        while (made := plan(there.state, beats, there.clock, memo)).pieces:
            there.apply(made.pieces[0])
    say(f"a pass: {min(took):.2f}..{max(took):.2f} ms")
    return {"plan_touched_ms": statistics.median(took)}


def _busy() -> Cluster:
    """Run ten replicas of each of a thousand jobs on a hundred nodes, all of them healthy."""
    there = Cluster()
    for number in range(_NODES):
        there.join(f"n{number:03}", cpu=64, memory="256GiB", disk="1TB")
    for number in range(_JOBS):
        there.do(jobs.submit_job(there.state, parse(_spec(number, "first")), "bench"))
    while there.decide() or there.step():
        there.wait(1_000)
    there.wait(60_000)
    there.decide()
    assert sum(alloc.health == "healthy" for alloc in there.state.allocs.values()) == _JOBS * _EACH
    assert all(not deployment.active for deployment in there.state.deployments.values())
    return there


def _spec(number: int, args: str) -> dict[str, Any]:
    resources = {"cpu": 0.05, "memory": "64MB", "disk": "10MB"}
    task = {"name": "main", "driver": "process", "command": ["serve"], "args": [args], "resources": resources}
    return {"job": f"job-{number:04}", "tasks": [task | {"count": _EACH}]}


# ── a rollout, step by step ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Fakes:
    """Agents whose containers are in their memory: nothing of them is on this machine."""

    name: Literal["process", "docker"] = cast("Literal['process', 'docker']", "fake")

    def running(self, cluster: str) -> list[Workload]:
        """None that could be seen."""
        del cluster
        return []

    def left(self, cluster: str) -> int:
        """Nothing ever is."""
        del cluster
        return 0

    def crash(self, workload: Workload) -> None:
        """Nothing could be ended."""
        del workload

    def task(self, script: str) -> dict[str, Any]:
        """No script is run: it is an image's name."""
        return {"image": script}


def rolling(say: Callable[[str], None]) -> dict[str, float]:
    """Give what a step of a rolling update takes beyond the time for which replicas have to be healthy."""
    over: list[float] = []
    with cluster(_Fakes(), Size(agents=2), tidy=False) as there:
        _deploy(there, 0)
        for version in range(1, _UPDATES + 1):
            rounds = _REPLICAS // _AT_ONCE
            took = _deploy(there, version)
            over.append((took - rounds * _HEALTHY.seconds) / rounds * 1000)
            say(f"{took:.2f} s for {rounds} steps: {over[-1]:.0f} ms each beyond {_HEALTHY}")
    return {"rolling_step_overhead_ms": statistics.median(over)}


def _deploy(there: Processes, version: int) -> float:
    """Submit a version; return the seconds until its deployment was successful."""
    task = {
        "name": "main",
        **there.runtime.task(f"fake:{version}"),
        "count": _REPLICAS,
        "resources": {"cpu": 0.01, "memory": "10MB", "disk": "1MB"},
        "update": {"max_parallel": _AT_ONCE, "min_healthy_time": str(_HEALTHY)},
    }
    began = time.monotonic()
    there.submit({"job": "web", "tasks": [task]})
    there.wait_deployed("web", version + 1, timeout=120)
    return time.monotonic() - began


# ── a plan beside the loop ───────────────────────────────────────────────────────────────────────────────────────────


def stalls(say: Callable[[str], None]) -> dict[str, float]:
    """Give how late a loop is that should wake every millisecond, while the largest plans are made beside it."""
    there = Cluster()
    for number in range(_NODES):
        there.join(f"n{number:03}", cpu=64, memory="256GiB", disk="1TB")
    there.decide()
    small = {"resources": {"cpu": 0.02, "memory": "10MB", "disk": "1MB"}, "update": {"max_parallel": _AT_ONCE}}
    there.run("large", "v1", count=_JOBS, **small)
    there.settle()
    gc.collect()
    gc.freeze()  # as in an api, which would else look through all of its state again and again
    try:
        late = sorted(asyncio.run(_late(there, small)))
    finally:
        gc.unfreeze()
    say(f"late: median {late[len(late) // 2]:.2f} ms, at most {late[-1]:.1f} ms")
    return {"dry_run_stall_p99_ms": late[len(late) * 99 // 100]}


async def _late(there: Cluster, small: dict[str, Any]) -> list[float]:
    late: list[float] = []
    ticking = _Ticking(late)
    aside = Aside()
    job = jobs.find_job(there.state, "default", "large")
    task = {"name": "main", "driver": "process", "command": ["serve"], "args": ["v2"], "count": _JOBS, **small}
    for _ in range(_UPDATES):
        change = jobs.submit_job(there.state, parse({"job": "large", "tasks": [task]}), "bench")
        own = overlay(there.state, job.uid)
        outlook = await aside.do(steps(own, "default", "large", change.events, there.clock))
        assert outlook.fault is None, outlook.fault
    ticking.end()
    return late


class _Ticking:
    """Asks the loop to be called back soon, again and again, and writes down how late (ms) that was."""

    def __init__(self, late: list[float]) -> None:
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._ask()

    def _ask(self) -> None:
        self._next = self._loop.call_at(self._loop.time() + _TICK, self._tick)

    def _tick(self) -> None:
        self._late.append((self._loop.time() - self._next.when()) * 1000)
        self._ask()

    def end(self) -> None:
        """Ask no more."""
        self._next.cancel()


CASES: Final = (
    Case(
        gauges=(Gauge("plan_touched_ms", "ms", at_most=5),),
        run=touched,
        method=(
            f"Time of `plan` with its memo, on a state of {_JOBS:,} jobs with {_JOBS * _EACH:,} healthy allocations on "
            f"{_NODES} nodes at rest, after a new version of one job was submitted: the pass that decides its first "
            f"step. Median of {_TOUCHES} jobs, one after the other."
        ),
    ),
    Case(
        gauges=(Gauge("rolling_step_overhead_ms", "ms", at_most=50),),
        run=rolling,
        method=(
            f"A rolling update of {_REPLICAS} replicas, {_AT_ONCE} at a time, from `POST /v1/jobs` until its "
            f"deployment is successful, less {_HEALTHY} (`min_healthy_time`) a step, divided by the steps. One api, "
            "one reconciler, two agents with the runtime that runs nothing, Postgres with fsync, Valkey. "
            f"Median of {_UPDATES} updates."
        ),
    ),
    Case(
        gauges=(Gauge("dry_run_stall_p99_ms", "ms", at_most=20),),
        run=stalls,
        method=(
            f"How much later than asked for a loop calls back that is to do so {_TICK * 1000:g} ms later, again and "
            f"again, 99th percentile, while plans of a rolling update of {_JOBS:,} replicas, {_AT_ONCE} at a time, are "
            f"made beside it, up to their bound of evaluations. {_UPDATES} plans."
        ),
    ),
)
