"""The group `observe`: seven days of samples of 200 nodes and 5,000 allocations, asked for and taken in."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast

import msgspec
import psycopg

from api.usage import Usage
from eventstore.database import Database
from eventstore.migrate import migrate
from eventstore.samples import LATE, PostgresSamples, Sampled, Subject
from eventstore.series import TIERS
from heroctl.domain.metrics import METRICS, STEP, row
from heroctl.domain.records import Node
from heroctl.domain.sampling import Measured, SamplesRequest, Taken
from heroctl.domain.state import State
from tests import servers
from tests.bench import product
from tests.bench.rows import Case, Gauge

NODES: Final = 200
JOBS: Final = 200
REPLICAS: Final = 25
_TIMES: Final = 15
_ROUNDS: Final = 6
_SHAPES: Final = 50  # different blocks of each length
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_OF: Final = {
    kind: [place for place, metric in enumerate(METRICS, 1) if kind in metric.of] for kind in ("node", "alloc")
}


def subjects() -> list[Subject]:
    """Name 200 nodes, and 200 jobs of 25 allocations on them."""
    nodes = [Subject("node", f"node-{number}", f"node-{number}") for number in range(NODES)]
    allocs = [
        Subject("alloc", f"alloc{job:03}x{n:02}", f"node-{(job + n) % NODES}", "default", f"job-{job}", "web")
        for job in range(JOBS)
        for n in range(REPLICAS)
    ]
    return nodes + allocs


# ── asked for ────────────────────────────────────────────────────────────────────────────────────────────────────────


def queries(say: Callable[[str], None]) -> dict[str, float]:
    """Give how long a query over seven days takes: of one job's 25 allocations, of all nodes; the slower of both."""
    with product.cluster() as cluster:
        began = time.monotonic()
        rows = asyncio.run(_fill(cluster.postgres.dsn()))
        say(f"{rows:,} blocks in {time.monotonic() - began:.0f} s")
        client = cluster.api().client()
        medians = {}
        for name, query in (("job", "metric=cpu&job=job-7"), ("nodes", "metric=cpu")):
            path = f"/v1/metrics/query?{query}&from=-168h"
            reply = client.get(path).body
            assert len(reply["series"]) == (REPLICAS if name == "job" else NODES)
            assert min(len(each["points"]) for each in reply["series"]) >= 330, "seven days of half hours"
            taken = []
            for _ in range(_TIMES):
                at = time.perf_counter()
                client.body(path)
                taken.append((time.perf_counter() - at) * 1000)
            medians[name] = statistics.median(taken)
            say(f"{name}: median {medians[name]:.0f} ms, greatest {max(taken):.0f} ms")
    return {"metrics_query_7d_ms": max(medians.values())}


