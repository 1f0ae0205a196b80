"""`heroctl log` and `--at`: a recorded history, served in the API's own shapes, read, proven and folded again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.log import _records
from eventstore.log import Row
from heroctl.cli.replaying import look
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request, refusal
from tests.histories import history
from tests.waiting import until

HISTORY = "made-1"


class Served:
    """A history behind `/v1/log`; `grow` lets more of it have happened."""

    def __init__(self, api: FakeApi, rows: list[Row]) -> None:
        self.rows = rows
        self.known = len(rows)
        self.asked = 0
        api.act("GET", "/v1/log", self._page)
        for row in rows:
            first = next(each[0] for each in rows if each[1] == row[1])
            whole = _records(rows[first - 1 : row[1]])
            body = {"event": whole[row[0] - first], "first": first, "last": row[1], "events": whole}
            api.page(f"/v1/log/{row[0]}", json.loads(msgspec.json.encode(body)))

    def _page(self, request: Request) -> Reply:
        self.asked += 1
        after, limit = int(request.query.get("after", 0)), int(request.query.get("limit", 100))
        if "wait" in request.query:
            until(lambda: after < self.known or self.known < 0)
        raw = msgspec.json.encode(_records(self.rows[: self.known][after : after + limit]))
        return Reply(index=self.known, raw=raw)


@pytest.fixture
def served(api: FakeApi) -> Served:
    api.page("/v1/allocations", [])
    return Served(api, history.read(HISTORY))


# ── tail and show ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tail_shows_the_newest_events_a_line_each(heroctl_here: Run, served: Served) -> None:
    result = heroctl_here("log", "tail", "--no-follow", "--last", "5")
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert (result.code, result.err) == (0, "")
    assert [(int(line[0]), line[2]) for line in lines] == [(row[0], row[3]) for row in served.rows[-5:]]
    assert all(len(line) == 5 for line in lines)


def test_tail_goes_on_from_an_index_to_the_end(
    heroctl_here: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heroctl.cli.records.PAGE", 7)
    out = heroctl_here("log", "tail", "--no-follow", "--after", "3", "-o", "json").out
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["index"] for record in records] == list(range(4, len(served.rows) + 1))
    assert records == json.loads(msgspec.json.encode(_records(served.rows[3:])))


def test_tail_filters_by_type_and_job_with_what_agents_reported_of_it(heroctl_here: Run, served: Served) -> None:
    out = heroctl_here("log", "tail", "--no-follow", "--after", "0", "--type", "job.*", "-o", "name").out
    assert set(out.split()) == {row[3] for row in served.rows if row[3].startswith("job.")}
    placed = json.loads(next(row[6] for row in served.rows if row[3] == "alloc.placed"))
    out = heroctl_here("log", "tail", "--no-follow", "--after", "0", "--job", placed["job"], "-o", "json").out
    shown = [json.loads(line) for line in out.splitlines()]
    assert "alloc.reported" in {record["type"] for record in shown}
    for record in shown:
        data = record["data"]
        ours = placed["job"] in (data.get("job"), data.get("name"))
        assert ours or data["report"]["alloc"], record


@pytest.mark.usefixtures("served")
def test_what_an_event_says_cannot_steer_the_terminal(heroctl_here: Run, api: FakeApi) -> None:
    record = {
        "index": 1,
        "last": 1,
        "time": samples.T0,
        "type": "job.stopped",
        "schema": 1,
        "data": {"name": "a\x1b[2Jb"},
    }
    api.act("GET", "/v1/log", lambda request: Reply(body=[record] if request.query["after"] == "0" else [], index=1))
    assert "\x1b" not in heroctl_here("log", "tail", "--no-follow").out


def test_tail_follows_until_it_is_interrupted(served: Served, api: FakeApi, tmp_path: Path) -> None:
    served.known = 4
    command = [
        sys.executable,
        "-m",
        "heroctl.cli",
        "log",
        "tail",
        "--last",
        "1",
        "-o",
        "json",
        "--address",
        api.address,
    ]
    env = {**os.environ, "HEROCTL_CONTEXTS": str(tmp_path / "none")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["index"] == 4
        until(lambda: served.asked == 3, what="the long poll")
        served.known = 5
        assert json.loads(process.stdout.readline())["index"] == 5
        process.send_signal(2)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    served.known = -1


def test_show_gives_an_event_in_full_with_its_append(heroctl_here: Run, served: Served) -> None:
    row = next(row for row in served.rows if row[1] > row[0])
    out = heroctl_here("log", "show", str(row[0])).out
    assert f"Index\t{row[0]}\nType\t{row[3]}\n" in out
    assert f"to {row[1]}\n" in out
    assert json.loads(out[out.index("\n{") :]) == json.loads(row[6])
    assert heroctl_here("log", "show", str(row[0]), "-o", "name").out == f"{row[3]}\n"


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────────────────────

OK = {"line": "verdict", "ok": True, "index": 9, "first": 1, "head": 9, "events": 9, "appends": 7, "chain": "ab"}
BAD = {**OK, "ok": False, "index": 5, "last": 6, "problem": "event 5 was changed", "faults": 1, "failed_appends": 1,
       "sound_after": 6}  # fmt: skip
PROGRESS = {"line": "progress", "checked": 5, "head": 9, "faults": 0}


def stream(api: FakeApi, *lines: dict[str, Any]) -> None:
    api.page("/v1/cluster/status", {})
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    api.answer("/v1/log/verify", Reply(raw=raw, headers={"Content-Type": "application/x-ndjson"}))


def test_a_sound_log_is_said_to_be_so(heroctl_here: Run, api: FakeApi) -> None:
    stream(api, PROGRESS, OK)
    result = heroctl_here("log", "verify")
    assert (result.code, result.err) == (0, "")
    assert result.out == "Verdict\tok\nEvents\t1 to 9\nAppends\t7\nSnapshots\t0\nChain\tab\n"
    assert [json.loads(line) for line in heroctl_here("log", "verify", "-o", "json").out.splitlines()] == [PROGRESS, OK]


def test_a_changed_log_is_an_error_that_names_the_event(heroctl_here: Run, api: FakeApi) -> None:
    stream(api, {"line": "fault", "index": 5, "last": 6, "problem": "event 5 was changed"}, BAD)
    result = heroctl_here("log", "verify")
    assert (result.code, result.out) == (2, "")
    assert "event 5 was changed" in result.err
    assert "event 5 to 6" in result.err
    assert "all after 6" in result.err


@pytest.mark.parametrize("lines", [[PROGRESS], [PROGRESS, {"line": "broken", "message": "the token ended"}]])
def test_a_check_that_did_not_end_has_no_verdict(heroctl_here: Run, api: FakeApi, lines: list[dict[str, Any]]) -> None:
    stream(api, *lines)
    result = heroctl_here("log", "verify")
    assert result.code == 1
    assert "no verdict" in result.err


def test_a_refused_check_is_told_as_any_refusal(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/cluster/status", {})
    api.answer("/v1/log/verify", refusal(409, "verify_running", "a check runs already"))
    result = heroctl_here("log", "verify")
    assert (result.code, result.out) == (1, "")
    assert "verify_running" in result.err


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def replayed(heroctl_here: Run, *words: str) -> dict[str, Any]:
    result = heroctl_here("log", "replay", *words, "-o", "json")
    assert (result.code, result.err) == (0, "")
    return dict(json.loads(result.out))


def plain(rows: list[Row]) -> dict[str, Any]:
    return dict(json.loads(msgspec.json.encode(look(history.fold(rows)))))


def test_a_replay_comes_to_the_state_that_the_cluster_was_in(heroctl_here: Run, served: Served) -> None:
    body = replayed(heroctl_here)
    assert body["index"] == len(served.rows)
    assert {kind: body[kind] for kind in ("job", "allocation", "node", "deployment")} == plain(served.rows)
    out = heroctl_here("log", "replay").out
    assert f"Index\t{len(served.rows)}\n" in out
    assert "JOB\tSTATUS\tVERSION\tHEALTHY\tBLOCKED\n" in out


def test_a_replay_stops_at_a_whole_append(heroctl_here: Run, served: Served) -> None:
    for row in served.rows[:: max(1, len(served.rows) // 12)]:
        ends = [each[0] for each in served.rows if each[0] == each[1] <= row[0]]
        body = replayed(heroctl_here, "--to", str(row[0]))
        assert body["index"] == ends[-1]
        assert body["allocation"] == plain(served.rows[: ends[-1]])["allocation"]


def test_a_replay_stops_at_a_time(heroctl_here: Run, served: Served) -> None:
    row = served.rows[len(served.rows) // 2]
    last = max(each[0] for each in served.rows if each[2] <= row[2])
    stamp = _records([row])[0].time
    assert replayed(heroctl_here, "--to", stamp)["index"] == last
    assert heroctl_here("log", "replay", "--to", "soon").code == 1


def test_a_diff_tells_what_came_went_and_changed(heroctl_here: Run, served: Served) -> None:
    half = max(row[0] for row in served.rows[: len(served.rows) // 2] if row[0] == row[1])
    body = replayed(heroctl_here, "--diff", str(half), str(len(served.rows)))
    before, after = plain(served.rows[:half]), plain(served.rows)
    for kind in before:
        named = {each["name"]: each["change"] for each in body["changes"] if each["kind"] == kind}
        assert {name for name, how in named.items() if how == "added"} == after[kind].keys() - before[kind].keys()
        assert {name for name, how in named.items() if how == "removed"} == before[kind].keys() - after[kind].keys()
        both = before[kind].keys() & after[kind].keys()
        changed = {name for name in both if before[kind][name] != after[kind][name]}
        assert {name for name, how in named.items() if how == "changed"} == changed
    assert sum(body["events"].values()) == len(served.rows) - half
    assert replayed(heroctl_here, "--diff", str(half), str(half))["changes"] == []
    assert heroctl_here("log", "replay", "--diff", str(half), "1").code == 1


def test_a_replay_in_time_waits_as_long_as_it_took_less_the_factor(
    heroctl_here: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    out = heroctl_here("log", "replay", "--speed", "1000", "--from", "3").out
    assert out.startswith("3\t")
    took = (served.rows[-1][2] - served.rows[2][2]) / 1000
    assert sum(slept) == pytest.approx(took / 1000, rel=0.01)
    assert heroctl_here("log", "replay", "--speed", "0").code == 1


def test_a_compacted_log_cannot_be_replayed_and_the_way_out_is_named(heroctl_here: Run, api: FakeApi) -> None:
    api.act("GET", "/v1/log", refusal(410, "index_compacted", "the log is kept after index 1000 only"))
    result = heroctl_here("log", "replay")
    assert result.code == 1
    assert "1000" in result.err
    assert "--at" in result.err


# ── --at ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("job", "list"), "/v1/jobs"),
        (("alloc", "list"), "/v1/allocations"),
        (("alloc", "status", "a1"), "/v1/allocations/a1"),
        (("node", "list"), "/v1/nodes"),
        (("node", "status", "n"), "/v1/nodes/n"),
        (("deployment", "list"), "/v1/deployments"),
        (("deployment", "status", "d1"), "/v1/deployments/d1"),
    ],
)
@pytest.mark.parametrize("moment", ["52", "-1h", "2026-03-01T12:00:00Z"])
def test_what_was_is_asked_for_and_said(
    heroctl_here: Run, api: FakeApi, words: tuple[str, ...], path: str, moment: str
) -> None:
    bodies = {
        "job": samples.job(),
        "alloc": samples.alloc(),
        "node": samples.node(),
        "deployment": samples.deployment(),
    }
    body = [bodies[words[0]]] if words[1] == "list" else bodies[words[0]]
    api.answer(path, Reply(200, body, 51, {"X-HeroCtl-At": samples.T0}))
    result = heroctl_here(*words, "--at", moment)
    assert (result.code, result.err) == (0, f"as of index 51, {samples.T0}\n")
    assert api.requests[-1].query == {"at": moment}


def test_a_job_and_its_replicas_are_as_of_one_index(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/jobs/web", samples.job(), index=51)
    api.page("/v1/allocations", [samples.alloc()], index=51)
    assert heroctl_here("job", "status", "web", "--at", "-2h").code == 0
    assert [request.query.get("at") for request in api.requests] == ["-2h", "51", "51"]


def test_the_past_is_not_watched(heroctl_here: Run, api: FakeApi) -> None:
    result = heroctl_here("job", "list", "--at", "5", "--watch")
    assert result.code == 1
    assert "--watch" in result.err
    assert api.requests == []
