"""Samples: kept as they came and in blocks, in memory and in Postgres alike; and points made of them."""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.database import Database
from eventstore.log import LogUnavailable
from eventstore.memory_samples import MemorySamples
from eventstore.samples import LATE, Exposed, PostgresSamples, Sampled, Samples, Subject, Wanted
from eventstore.series import TIERS, Aggregation, Point, Run, parts_of, points, step_of, together
from heroctl.domain.metrics import METRICS, NONE, row

BEGIN = 1_790_035_200  # where blocks of every length begin
HOUR = 3_600
NODE = Subject("node", "node-1", "node-1")
ALLOC = Subject("alloc", "a1", "node-1", "default", "web", "app")


@pytest.fixture(params=["memory", "postgres"])
async def samples(request: pytest.FixtureRequest) -> AsyncIterator[Samples]:
    """Samples of each kind."""
    if request.param == "memory":
        yield MemorySamples()
        return
    async with Database(request.getfixturevalue("dsn")) as database:
        yield PostgresSamples(database)


def of(cpu: float, **more: float) -> list[float]:
    return row({"cpu": cpu} | more)


async def series(samples: Samples, subject: int, span: tuple[int, int], step: int, metric: str = "cpu") -> list[Point]:
    begin, end = span
    parts = parts_of(begin, end, step, await samples.rolled())
    return points(await samples.read([subject], metric, parts), begin, end, step, "avg")


async def test_a_subject_keeps_its_number_and_is_found_by_what_it_is(samples: Samples) -> None:
    assert BEGIN % TIERS[-1].span == 0
    first = await samples.register([NODE, ALLOC], BEGIN)
    other = Subject("alloc", "a2", "node-2", "other", "web", "app")
    again = await samples.register([ALLOC, other], BEGIN + 60)
    assert again[ALLOC.key] == first[ALLOC.key]
    assert len({*first.values(), *again.values()}) == 3

    async def names(wanted: Wanted, since: int = 0) -> list[str]:
        return [each.name for each in await samples.find(wanted, since)]

    assert await names(Wanted("node")) == ["node-1"]
    assert await names(Wanted("alloc", job="web")) == ["a1", "a2"]
    assert await names(Wanted("alloc", job="web", namespace="other")) == ["a2"]
    assert await names(Wanted("alloc", node="node-1")) == ["a1"]
    assert await names(Wanted("alloc", job="nobody")) == []
    assert await names(Wanted("node"), BEGIN + 1) == []


async def test_what_came_last_counts_and_the_latest_is_told(samples: Samples) -> None:
    numbers = await samples.register([NODE, ALLOC], BEGIN)
    node, alloc = numbers[NODE.key], numbers[ALLOC.key]
    await samples.write([Sampled(node, BEGIN, of(1.0)), Sampled(node, BEGIN + 10, of(2.0))])
    await samples.write([Sampled(node, BEGIN + 10, of(3.0, memory=7.0)), Sampled(alloc, BEGIN, of(0.5))])
    latest = {each.name: each for each in await samples.latest(BEGIN)}
    assert (latest["node-1"].at, latest["node-1"].values[0], latest["node-1"].values[2]) == (BEGIN + 10, 3.0, 7.0)
    assert math.isnan(latest["node-1"].values[1])
    assert [each.name for each in await samples.latest(BEGIN + 10)] == ["node-1"]
    assert await series(samples, node, (BEGIN, BEGIN + 60), 10) == [(BEGIN, 1.0), (BEGIN + 10, 3.0)]
    assert await series(samples, node, (BEGIN, BEGIN + 60), 20) == [(BEGIN, 2.0)]