async def _fill(dsn: str) -> int:
    """Write what a cluster has after a week: each resolution from where the coarser one ends, and that in whole."""
    chance = random.Random(7)
    async with Database(dsn) as database:
        samples = PostgresSamples(database)
        now = int(time.time())
        numbers = await samples.register(subjects(), now)
        kinds = {numbers[each.key]: each.kind for each in subjects()}
        until = {tier.resolution: (now - 180) // tier.block * tier.block for tier in TIERS}
        begins = {300: now - TIERS[-1].kept, 60: until[300] - 21_600, 10: until[60] - 3_600}
        count = 0
        for tier in TIERS:
            blocks = range(begins[tier.resolution] // tier.block * tier.block, until[tier.resolution], tier.block)
            for start in blocks:
                await database.fetch(
                    "SELECT heroctl.sample_partition(%b, %b::bigint, %b::bigint)", [tier.table, start, tier.span]
                )
            shapes = [_array(chance, tier.block // tier.resolution) for _ in range(_SHAPES)]
            count += await asyncio.to_thread(_copy, dsn, tier.table, list(blocks), kinds, shapes)
            await database.fetch(
                "UPDATE heroctl.samples_rolled SET until = %b WHERE resolution = %b",
                [until[tier.resolution], tier.resolution],
            )
        for at in range(until[10], now, STEP):
            values = row(dict.fromkeys((metric.name for metric in METRICS), chance.random()))
            await samples.write([Sampled(number, at, values) for number in kinds])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    return count


def _array(chance: random.Random, length: int) -> str:
    return "{" + ",".join(f"{chance.random():.4f}" for _ in range(length)) + "}"


def _copy(dsn: str, table: str, blocks: list[int], kinds: Mapping[int, str], shapes: list[str]) -> int:
    count, columns = 0, "subject, metric, start, mean" + (", peak" if table != "samples_10s" else "")
    with (
        psycopg.connect(dsn) as connection,
        connection.cursor().copy(f"COPY heroctl.{table} ({columns}) FROM STDIN") as copy,
    ):
        for start in blocks:
            for text in _lines(start, kinds, shapes, twice=table != "samples_10s"):
                copy.write(text)
                count += text.count("\n")
    return count


def _lines(start: int, kinds: Mapping[int, str], shapes: list[str], *, twice: bool) -> Iterator[str]:
    for number, kind in kinds.items():
        array = shapes[(number * 7 + start) % len(shapes)]
        values = f"{array}\t{array}" if twice else array
        yield "".join(f"{number}\t{metric}\t{start}\t{values}\n" for metric in _OF[kind])


# ── taken in ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def intake(say: Callable[[str], None]) -> dict[str, float]:
    """Give the share of a core that taking samples in costs, the database's and that of the roll-ups included."""
    with product.cluster() as cluster:
        return asyncio.run(_take(cluster.postgres, say))


async def _take(server: servers.Postgres, say: Callable[[str], None]) -> dict[str, float]:
    migrate(server.dsn())
    bodies, state, nodes = _requests()
    decoder = msgspec.json.Decoder(SamplesRequest)
    async with Timed(server.dsn()) as database:
        samples = PostgresSamples(database)
        clock = SimpleNamespace(now=float(int(time.time()) // 21_600 * 21_600))
        usage = Usage(samples, lambda: clock.now)

        async def ten_seconds() -> None:
            takes = [usage.take(node, decoder.decode(body), state) for node, body in zip(nodes, bodies, strict=True)]
            for begin in range(0, NODES, 20):  # as they come in half a second
                await asyncio.gather(*takes[begin : begin + 20])
            await usage.look()
            clock.now += STEP

        clock.now += 1.0  # what is taken first is of this block, too
        await ten_seconds()  # who is new is registered
        before, began = _processor(server), clock.now
        for _ in range(_ROUNDS):
            await ten_seconds()
        taking = (_processor(server) - before) / (clock.now - began) * 100
        rolled = await _roll(server, database, clock, usage)
        rolling = rolled.processor / 3_600 * 100
        say(f"taken in: {taking:.1f} % of a core; an hour rolled up: {rolled.processor:.1f} s of one, {rolling:.1f} %")
        say(f"in {rolled.seconds:.1f} s, the longest of {rolled.statements} statements {rolled.longest * 1000:.0f} ms")
    return {
        "samples_core_pct": taking + rolling,
        "samples_roll_hour_s": rolled.seconds,
        "samples_roll_statement_ms": rolled.longest * 1000,
    }


class Timed(Database):
    """Notes how long each statement takes."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.took: list[float] = []

    async def fetch(self, query: str, parameters: Sequence[Any] = (), *, once: bool = False) -> list[tuple[Any, ...]]:
        """See Database.fetch."""
        began = time.perf_counter()
        try:
            return await super().fetch(query, parameters, once=once)
        finally:
            self.took.append(time.perf_counter() - began)


class Rolled(NamedTuple):
    """What rolling up an hour took: seconds of a processor and by the clock, and statements."""

    processor: float
    seconds: float
    longest: float
    statements: int


async def _roll(server: servers.Postgres, database: Timed, clock: SimpleNamespace, usage: Usage) -> Rolled:
    """Write the rest of an hour, and roll each ten minutes up when they are over, and then the hour."""
    hour = int(clock.now) // 3_600 * 3_600
    numbers, values = list(usage._numbers.values()), row({metric.name: 0.5 for metric in METRICS})
    processor = seconds = 0.0
    took: list[float] = []
    for end in range(hour + 600, hour + 4_200, 600):
        for at in range(max(end - 600, int(clock.now)), end, STEP):
            await usage.samples.write([Sampled(number, at, values) for number in numbers])
        clock.now = end
        database.took, before, began = [], _processor(server), time.monotonic()
        await usage.samples.roll(end + LATE)
        processor, seconds = processor + _processor(server) - before, seconds + time.monotonic() - began
        took += database.took
    return Rolled(processor, seconds, max(took), len(took))


def _requests() -> tuple[list[bytes], State, list[Node]]:
    """Make what 200 agents send each ten seconds, and as much of the state as is looked at."""
    allocs: dict[str, Any] = {}
    bodies = []
    nodes = [SimpleNamespace(id=f"n{number}", name=f"node-{number}") for number in range(NODES)]
    of_node: dict[str, list[Subject]] = {}
    for each in subjects():
        of_node.setdefault(each.node, []).append(each)
        if each.kind == "alloc":
            place = f"n{each.node.removeprefix('node-')}"
            allocs[each.name] = SimpleNamespace(id=each.name, node=place, namespace="default", job=each.job, task="web")
    values = {metric.name: 0.5 + place for place, metric in enumerate(METRICS)}
    for node in nodes:
        told = [Measured(values, "" if each.kind == "node" else each.name) for each in of_node[node.name]]
        bodies.append(msgspec.json.encode(SamplesRequest(1, [Taken(0.1, told)])))
    return bodies, cast("State", SimpleNamespace(allocs=allocs)), cast("list[Node]", nodes)


def _processor(server: servers.Postgres) -> float:
    """Return the seconds that this process and the database have used so far, backends that ended included."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    theirs = 0.0
    with psycopg.connect(server.dsn()) as connection:
        backend = connection.info.backend_pid
        head = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if folder.name == str(head):
            theirs += sum(int(field) for field in fields[11:15]) * _TICK
        elif len(fields) > 2 and fields[1] == str(head):
            theirs += sum(int(field) for field in fields[11:13]) * _TICK
    return own.ru_utime + own.ru_stime + theirs


CASES: Final = (
    Case(
        (Gauge("metrics_query_7d_ms", "ms", at_most=200),),
        queries,
        "Seven days of 200 nodes and 5,000 allocations in Postgres, a real api:"
        " `/v1/metrics/query?metric=cpu&from=-168h` of one job with 25"
        " allocations, and of all nodes, to the answer's last byte; the greater median of 15 requests.",
    ),
    Case(
        (
            Gauge("samples_core_pct", "%", at_most=20),
            Gauge("samples_roll_hour_s", "s", at_most=60),
            Gauge("samples_roll_statement_ms", "ms", at_most=1000),
        ),
        intake,
        "What 200 agents send in 10 s, 26 samples each, decoded, kept and read by one api, without the HTTP around it:"
        " processor time of that and of Postgres, in per cent of a core; and what rolling an hour of them up"
        " into blocks of ten minutes and of an hour adds, how long that takes, and the longest statement of it.",
    ),
)
