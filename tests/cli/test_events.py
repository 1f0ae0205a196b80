"""`heroctl events`: pages are followed, what is asked is handed on, and what is new is told once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heroctl.cli import events
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request

HEAD = 9


def event(index: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "index": index,
        "id": f"evt_a_{index}",
        "type": "job.submitted",
        "time": "2026-03-01T12:00:00.000Z",
        "actor": "user:admin",
        "request_id": f"req_{index}",
        "namespace": "default",
        "topics": ["namespace:default", "job:web"],
        "data": {"version": index},
        **fields,
    }


@pytest.fixture
def served(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Nine events, four a page at most."""
    monkeypatch.setattr(events, "PAGE", 4)

    def page(request: Request) -> Reply:
        after = HEAD if request.query.get("index") == "now" else int(request.query.get("index", 0))
        found = list(range(after + 1, HEAD + 1))[: int(request.query["limit"])]
        return Reply(index=found[-1] if found else HEAD, body=[event(each) for each in found])

    api.act("GET", "/v1/events", page)
    return api


def test_all_pages_are_read_oldest_first(heroctl_here: Run, served: FakeApi) -> None:
    shown = json.loads(heroctl_here("events", "--since", "2", "-o", "json").out)
    assert [each["index"] for each in shown] == [3, 4, 5, 6, 7, 8, 9]
    assert all(asked.query["wait"] == "0s" for asked in served.asked("GET", "/v1/events"))


@pytest.mark.parametrize(
    ("since", "asked"),
    [
        ([], {"from": "-1h"}),
        (["--since", "-5m"], {"from": "-5m"}),
        (["--since", "7"], {"index": "7"}),
        (["--since", "0"], {}),
    ],
)
def test_where_it_begins(heroctl_here: Run, served: FakeApi, since: list[str], asked: dict[str, str]) -> None:
    heroctl_here("events", *since)
    first = served.asked("GET", "/v1/events")[0].query
    assert {name: first[name] for name in ("from", "index") if name in first} == asked


def test_what_is_asked_is_handed_on(heroctl_here: Run, served: FakeApi) -> None:
    words = ["--topic", "job:web", "--topic", "node", "--type", "alloc.*", "--request-id", "r1", "-n", "shop"]
    assert heroctl_here("events", *words, "--since", "9").code == 0
    asked = served.asked("GET", "/v1/events")[0].query
    assert {name: asked[name] for name in ("topic", "type", "request_id", "namespace")} == {
        "topic": "job:web,node", "type": "alloc.*", "request_id": "r1", "namespace": "shop",
    }  # fmt: skip


def test_a_line_says_when_what_about_whom_and_why(heroctl_here: Run, api: FakeApi) -> None:
    report = {"alloc": "a1b2c3d4e5f6", "phase": "running", "health": "healthy"}
    topics = ["namespace:default", "job:web", "alloc:a1b2c3d4e5f6", "node:x", "node:n1"]
    failed = {"reason": "exited", "exit_code": 3, "message": "no\nDB \x1b[2J"}
    told = [
        event(1),
        event(2, type="alloc.failed", actor="node:n1", topics=topics, data=failed),
        event(3, type="alloc.reported", topics=["alloc:a1b2c3d4e5f6"], data={"node": "x", "report": report}),
        event(4, type="namespace.created", topics=["namespace:lab"], data={"name": "lab"}),
    ]  # fmt: skip
    api.act("GET", "/v1/events", lambda request: Reply(index=4, body=[] if request.query.get("index") else told))
    title, *lines = (line.split("\t") for line in heroctl_here("events").out.splitlines())
    assert title == ["TIME", "INDEX", "TYPE", "ABOUT", "BY", "WHAT"]
    assert lines[0] == ["2026-03-01T12:00:00Z", "1", "job.submitted", "job web", "user:admin", "version 1"]
    assert lines[1][3:5] == ["job web, alloc a1b2c3d4, node n1", "node:n1"]
    assert lines[1][5].startswith("reason exited, message no DB")
    assert "\x1b" not in lines[1][5]
    assert lines[2][3:] == ["alloc a1b2c3d4", "user:admin", "running healthy"]
    assert lines[3][3:] == ["namespace lab", "user:admin", "-"]


def test_follow_begins_now_and_tells_what_is_new_once(heroctl_here: Run, api: FakeApi) -> None:
    pages = [(9, []), (11, [10, 11]), (11, []), (12, [12])]

    def page(request: Request) -> Reply:
        if not pages:
            return Reply(400, {"error": "end", "message": "end", "request_id": "r"})
        index, found = pages.pop(0)
        return Reply(index=index, body=[event(each) for each in found])

    api.act("GET", "/v1/events", page)
    out = heroctl_here("events", "--follow", "-o", "json").out
    assert [json.loads(line)["index"] for line in out.splitlines()] == [10, 11, 12]
    asked = [request.query["index"] for request in api.asked("GET", "/v1/events")]
    assert asked == ["now", "9", "11", "11", "12"]


def test_what_is_kept_no_more_is_said_and_passed_over(heroctl_here: Run, api: FakeApi) -> None:
    gone = Reply(410, {"error": "index_compacted", "message": "kept after 20", "request_id": "r"})
    end = Reply(400, {"error": "end", "message": "end", "request_id": "r"})
    replies = [Reply(index=5, body=[event(5)]), gone, Reply(index=21, body=[event(21)]), end]
    api.act("GET", "/v1/events", lambda _: replies.pop(0))
    result = heroctl_here("events", "--follow", "--since", "4", "-o", "name")
    assert result.out.split() == ["evt_a_5", "evt_a_21"]
    assert "events after 5 are not kept any more; going on with the oldest that are" in result.err