async def test_series_are_the_same_before_and_after_they_are_rolled_up(samples: Samples) -> None:
    """With a hole of some minutes, a metric that some never have, and a subject that comes in the middle of a block."""
    numbers = await samples.register([NODE, ALLOC], BEGIN)
    node, alloc = numbers[NODE.key], numbers[ALLOC.key]
    span = 7 * HOUR
    rows = [
        Sampled(node, BEGIN + at, of(float(at % 370), load=1.0)) for at in range(0, span, 10) if not 2_100 <= at < 3_000
    ]
    rows += [Sampled(alloc, BEGIN + at, of(0.5, memory=float(at))) for at in range(3_900, 4_800, 10)]
    await samples.write(rows)
    steps = (300, 600, 1800)
    before = [await series(samples, each, (BEGIN, BEGIN + span), step) for each in (node, alloc) for step in steps]
    await samples.roll(BEGIN + span + LATE)
    after = [await series(samples, each, (BEGIN, BEGIN + span), step) for each in (node, alloc) for step in steps]
    for one, other in zip(before, after, strict=True):
        assert [at for at, _ in one] == [at for at, _ in other]
        assert [value for _, value in one] == pytest.approx([value for _, value in other], rel=1e-3)
    assert await series(samples, alloc, (BEGIN, BEGIN + span), 300, "load") == []
    assert len(await series(samples, alloc, (BEGIN, BEGIN + span), 300, "memory")) == 3
    assert await samples.roll(BEGIN + span + LATE) == 0, "nothing is left to do"


async def test_a_minute_of_which_not_all_was_sampled_is_made_of_what_was(dsn: str) -> None:
    async with Database(dsn) as database:
        samples = PostgresSamples(database)
        node = (await samples.register([NODE], BEGIN))[NODE.key]
        there = {0: 1.0, 10: 4.0, 50: 1.0, 60: 7.0, 130: 0.0, 3_590: 5.0}
        await samples.write([Sampled(node, BEGIN + at, of(value)) for at, value in there.items()])
        await samples.write([Sampled(node, BEGIN + at, of(2.0)) for at in range(600, 1_200, 10)])
        await samples.roll(BEGIN + 21_600 + LATE)
        whole = [(TIERS[1], BEGIN, BEGIN + HOUR)]
        aggregations: list[tuple[Aggregation, float]] = [("avg", 2.0), ("max", 4.0)]
        for how, first in aggregations:
            [run] = await samples.read([node], "cpu", whole, how)
            expected = [first, 7.0, 0.0] + [NONE] * 7 + [2.0] * 10 + [NONE] * 39 + [5.0]
            assert list(run.values) == pytest.approx(expected, nan_ok=True)
            [run] = await samples.read([node], "cpu", [(TIERS[2], BEGIN, BEGIN + 21_600)], how)
            mean = 3.0 if how == "avg" else 7.0
            assert list(run.values)[:12] == pytest.approx([mean, NONE, 2.0, 2.0, *[NONE] * 7, 5.0], nan_ok=True)


async def test_rolled_up_samples_leave_and_late_ones_are_dropped(dsn: str, admin: psycopg.Connection) -> None:
    async with Database(dsn) as database:
        samples = PostgresSamples(database)
        node = (await samples.register([NODE], BEGIN))[NODE.key]
        await samples.write([Sampled(node, BEGIN + at, of(1.0)) for at in range(0, 1_200, 10)])
        assert await samples.roll(BEGIN + 600 + LATE - 1) == 0
        assert await samples.roll(BEGIN + 600 + LATE) == 1
        await samples.write([Sampled(node, BEGIN + 300, of(9.0))])
        assert admin.execute("SELECT count(*), min(at) FROM heroctl.samples").fetchone() == (120, BEGIN), (
            "who reads may have looked before"
        )
        assert await series(samples, node, (BEGIN, BEGIN + 1_200), 1_200) == [(BEGIN, 1.0)]
        assert await samples.roll(BEGIN + 1_200 + LATE) == 1
        assert admin.execute("SELECT count(*), min(at) FROM heroctl.samples").fetchone() == (60, BEGIN + 600)


class Stopped(Database):
    """Loses the connection at the second call of a function, once, and notes what it was called with."""

    function = ""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.calls: list[list[object]] = []

    async def fetch(self, query: str, parameters: Sequence[Any] = (), *, once: bool = False) -> list[tuple[Any, ...]]:
        """See Database.fetch."""
        if self.function and self.function in query:
            self.calls.append(list(parameters))
            if len(self.calls) == 2:
                raise LogUnavailable("away")
        return await super().fetch(query, parameters, once=once)


