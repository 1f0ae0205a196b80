"""What a cluster of two hundred nodes takes: to bring a thousand replicas up, and while nothing happens."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from tests.bench import product
from tests.bench.client import Api
from tests.bench.fakes import CORES
from tests.bench.product import Cluster, Server
from tests.bench.rows import Case, Gauge
from tests.e2e.parts import Part
from tests.waiting import until

NODES: Final = 200
BEAT: Final = 2.0  # seconds between two beats of a node
REPLICAS: Final = 1_000
STEADY: Final = 5_000
SAMPLES: Final = (NODES + STEADY) * 6  # a minute of a steady cluster
_JOBS: Final = 50  # of the steady cluster
_ROUNDS: Final = 5
_SETTLE: Final = 15.0  # seconds until deployments are over, and what they left is done
_WATCHED: Final = 60.0  # seconds
_JOINED: Final = 240.0  # seconds at most
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Fleet:
    """A control plane with its nodes, all of them ready."""

    cluster: Cluster
    server: Server
    client: Api
    reconciler: Part

    @property
    def pids(self) -> tuple[int, int]:
        """The processes that are measured: the api's and the reconciler's."""
        return self.server.pid, self.reconciler.pid

    def submit(self, name: str, count: int, of: int) -> float:
        """Submit a job and follow it until all of its replicas run; return the seconds that took.

        `of`: how many replicas of this size fill all nodes.
        """
        spec = _spec(name, count, CORES * NODES / of)
        self.client.close()  # the server ends connections that were idle for some seconds
        began = time.monotonic()
        answer = self.client.post("/v1/jobs", spec)
        index, deadline, running = answer.at, began + 120, 0
        while running < count:
            assert time.monotonic() < deadline, f"{running} of {count} run after two minutes"
            answer = self.client.get(f"/v1/jobs/{name}?index={index}&wait=30s")
            index, running = answer.at, sum(task["running"] for task in answer.body["tasks"])
        return time.monotonic() - began

    def delete(self, name: str) -> None:
        """Delete a job and wait until its replicas are gone."""
        self.client.ask("DELETE", f"/v1/jobs/{name}")
        until(lambda: not self._left(name), timeout=60, what=f"the end of {name}")

    def beats(self) -> int:
        """Count the syncs that all sessions have had so far."""
        with psycopg.connect(self.cluster.postgres.dsn()) as connection:
            row = connection.execute("SELECT sum(count) FROM heroctl.beats").fetchone()
        assert row is not None
        return int(row[0])

    def sampled(self) -> int:
        """Count the samples of a minute, which began a little more than one ago: so late do some come."""
        count = "SELECT count(*) FROM heroctl.samples WHERE at BETWEEN %(last)s - 50 AND %(last)s"
        with psycopg.connect(self.cluster.postgres.dsn()) as connection:
            row = connection.execute(count, {"last": int(time.time()) // 10 * 10 - 20}).fetchone()
        assert row is not None
        return int(row[0])

    def _left(self, name: str) -> list[dict[str, Any]]:
        listed = self.client.get(f"/v1/allocations?job={name}&limit=1000").body
        return [alloc for alloc in listed if alloc["status"] not in ("complete", "failed", "lost")]


@contextlib.contextmanager
def fleet(nodes: int = NODES, *, api: str = "api") -> Iterator[Fleet]:
    """Run a control plane and so many agents; the agents are a process of their own. `api`: the api's module."""
    with product.cluster() as cluster:
        server = cluster.api(api, limit_node="1000000000")
        cluster.reconciler()
        reconciler = cluster.parts[-1]
        flags = (f"--api={server.url}", f"--nodes={nodes}")
        fakes = Part("fakes", "tests.bench.fakes", flags, cluster.folder, {"BENCH_TOKEN": server.token})
        cluster.parts.append(fakes)
        fakes.start()
        with contextlib.closing(server.client()) as client:
            until(lambda: _ready(client, fakes) == nodes, timeout=_JOINED, what=f"{nodes} ready nodes")
            yield Fleet(cluster, server, client, reconciler)
        assert fakes.runs, f"the agents ended:\n{fakes.tail()}"


def _ready(client: Api, fakes: Part) -> int:
    assert fakes.runs, f"the agents ended:\n{fakes.tail()}"
    return sum(node["status"] == "ready" for node in client.get("/v1/nodes?limit=1000").body)


