"""The bench says what it saw: verdicts, exit codes, and figures read from others' output."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from eventstore import codec, view
from eventstore.log import Position
from heroctl.domain.evolve.jobs import KEPT_VERSIONS
from heroctl.domain.state import State
from tests.bench import __main__ as bench
from tests.bench import chart, fold, idle, rows, wire, wrk
from tests.bench.past import Past
from tests.bench.rows import Case, Gauge, Result
from tests.histories import history

WRK = """Running 2s test @ http://127.0.0.1:8080/v1/jobs/web
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.12ms    1.02ms  40.11ms   90.12%
    Req/Sec     5.23k   412.00     6.01k    75.00%
  Latency Distribution
     50%    5.98ms
     75%    6.40ms
     90%  900.00us
     99%    1.20s
  20830 requests in 2.00s, 20.34MB read
Requests/sec:  10409.50
Transfer/sec:     10.16MB
"""


def case(run: Callable[[Callable[[str], None]], dict[str, float]], *gauges: Gauge) -> Case:
    return Case(gauges, run, "by hand")


def test_a_bar_is_met_or_missed() -> None:
    gauges = Gauge("quick", "ms", at_most=10), Gauge("many", "1/s", at_least=10), Gauge("known", "ms")
    result = Result()
    bench.measure(case(lambda _: {"quick": 10.0, "many": 9.9, "known": 1e9}, *gauges), result)
    assert [row.ok for row in result.rows] == [True, False, True]
    assert result.code == 1
    assert "| `many` | 9.9 | 1/s | ≥ 10 | **missed** |" in rows.table(result)


def test_all_bars_met_is_success() -> None:
    result = Result()
    bench.measure(case(lambda _: {"quick": 1.0}, Gauge("quick", "ms", at_most=10)), result)
    assert result.code == 0
    [row] = msgspec.json.decode(rows.encode(result.rows))
    assert row == {"name": "quick", "value": 1.0, "unit": "ms", "bar": "≤ 10", "ok": True}


def test_what_cannot_be_measured_is_an_error() -> None:
    def fails(_: Callable[[str], None]) -> dict[str, float]:
        raise RuntimeError("no engine")

    result = Result()
    bench.measure(case(fails, Gauge("quick", "ms")), result)
    bench.measure(case(lambda _: {}, Gauge("many", "1/s")), result)
    assert [failure.name for failure in result.failures] == ["quick", "many"]
    assert result.code == 2
    assert "no engine" in rows.table(result)


def test_cases_are_chosen_by_group_or_row() -> None:
    everything = bench.choose([])
    assert bench.choose(["path"]) == [case for case in everything if case in bench.GROUPS["path"]]
    [only] = bench.choose(["fold_events_s"])
    assert only is fold.CASE
    with pytest.raises(SystemExit, match="no such"):
        bench.choose(["fold_events"])


def test_no_two_rows_share_a_name() -> None:
    names = [gauge.name for cases in bench.GROUPS.values() for case in cases for gauge in case.gauges]
    assert len(names) == len(set(names))


def test_the_load_generators_words_are_read() -> None:
    load = wrk.read(WRK)
    assert (load.rps, load.p50, load.p99) == (10409.5, 5.98, 1200.0)
    assert load.bytes == pytest.approx(1023.9, abs=0.1)


def test_a_widened_history_amounts_to_as_much_again() -> None:
    stored = history.read("made-1")
    once = history.fold(stored)
    often = fold.fold(fold.widen(stored, 3))[1]
    assert len(often.jobs) == 3 * len(once.jobs)
    assert len(often.allocs) == 3 * len(once.allocs)
    assert len(often.deployments) == 3 * len(once.deployments)
    assert sorted(each.status for each in often.deployments.values()) == sorted(
        each.status for each in once.deployments.values() for _ in range(3)
    )


def test_a_past_that_was_made_is_a_true_log() -> None:
    begun = history.read("run-1")[:1]
    rows = [*begun, *Past(begun).rows(running=3, gone=5, at_most=1_500)]
    assert codec.verify(rows, Position()).index == 1_500
    state = State()
    assert view.fold(state, codec.records(rows))[1] is None
    assert {"job-0", "job-1", "job-2"} <= {job.name for job in state.jobs.values()}
    assert not any(job.name.startswith("gone") for job in state.jobs.values())
    assert max(job.current.version for job in state.jobs.values()) > KEPT_VERSIONS, "so long that versions were dropped"


def test_a_servers_log_tells_who_asked_what(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "by:api LOG:  statement: SELECT 0\n"
        "by:api LOG:  execute _pg3_1: SELECT index\n\t    FROM heroctl.head\n"
        "by:reconciler LOG:  execute <unnamed>: SELECT 1\nby:[unknown] LOG:  checkpoint complete\n"
    )
    assert idle.statements(log, 33) == {"api: SELECT index FROM heroctl.head": 1, "reconciler: SELECT 1": 1}


def test_a_chart_draws_a_line_for_each_figure_in_both_panels() -> None:
    figures = [(name, callers, callers * 100.0, 3.0 / callers) for name in ("one", "other") for callers in (1, 4, 64)]
    lines = [points.split() for points in re.findall(r'<polyline [^>]*points="([^"]+)"', chart.draw(figures))]
    assert [len(points) for points in lines] == [3] * 4
    rising, falling = ([float(point.split(",")[1]) for point in points] for points in (lines[0], lines[2]))
    assert rising == sorted(rising, reverse=True), "a greater value stands higher, where y is smaller"
    assert falling == sorted(falling)


async def test_an_answer_is_whole_before_it_counts() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nX-HeroCtl-Index: 42\r\nContent-")
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(b"Length: 5\r\n\r\nhel")
            await asyncio.sleep(0)
            writer.write(b"lo")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        [connection] = await wire.connect_many(server.sockets[0].getsockname(), 1, lambda _: "127.0.0.9")
        for _ in range(2):
            answer = await connection.ask(wire.request("GET", "/v1/jobs/web", "token"))
            assert (answer.status, answer.index, answer.body) == (200, 42, b"hello")
        connection.close()