@pytest.mark.parametrize(("number", "function", "place"), [(0, "roll_samples", 1), (1, "roll_blocks", 6)])
async def test_a_roll_up_walks_who_has_samples_and_goes_on_where_it_was_stopped(
    dsn: str, monkeypatch: pytest.MonkeyPatch, number: int, function: str, place: int
) -> None:
    """Numbers that nobody has any more, as after years of allocations, cost nothing, however many there are."""
    monkeypatch.setattr("eventstore.samples.CHUNK", 2)
    tier = TIERS[number]
    end = BEGIN + tier.block
    async with Stopped(dsn) as database:
        samples = PostgresSamples(database)
        await database.fetch("SELECT setval('heroctl.sampled_id_seq', 1000000)")
        numbers = sorted((await samples.register([_alloc(n) for n in range(5)], BEGIN)).values())
        await samples.write([Sampled(each, at, of(1.0)) for each in numbers for at in range(BEGIN, end, 10)])
        await samples.roll(end - 600 + LATE)
        database.function = function
        with pytest.raises(LogUnavailable):
            await samples.roll(end + LATE)
        assert (await samples.rolled())[tier.resolution] < end, "it is not whole"
        await samples.roll(end + LATE)
        after = [call[place] for call in database.calls]
        assert after == [0, numbers[1], numbers[1], numbers[3], numbers[4]], "who is done is not asked for again"
        for each in numbers:
            [run] = await samples.read([each], "cpu", [(tier, BEGIN, end)])
            assert list(run.values) == [1.0] * 60


def _alloc(n: int) -> Subject:
    return Subject("alloc", f"a{n}", "node-1", "default", "web", "app")


async def test_blocks_that_follow_each_other_are_read_as_one_run(dsn: str) -> None:
    """A week of 200 nodes is 5,600 blocks: what is done for each run is done 200 times."""
    async with Database(dsn) as database:
        samples = PostgresSamples(database)
        numbers = await samples.register([NODE, ALLOC], BEGIN)
        node, alloc = numbers[NODE.key], numbers[ALLOC.key]
        rows = [Sampled(each, BEGIN + at, of(float(at))) for each in (node, alloc) for at in range(0, 4_800, 10)]
        await samples.write([row for row in rows if row.subject == node or not 1_200 <= row.at - BEGIN < 1_800])
        assert await samples.roll(BEGIN + 4_800 + LATE) == 8 + 1
        whole = [(TIERS[0], BEGIN, BEGIN + 4_800)]
        found = {(run.subject, run.start): run for run in await samples.read([alloc, node], "cpu", whole)}
        assert {key: len(run.values) for key, run in found.items()} == {
            (node, BEGIN): 480,
            (alloc, BEGIN): 120,
            (alloc, BEGIN + 1_800): 300,
        }
        assert list(found[node, BEGIN].values) == [float(at) for at in range(0, 4_800, 10)]
        later = points([found[alloc, BEGIN + 1_800]], BEGIN + 2_000, BEGIN + 2_075, 60, "max")
        assert later == [(BEGIN + 1_980, 2_030.0), (BEGIN + 2_040, 2_070.0)]


async def test_each_resolution_goes_at_its_time_and_partitions_with_it(dsn: str, admin: psycopg.Connection) -> None:
    days = 8 * 86_400
    async with Database(dsn) as database:
        samples = PostgresSamples(database)
        node = (await samples.register([NODE], BEGIN + days))[NODE.key]
        for day in range(9):
            at = BEGIN + day * 86_400
            await samples.write([Sampled(node, at + each, of(float(day))) for each in range(0, 600, 10)])
            await samples.roll(at + 21_600 + LATE)
        left = {
            table: [start for (start,) in admin.execute(f"SELECT DISTINCT start FROM heroctl.{table} ORDER BY 1")]
            for table in ("samples_10s", "samples_1m", "samples_5m")
        }
        now = BEGIN + days + 21_600 + LATE
        assert all(start >= now - tier.kept - tier.span - tier.block for tier in TIERS for start in left[tier.table])
        assert [len(left[tier.table]) for tier in TIERS] == [1, 3, 8]
        week = await series(samples, node, (now - 7 * 86_400, now), 86_400)
        assert [value for _, value in week] == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
        tables = admin.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'heroctl.samples_5m'::regclass")
        assert tables.fetchone() == (8,)