def starts(say: Callable[[str], None]) -> dict[str, float]:
    """Give the seconds from submitting a thousand replicas until all of them run."""
    took: list[float] = []
    with fleet() as there:
        for number in range(_ROUNDS):
            before = [product.usage(pid).cpu for pid in there.pids]
            took.append(there.submit(f"large-{number}", REPLICAS, REPLICAS))
            spent = [product.usage(pid).cpu - cpu for pid, cpu in zip(there.pids, before, strict=True)]
            say(f"{REPLICAS:,} run after {took[-1]:.2f} s: api {spent[0]:.2f} s, reconciler {spent[1]:.2f} s of CPU")
            there.delete(f"large-{number}")
    return {"run_1000_on_200_s": statistics.median(took)}


def steady(say: Callable[[str], None]) -> dict[str, float]:
    """Give what api and reconciler use together while nothing happens but beats."""
    with fleet() as there:
        fill(there)
        rest(_SETTLE)
        beats = there.beats()
        shares, sizes = measured(there.pids, _WATCHED)
        heard, sampled = (there.beats() - beats) / _WATCHED, there.sampled()
    assert sampled >= SAMPLES * 0.9, f"only {sampled:,} samples a minute"
    assert heard >= NODES / BEAT * 0.9, f"only {heard:.0f} beats a second"
    say(f"{heard:.0f} beats a second, {sampled:,} samples a minute")
    for name, share, size in zip(("api", "reconciler"), shares, sizes, strict=True):
        say(f"{name}: {share:.1f} % of a core, {size:.0f} MiB")
    return {"steady_core_pct": sum(shares), "steady_mib": sum(sizes)}


def fill(there: Fleet) -> None:
    """Run what a steady cluster runs."""
    for number in range(_JOBS):
        there.submit(f"steady-{number}", STEADY // _JOBS, STEADY)


def measured(pids: tuple[int, ...], seconds: float) -> tuple[list[float], list[float]]:
    """Give the share of a core (%) that each process used in that time, and its size (MiB) at the end of it."""
    before, began = [product.usage(pid) for pid in pids], time.monotonic()
    rest(seconds)
    after, took = [product.usage(pid) for pid in pids], time.monotonic() - began
    shares = [(now.cpu - then.cpu) / took * 100 for then, now in zip(before, after, strict=True)]
    return shares, [now.resident / _MIB for now in after]


def rest(seconds: float) -> None:
    """Let time pass."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, timeout=2 * seconds, what="the end of the wait")


def _spec(name: str, count: int, cores: float) -> dict[str, Any]:
    task = {
        "name": "web",
        "image": "shop:1",
        "count": count,
        "env": {"MODE": "prod", "LOG_LEVEL": "info", "DB_HOST": "db.internal", "DB_PORT": "5432"},
        "ports": {"http": 8080},
        "resources": {"cpu": cores, "memory": "128MB", "disk": "10MB"},
        "update": {"max_parallel": count},
    }
    return {"job": name, "tasks": [task]}


CASES: Final = (
    Case(
        gauges=(Gauge("run_1000_on_200_s", "s", at_most=3),),
        run=starts,
        method=(
            f"From sending `POST /v1/jobs` with {REPLICAS:,} replicas until a long poll of the job has shown all of "
            f"them running on {NODES} ready nodes, five on each. The nodes are agents without containers, in one "
            "process of their own: each with a session, syncs, a doorbell and samples over the real API and Valkey, by "
            "the agents' own code; a start takes them 0.1 s. One api, one reconciler, Postgres with fsync. "
            f"Median of {_ROUNDS}."
        ),
    ),
    Case(
        gauges=(Gauge("steady_core_pct", "% of a core", at_most=50), Gauge("steady_mib", "MiB", at_most=400)),
        run=steady,
        method=(
            f"CPU time that an api and a reconciler use together in {_WATCHED:.0f} s, and what is resident of both, "
            f"with {NODES} such agents that beat every {BEAT:g} seconds and {STEADY:,} healthy replicas of {_JOBS} "
            f"jobs, {STEADY // NODES} on each, all of them sampled every ten seconds, {_SETTLE:.0f} s after the "
            "last of them was brought up."
        ),
    ),
)
