"""`heroctl alert`: what it sends, and what it shows of alerts that fire and did."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal

TIME: Final = "2026-03-01T12:00:00.000Z"
HOT: Final[dict[str, Any]] = {
    "name": "hot",
    "namespace": "default",
    "metric": "memory",
    "condition": "> 100000000",
    "for": "5m",
    "job": "shop",
    "task": "",
    "node": "",
    "description": "",
    "state": "firing",
    "of": "a1b2c3d4",
    "value": 134217728.0,
    "fired_at": TIME,
    "created_at": TIME,
    "create_index": 5,
    "modify_index": 5,
}
FULL: Final = {**HOT, "name": "full", "metric": "disk_percent", "condition": "> 90", "for": "0s", "job": ""}
QUIET: Final = {**FULL, "state": "ok", "of": "", "value": 0.0, "fired_at": None}


def happened(index: int, kind: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of an event
    return {"index": index, "id": f"evt_{index}", "type": kind, "time": TIME, "topics": [], "data": data}


def test_an_alert_is_set(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/alerts", Reply(201, HOT, 7))
    words = ("--metric", "memory", "--condition", "> 100000000", "--for", "5m", "--job", "shop", "-n", "default")
    result = heroctl_here("alert", "create", "hot", *words)
    assert (result.code, result.out) == (0, "")
    assert result.err == "alert hot is set: memory > 100000000 for 5m, of job shop\n"
    [asked] = api.asked("POST", "/v1/alerts")
    expected = {"name": "hot", "metric": "memory", "condition": "> 100000000", "for": "5m", "job": "shop"}
    assert asked.json() == expected
    assert asked.query == {"namespace": "default"}
    assert "such as: heroctl alert create hot --metric" in heroctl_here("alert", "create", "hot").err
    api.act("POST", "/v1/alerts", refusal(409, "alert_exists", "there is one"))
    assert "heroctl alert update NAME" in heroctl_here("alert", "create", "hot", *words).err


def test_alerts_are_listed_with_what_they_fire_for(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/alerts", [HOT, QUIET])
    titles, hot, full = heroctl_here("alert", "list").out.splitlines()
    assert titles.split()[:5] == ["NAME", "NAMESPACE", "STATE", "WHEN", "FOR"]
    assert "firing" in hot
    assert "a1b2c3d4: 128" in hot, "in units that people read"
    assert "job shop" in hot
    assert "all nodes" in full
    assert heroctl_here("alert", "list", "-o", "name").out == "hot\nfull\n"


def test_a_status_says_when_it_fired(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/alerts/hot", HOT)
    told = [
        happened(7, "alert.fired", name="hot", metric="memory", of="a1", value=2e8),
        happened(8, "alert.fired", name="another", metric="memory", of="a2", value=2e8),
        happened(9, "alert.resolved", name="hot", metric="memory"),
    ]
    api.act("GET", "/v1/events", lambda asked: Reply(index=9, body=[] if asked.query.get("index") else told))
    shown = heroctl_here("alert", "status", "hot").out
    assert "memory > 100000000 for 5m, of job shop" in shown
    assert [line.split()[1] for line in shown.splitlines()[-2:]] == ["resolved", "fired"], "the newest first"
    assert "a2" not in shown
    assert api.asked("GET", "/v1/events")[0].query["type"] == "alert.fired,alert.resolved"
    both = json.loads(heroctl_here("alert", "status", "hot", "-o", "json").out)
    assert [both["alert"]["name"], [each["index"] for each in both["history"]]] == ["hot", [7, 9]]


def test_what_is_given_is_changed_and_the_rest_kept(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/alerts/hot", HOT)
    api.act("PUT", "/v1/alerts/hot", Reply(200, {**HOT, "condition": "> 5", "job": ""}, 8))
    result = heroctl_here("alert", "update", "hot", "--condition", "> 5", "--job", "")
    assert result.err == "alert hot is set: memory > 5 for 5m, of all nodes\n"
    [asked] = api.asked("PUT", "/v1/alerts/hot")
    expected = {"metric": "memory", "condition": "> 5", "for": "5m", "job": "", "task": "", "node": ""}
    assert asked.json() == {**expected, "description": ""}
    assert "nothing to change" in heroctl_here("alert", "update", "hot").err
    api.act("DELETE", "/v1/alerts/hot", Reply(200, {"index": 9, "name": "hot"}, 9))
    assert heroctl_here("alert", "delete", "hot").err == "alert hot is deleted\n"
    api.act("DELETE", "/v1/alerts/gone", refusal(404, "alert_not_found", "there is no alert gone"))
    assert "heroctl alert list" in heroctl_here("alert", "delete", "gone").err
