"""`heroctl logs`: lines as people read them, filters as the API takes them, and a stream that is taken up again."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec

from heroctl.cli.client import Client
from heroctl.cli.faults import Caller
from heroctl.cli.logs import Line, Message, _messages, _stream
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply

LINES: list[dict[str, Any]] = [
    {"alloc": "abcdefghijkl", "line": "one\x1b[2J", "stream": "stdout", "time": "t", "job": "web", "task": "app"},
    {"alloc": "mnopqrstuvwx", "line": "two", "stream": "stderr", "time": "t", "job": "web", "task": "app"},
]


def test_lines_are_shown_behind_whose_they_are(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/logs", LINES)
    done = heroctl_here("logs", "web", "--tail", "5", "--grep", "o", "--only", "stderr", "--since", "10m", "-n", "shop")
    assert done.code == 0, done.err
    assert done.out == "app/abcdefgh | one [2J\napp/mnopqrst | two\n"
    asked = api.asked("GET", "/v1/logs")[-1].query
    wanted = {"job": "web", "tail": "5", "grep": "o", "output": "stderr", "since": "10m", "namespace": "shop"}
    assert asked == wanted
    assert json.loads(heroctl_here("logs", "web", "-o", "json").out) == LINES
    assert heroctl_here("logs", "-o", "name").out == "one [2J\ntwo\n"


def test_of_one_allocation_and_of_the_one_that_ended_last(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/logs/abcd", LINES[:1])
    assert (
        heroctl_here("alloc", "logs", "abcd").out
        == heroctl_here("logs", "--alloc", "abcd").out
        == "app/abcdefgh | one [2J\n"
    )
    ended = [
        {"id": "old", "status": "failed", "finished_at": "2026-01-01T00:00:00Z"},
        {"id": "new", "status": "complete", "finished_at": "2026-01-02T00:00:00Z"},
        {"id": "now", "status": "running"},
    ]
    api.page("/v1/allocations", ended)
    api.page("/v1/logs/new", LINES[1:])
    assert heroctl_here("logs", "web", "--previous").out == "app/mnopqrst | two\n"
    api.page("/v1/allocations", ended[2:])
    refused = heroctl_here("logs", "web", "--previous")
    assert refused.code != 0
    assert "heroctl alloc list --job web" in refused.err


def test_messages_are_put_together_and_beats_passed_by() -> None:
    raw = ["retry: 1000", "", ":", "", "id: 1", "event: log", 'data: {"a": 1}', "", "event: gap", "data: {}", ""]
    found = [(m.event, m.id, m.data) for m in _messages(each.encode() for each in raw)]
    assert found == [("log", "1", '{"a": 1}'), ("gap", "", "{}")]
    assert Message().data == ""


def test_who_follows_in_json_is_told_all_that_the_api_tells() -> None:
    told = [*LINES, {**LINES[0], "partial": True}, {**LINES[0], "stream": "system", "dropped": 12}]
    assert [json.loads(msgspec.json.encode(msgspec.convert(line, Line))) for line in told] == told


def test_a_stream_is_taken_up_again_after_the_last_line_that_was_seen(monkeypatch: Any) -> None:  # noqa: ANN401 - pytest's
    rounds = [[f"id: {number}", "event: log", "data: " + json.dumps(line), ""] for number, line in enumerate(LINES, 7)]
    seen: list[dict[str, str]] = []

    class Client:
        def lines(self, _where: str, *, silence: float, headers: dict[str, str]) -> Any:  # noqa: ANN401 - lines
            assert silence > 15
            seen.append(headers)
            return iter([each.encode() for each in rounds[len(seen) - 1]])

    class Session:
        client = Client()

    monkeypatch.setattr("heroctl.cli.logs._PAUSE_S", 0.0)
    session: Any = Session()
    lines = _stream(session, "/v1/logs", {"job": "web"})
    assert [next(lines).line, next(lines).line] == ["one\x1b[2J", "two"]
    assert seen == [{}, {"Last-Event-ID": "7"}]


def test_whoever_may_read_logs_alone_can_follow_them(api: FakeApi) -> None:
    api.answer("/v1/logs", Reply(200, LINES))
    with contextlib.closing(Client(Caller(api.address), "log-reader")) as client:
        assert b"".join(client.lines("/v1/logs", silence=5.0))
    assert [request.path for request in api.requests] == ["/v1/logs"], "nothing else was asked: it takes other rights"


def test_a_session_that_ran_out_is_renewed_before_a_stream_begins(api: FakeApi) -> None:
    api.act("GET", "/v1/logs", Reply(401, {"error": "token_expired"}), Reply(200, LINES))
    with contextlib.closing(Client(Caller(api.address), "old", renew=lambda _: "new")) as client:
        assert b"".join(client.lines("/v1/logs", silence=5.0))
    assert [request.headers["Authorization"] for request in api.requests] == ["Bearer old", "Bearer new"]
