"""`heroctl audit`: pages are followed, filters handed on, and what is new is told once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heroctl.cli import audit
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request


def record(number: int, outcome: str = "done") -> dict[str, Any]:
    return {
        "id": f"evt_{number}",
        "index": number,
        "time": "2026-03-01T12:00:00.000Z",
        "actor": "user:admin",
        "address": "192.0.2.7",
        "request_id": f"req_{number}",
        "type": "job.submitted",
        "target": f"job default/web-{number}",
        "namespace": "default",
        "outcome": outcome,
        "summary": f"submitted: job default/web-{number}",
        "data": {},
        "count": 1,
        "last_time": "2026-03-01T12:00:00.000Z",
    }


@pytest.fixture
def served(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Nine records, three a page at most."""
    monkeypatch.setattr(audit, "PAGE", 3)

    def page(request: Request) -> Reply:
        start = int(request.query.get("cursor", 0))
        limit = int(request.query["limit"])
        assert limit <= 3
        body = [record(number) for number in range(9, 0, -1)][start : start + limit]
        headers = {"X-HeroCtl-Next-Cursor": str(start + limit)} if start + limit < 9 else {}
        return Reply(index=9, body=body, headers=headers)

    api.act("GET", "/v1/audit", page)
    return api


def numbers(out: str) -> list[int]:
    return [each["index"] for each in json.loads(out)]


def test_the_newest_come_first_page_by_page(heroctl_here: Run, served: FakeApi) -> None:
    assert numbers(heroctl_here("audit", "--last", "5", "-o", "json").out) == [9, 8, 7, 6, 5]
    assert numbers(heroctl_here("audit", "--last", "0", "-o", "json").out) == list(range(9, 0, -1))
    assert len(served.asked("GET", "/v1/audit")) == 5


def test_filters_are_handed_on(heroctl_here: Run, served: FakeApi) -> None:
    words = ["--actor", "user:a", "--job", "web", "--since", "-1h", "--outcome", "refused", "-n", "shop"]
    assert heroctl_here("audit", *words, "--request-id", "r1", "--type", "job.*", "--last", "1").code == 0
    [asked] = served.asked("GET", "/v1/audit")
    assert asked.query == {
        "actor": "user:a", "job": "web", "from": "-1h", "outcome": "refused", "namespace": "shop",
        "request_id": "r1", "type": "job.*", "limit": "1",
    }  # fmt: skip


def test_a_line_says_who_when_from_where_and_what(heroctl_here: Run, served: FakeApi) -> None:
    title, line, *_ = heroctl_here("audit", "--last", "2").out.splitlines()
    assert title.split("\t") == ["TIME", "ACTOR", "ADDRESS", "OUTCOME", "WHAT"]
    assert line.split("\t") == [
        "2026-03-01T12:00:00Z", "user:admin", "192.0.2.7", "done", "submitted: job default/web-9",
    ]  # fmt: skip


def test_follow_tells_what_is_new_once_and_in_order(heroctl_here: Run, api: FakeApi) -> None:
    lists = [[2, 1], [3, 2, 1], [5, 4, 3, 2, 1], [5, 4, 3, 2, 1]]

    def page(request: Request) -> Reply:
        shown = lists.pop(0) if lists else None
        if shown is None:
            return Reply(400, {"error": "end", "message": "end", "request_id": "r"})
        return Reply(index=shown[0], body=[record(number) for number in shown[: int(request.query["limit"])]])

    api.act("GET", "/v1/audit", page)
    out = heroctl_here("audit", "--follow", "--last", "1", "-o", "json").out
    assert [json.loads(line)["index"] for line in out.splitlines()] == [2, 3, 4, 5]
