"""`heroctl webhook`: what it sends, what it shows, and that a secret comes from where it should and is shown once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal

ID: Final = "4f0c2a91b7d3e658"
URL: Final = "https://hooks.example.com/1"
TIME: Final = "2026-03-01T12:00:00.000Z"
HOOK: Final[dict[str, Any]] = {
    "id": ID,
    "namespace": "default",
    "url": URL,
    "events": ["job.failed", "node.down"],
    "description": "",
    "state": "enabled",
    "reason": "",
    "reads_for": "admin",
    "rotating_until": None,
    "created_at": TIME,
}


def delivery(number: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a shape
    return {
        "number": number,
        "type": "job.failed",
        "time": TIME,
        "state": "delivered",
        "attempts": 1,
        "last_at": TIME,
        "next_at": None,
        "status": 204,
        "ms": 12,
        "error": "",
        **more,
    }


def test_a_webhook_is_made_and_its_secret_shown_once(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/webhooks", Reply(201, {**HOOK, "secret": "whsec_abc"}, 7))
    result = heroctl_here("webhook", "create", URL, "-e", "job.failed", "--event", "node.down", "-n", "shop")
    assert (result.code, result.out) == (0, "whsec_abc\n")
    assert f"webhook {ID} is made; try it: heroctl webhook ping {ID}" in result.err
    [asked] = api.asked("POST", "/v1/webhooks")
    assert asked.json() == {"url": URL, "events": ["job.failed", "node.down"], "description": ""}
    assert asked.query == {"namespace": "shop"}


def test_a_secret_comes_from_a_file_or_stdin_and_is_not_shown(heroctl_here: Run, api: FakeApi, tmp_path: Path) -> None:
    api.act("POST", "/v1/webhooks", Reply(201, {**HOOK, "secret": None}, 7))
    (tmp_path / "secret").write_text("whk_a1b2c3\n")
    result = heroctl_here("webhook", "create", URL, "-e", "*", "--secret-file", str(tmp_path / "secret"))
    assert (result.code, result.out) == (0, "")
    assert heroctl_here("webhook", "create", URL, "-e", "*", "--secret-stdin", stdin="whk_d4e5f6\n").code == 0
    assert [asked.json()["secret"] for asked in api.asked("POST", "/v1/webhooks")] == ["whk_a1b2c3", "whk_d4e5f6"]
    both = heroctl_here("webhook", "create", URL, "-e", "*", "--secret-stdin", "--secret-file", "x", stdin="y")
    assert "one of --secret-file and --secret-stdin" in both.err
    missing = heroctl_here("webhook", "create", URL, "-e", "*", "--secret-file", str(tmp_path / "none"))
    assert (missing.code, "cannot be read" in missing.err) == (1, True)
    assert "--event '*'" in heroctl_here("webhook", "create", URL).err


def test_webhooks_are_listed_and_one_is_shown(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/webhooks", [HOOK])
    listed = heroctl_here("webhook", "list").out
    assert listed.splitlines()[0].split() == ["ID", "NAMESPACE", "STATE", "EVENTS", "URL"]
    assert listed.splitlines()[1].split() == [ID, "default", "enabled", "job.failed,node.down", URL]
    off = {**HOOK, "state": "disabled", "reason": "receiver_gone", "reads_for": ""}
    api.page("/v1/webhooks/4f0c", off)
    failed = delivery(9, state="pending", status=500, attempts=2, next_at=TIME, error="the receiver answered 500")
    api.page(f"/v1/webhooks/{ID}/deliveries", [failed])
    shown = heroctl_here("webhook", "status", "4f0c").out
    assert "its receiver answered 410: it is gone" in shown
    assert "nobody any more" in shown
    assert "the receiver answered 500" in shown
    assert heroctl_here("webhook", "status", "4f0c", "-o", "name").out == f"{ID}\n"


def test_what_is_given_is_changed(heroctl_here: Run, api: FakeApi) -> None:
    api.act("PATCH", f"/v1/webhooks/{ID}", Reply(200, HOOK, 7))
    result = heroctl_here("webhook", "update", ID, "--enable", "-e", "*")
    assert (result.code, result.err) == (0, f"webhook {ID} is enabled, and is told job.failed,node.down\n")
    heroctl_here("webhook", "update", ID, "--disable", "--url", URL)
    bodies = [asked.json() for asked in api.asked("PATCH", f"/v1/webhooks/{ID}")]
    assert bodies == [{"events": ["*"], "enabled": True}, {"url": URL, "enabled": False}]
    assert "nothing to change" in heroctl_here("webhook", "update", ID).err


def test_a_secret_is_rotated(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", f"/v1/webhooks/{ID}/rotate", Reply(200, {"id": ID, "index": 8, "secret": "whsec_new"}, 8))
    result = heroctl_here("webhook", "rotate", ID, "--overlap", "60")
    assert result.out == "whsec_new\n"
    assert "for 60 s the one before signs, too" in result.err
    assert api.requests[-1].json() == {"overlap_seconds": 60}


def test_deliveries_are_listed_and_told_again(heroctl_here: Run, api: FakeApi) -> None:
    api.page(f"/v1/webhooks/{ID}/deliveries", [delivery(9), delivery(7)])
    assert heroctl_here("webhook", "deliveries", ID, "--state", "delivered", "-o", "name").out == "9\n7\n"
    assert api.requests[-1].query == {"state": "delivered", "limit": "50"}
    path = f"/v1/webhooks/{ID}/deliveries/redeliver"
    api.act("POST", path, Reply(200, {"id": ID, "first": 7, "last": 9, "index": 11}, 11))
    assert "told once more: 7 to 9" in heroctl_here("webhook", "redeliver", ID, "7", "9", "--failed-only").err
    assert api.requests[-1].json() == {"first": 7, "last": 9, "failed_only": True}
    heroctl_here("webhook", "redeliver", ID, "7")
    assert api.requests[-1].json() == {"first": 7, "last": 7, "failed_only": False}
    api.act("POST", path, refusal(409, "webhook_disabled", "it is off"))
    assert "heroctl webhook update ID --enable" in heroctl_here("webhook", "redeliver", ID, "7").err


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (delivery(12, status=200, ms=31), 0, f"webhook {ID} works: 200 after 31 ms"),
        (delivery(12, state="pending", status=None, error="the receiver has no address"), 2, "has no address"),
    ],
)
def test_a_ping_tells_what_came_of_it(
    heroctl_here: Run, api: FakeApi, outcome: dict[str, Any], code: int, said: str
) -> None:
    api.act("POST", f"/v1/webhooks/{ID}/ping", Reply(200, {"id": ID, "first": 12, "last": 12, "index": 12}, 12))
    waiting = [refusal(404, "delivery_not_found", "not yet"), Reply(200, delivery(12, state="pending", attempts=0))]
    api.act("GET", f"/v1/webhooks/{ID}/deliveries/12", *waiting, Reply(200, outcome))
    result = heroctl_here("webhook", "ping", ID)
    assert result.code == code
    assert said in result.err


def test_a_ping_that_nobody_sends_is_told(heroctl_here: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heroctl.cli.webhooks._PATIENCE_S", 0.5)
    api.act("POST", f"/v1/webhooks/{ID}/ping", Reply(200, {"id": ID, "first": 12, "last": 12, "index": 12}, 12))
    api.answer(f"/v1/webhooks/{ID}/deliveries/12", refusal(404, "delivery_not_found", "not yet"))
    result = heroctl_here("webhook", "ping", ID)
    assert (result.code, "is there a coordinator? heroctl status" in result.err) == (3, True)


def test_a_webhook_is_deleted(heroctl_here: Run, api: FakeApi) -> None:
    api.act("DELETE", f"/v1/webhooks/{ID}", Reply(200, {"index": 9, "id": ID}, 9))
    assert heroctl_here("webhook", "delete", ID) == (0, "", f"webhook {ID} is deleted\n")
    api.act("DELETE", f"/v1/webhooks/{ID}", refusal(404, "webhook_not_found", "no such webhook"))
    assert "heroctl webhook list" in heroctl_here("webhook", "delete", ID).err