async def test_what_is_exposed_is_the_newest_of_each(samples: Samples) -> None:
    await samples.expose([Exposed("alloc", "a1", BEGIN, b"old"), Exposed("process", "api-1", BEGIN, b"p")])
    await samples.expose([Exposed("alloc", "a1", BEGIN + 5, b"new")])
    assert await samples.exposed(BEGIN) == [
        Exposed("alloc", "a1", BEGIN + 5, b"new"),
        Exposed("process", "api-1", BEGIN, b"p"),
    ]
    assert await samples.exposed(BEGIN + 1) == [Exposed("alloc", "a1", BEGIN + 5, b"new")]


async def test_only_so_much_is_shown_in_one_go_and_of_the_longest_how_many_series_they_have(samples: Samples) -> None:
    """Five thousand applications may say gigabytes: no api reads that."""
    said = [Exposed("alloc", f"a{n}", BEGIN, b"x" * n, series=n) for n in (30, 10, 20)]
    await samples.expose([*said, Exposed("process", "api-1", BEGIN, b"p" * 40)])
    found = {each.name: (each.families, each.series) for each in await samples.exposed(BEGIN, most=70)}
    assert found == {"api-1": (b"p" * 40, 0), "a10": (b"x" * 10, 10), "a20": (b"x" * 20, 20), "a30": (b"", 30)}


def test_the_step_is_what_was_asked_for_or_suits_and_never_finer_than_what_is_kept() -> None:
    now = BEGIN + 8 * 86_400
    assert step_of(now - HOUR, now, now, None) == 10
    assert step_of(now - 86_400, now, now, None) == 300
    assert step_of(now - 7 * 86_400, now, now, None) == 1_800
    assert step_of(now - HOUR, now, now, 60) == 60
    assert step_of(now - 86_400, now, now, 10) == 60
    assert step_of(now - 7 * 86_400, now, now, 10) == 300
    assert step_of(now - 86_400, now, now, 90) == 120


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1e6, width=32)), min_size=1, max_size=100),
    st.integers(0, 30),
    st.integers(1, 100),
    st.sampled_from([10, 20, 60, 70, 300]),
)
def test_points_are_the_plain_mean_and_peak_of_what_was_sampled(
    values: list[float | None], skip: int, length: int, step: int
) -> None:
    begin = BEGIN + skip * 10
    end = begin + length * 10
    run_of = array("f", [NONE if value is None else value for value in values])
    run = Run(1, BEGIN, 10, run_of)
    expected: dict[int, list[float]] = {}
    for place, value in enumerate(run_of):
        at = BEGIN + place * 10
        if begin <= at < end and not math.isnan(value):
            expected.setdefault(at // step * step, []).append(value)
    mean = points([run], begin, end, step, "avg")
    assert [at for at, _ in mean] == sorted(expected)
    assert [value for _, value in mean] == pytest.approx(
        [sum(all_) / len(all_) for _, all_ in sorted(expected.items())]
    )
    peak = points([run], begin, end, step, "max")
    assert peak == [(at, max(all_)) for at, all_ in sorted(expected.items())]


def test_what_is_put_together_is_what_is_there() -> None:
    both = [[(0, 1.0), (10, 2.0)], [(10, 5.0)]]
    assert together(both) == [(0, 1.0), (10, 7.0)]
    assert together(both, mean=True) == [(0, 1.0), (10, 3.5)]


def test_every_metric_has_a_name_of_its_own() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
