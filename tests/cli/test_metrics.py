"""What `metrics`, `top` and `alloc stats` print."""

from __future__ import annotations

import json

import pytest

from heroctl.cli.metrics import bars, told
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal

TIME = "2026-03-01T12:00:00Z"
MIB = 1 << 20


def usage(used: float | None, limit: float, percent: float | None) -> dict[str, float | None]:
    return {"used": used, "limit": limit, "percent": percent}


SNAPSHOT = {
    "time": TIME,
    "cpu": {"used": 1.5, "total": 4.0},
    "mem": {"used": 2048 * MIB, "total": 8192 * MIB},
    "allocs": {"running": 3, "pending": 1, "failed": 0},
    "ingress": {"requests_s": 0, "p50_ms": 0, "p99_ms": 0, "errors_s": 0},
    "nodes": [
        {
            "name": "node-1",
            "status": "ready",
            "time": TIME,
            "cpu": usage(1.5, 4.0, 37.5),
            "mem": usage(2048 * MIB, 8192 * MIB, 25.0),
            "disk": usage(1024 * MIB, 4096 * MIB, 25.0),
            "network_in": 2048,
            "network_out": 10,
            "load": 0.75,
            "uptime_s": 5000,
            "allocations": 3,
        },
        {"name": "node-2", "status": "down", "time": None, "allocations": 0},
    ],
}
STATS = {
    "alloc": "a1b2c3d4",
    "job": "web",
    "task": "app",
    "node": "node-1",
    "status": "running",
    "time": TIME,
    "cpu": usage(0.25, 0.5, 50.0),
    "memory": usage(64 * MIB, 256 * MIB, 25.0),
    "traffic": {"network_in": 2048.0, "network_out": None, "disk_read": 0.0, "disk_write": 0.0},
    "restarts": 1,
}


def queried(metric: str, unit: str, *lines: tuple[str, list[float]]) -> dict[str, object]:
    labels = {"namespace": "default", "job": "web", "task": "app"}
    series = [
        {"labels": labels | {"alloc": alloc, "node": "node-1"}, "points": [[60 * at, v] for at, v in enumerate(values)]}
        for alloc, values in lines
    ]
    return {"metric": metric, "unit": unit, "step": 60, "aggregation": "avg", "series": series}


def test_the_snapshot_is_read_aloud(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/metrics", SNAPSHOT)
    said = heroctl_here("metrics").out
    assert "CPU\t1.50 of 4 cores\n" in said
    assert "Memory\t2.0 GiB of 8.0 GiB\n" in said
    assert "Allocations\t3 running, 1 pending, 0 failed\n" in said
    line = "node-1\tready\t1.50\t37.5%\t2.0 GiB\t25.0%\t25.0%\t2.0 KiB/s\t10 B/s\t0.75\t3\t2026-03-01T12:00:00Z"
    assert line in said.splitlines()
    assert "node-2\tdown" in said
    assert json.loads(heroctl_here("metrics", "-o", "json").out)["allocs"]["running"] == 3


def test_a_metric_over_time_has_a_line_for_each_and_the_greatest_first(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/metrics/query", queried("cpu", "cores", ("aaaa", [0.0, 0.1]), ("bbbb", [0.5, 1.0])))
    said = heroctl_here("metrics", "query", "cpu", "--job", "web", "--from", "-2h", "--step", "1m").out.splitlines()
    assert said[0] == "NAMESPACE\tJOB\tTASK\tALLOC\tNODE\tNOW\tMEAN\tMAX\tCPU EVERY 1m"
    assert said[1] == "default\tweb\tapp\tbbbb\tnode-1\t1.00\t0.75\t1.00\t▅█"
    assert said[2].endswith("▁█")
    [asked] = api.asked("GET", "/v1/metrics/query")
    assert asked.query == {"metric": "cpu", "job": "web", "from": "-2h", "step": "1m"}


def test_what_is_wrong_is_said_once(heroctl_here: Run, api: FakeApi) -> None:
    wrong = refusal(400, "invalid_metric", "metric: of nodes there are cpu, load")
    details = [{"path": "metric", "code": "invalid_metric", "message": "of nodes there are cpu, load"}]
    api.act("GET", "/v1/metrics/query", Reply(400, {**wrong.body, "details": details}))
    result = heroctl_here("metrics", "query", "nonsense")
    assert (result.code, result.err.count("of nodes there are cpu, load")) == (1, 1)


def test_nothing_sampled_is_said(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/metrics/query", queried("cpu", "cores"))
    assert "nothing was sampled" in heroctl_here("metrics", "query", "cpu", "--job", "nobody").out


def test_an_allocation_says_what_it_uses(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/allocations/a1b2/stats", STATS)
    said = heroctl_here("alloc", "stats", "a1b2").out
    assert "CPU\t0.25 of 0.50 cores (50.0%)\n" in said
    assert "Memory\t64.0 MiB of 256.0 MiB (25.0%)\n" in said
    assert "Network in\t2.0 KiB/s\n" in said
    assert "Network out" not in said
    assert "Restarts\t1\n" in said


def test_an_allocation_is_followed_on_a_terminal_unless_it_is_to_be_once(
    heroctl_here: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        if len(api.asked("GET", "/v1/allocations/a1b2/stats")) % 3 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr("heroctl.cli.metrics.time.sleep", stop)
    monkeypatch.setattr("heroctl.cli.metrics.output.fancy", lambda _: True)
    api.page("/v1/allocations/a1b2/stats", STATS)
    heroctl_here("alloc", "stats", "a1b2")
    assert len(api.asked("GET", "/v1/allocations/a1b2/stats")) == 3
    heroctl_here("alloc", "stats", "a1b2", "--once")
    heroctl_here("alloc", "stats", "a1b2", "-o", "json")
    assert len(api.asked("GET", "/v1/allocations/a1b2/stats")) == 5


def test_top_names_who_uses_most_first(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/metrics", SNAPSHOT)
    api.page("/v1/metrics/query", queried("cpu", "cores", ("aaaa", [0.1]), ("bbbb", [0.5])))
    said = heroctl_here("top", "--once").out.splitlines()
    at = said.index("ALLOCATION\tJOB\tTASK\tNODE\tCPU\tMEMORY")
    assert said[at + 1].startswith("bbbb\tweb\tapp\tnode-1\t0.50")
    assert said[at + 2].startswith("aaaa")
    whole = json.loads(heroctl_here("top", "-o", "json").out)
    assert [each["name"] for each in whole["nodes"]] == ["node-1", "node-2"]
    assert [(each["alloc"], each["cpu"]) for each in whole["allocations"]] == [("bbbb", 0.5), ("aaaa", 0.1)]


def test_bars_leave_gaps_and_fit_the_width() -> None:
    assert bars([(0, 0.0), (10, 1.0), (30, 0.5)], 10) == "▁█ ▅"
    assert len(bars([(at * 10, 1.0) for at in range(1_000)], 10)) == 40
    assert bars([], 10) == ""
    assert set(bars([(0, 0.0), (10, 0.0)], 10)) == {"▁"}


def test_values_are_spelled_in_their_units() -> None:
    assert [told(1536.0, unit) for unit in ("bytes", "bytes/s", "cores", "percent", "count")] == [
        "1.5 KiB",
        "1.5 KiB/s",
        "1536.00",
        "1536.0%",
        "1536",
    ]
