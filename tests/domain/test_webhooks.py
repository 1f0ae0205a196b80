"""What webhooks are told, by which words, and who they read for; and by which times they are told it again."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl.domain import events as e
from heroctl.domain.credentials import named, rows_of
from heroctl.domain.delivery import JITTER, SCHEDULE, Breaker, asked_for, judge, pause
from heroctl.domain.errors import Conflict, NotFound
from heroctl.domain.events import EVENTS, Event, Record
from heroctl.domain.intents import access, webhooks
from heroctl.domain.records import Webhook
from heroctl.domain.webhooks import LARGEST, NAMES, PING, may_know, need, news, payload, readers, wants
from tests.domain.worlds import World

NOW: Final = 1_790_000_000.0


def world() -> World:
    made = World()
    made.do(access.create_user(made.state, "admin", ("admin",), "row-admin"))
    made.do(access.create_user(made.state, "olga", ("operator",), "row-olga", ("shop",)))
    return made


def hook(made: World, identity: str = "w1", *events: str, user: str = "admin", **more: Any) -> Webhook:  # noqa: ANN401 - fields of the event
    event = e.WebhookCreated(
        identity, "default", "https://hooks.example.com/", events or ("*",), f"row-{identity}", user, **more
    )
    made.do(webhooks.create_webhook(made.state, event))
    return made.state.webhooks[identity]


def at(event: Event, index: int = 100) -> Record:
    return Record(index, index, 1_790_000_000_123, event)


TOLD: Final[dict[str, Event]] = {
    "alert.fired": e.AlertFired("default", "hot", "cpu", "> 1", "a1", 1.5, "web", "row"),
    "alert.resolved": e.AlertResolved("default", "hot", "cpu", "> 1", "web"),
    "job.deployed": e.JobDeployed(1, "default", "web", 2, "d1"),
    "job.failed": e.JobFailed(1, "default", "web", 2, "d1", "deadline", 1),
    "alloc.failed": e.AllocFailed("a1", "default", "web", "main", 0, "n1", 3, "exited", "said", 137, True, True),
    "node.down": e.NodeDown("n1", "node-1", 13.5, ("a1", "a2")),
    "secret.changed": e.SecretWritten("default", "db", 3, "row-of-it", "update"),
}


@pytest.mark.parametrize("name", TOLD)
def test_an_event_is_told_by_its_name_outside(name: str) -> None:
    told = news(TOLD[name])
    assert told is not None
    assert told.type == name
    said = json.loads(payload(at(TOLD[name]), told, "c1", "inc"))
    assert said.keys() == {"id", "type", "index", "time", "cluster", "namespace", "data"}
    assert (said["id"], said["index"], said["cluster"]) == ("evt_inc_100", 100, "c1")
    assert said["time"] == "2026-09-21T14:13:20.123Z"
    assert said["namespace"] == (None if name == "node.down" else "default")
    assert "row-of-it" not in str(said)


def test_what_is_said_of_each() -> None:
    data = {name: told.data for name, event in TOLD.items() if (told := news(event))}
    assert data["job.failed"]["reverted_to"] == 1
    assert data["alloc.failed"] | {"slot": 0} == {
        "alloc": "a1", "job": "web", "task": "main", "slot": 0, "node": "n1", "attempt": 3, "reason": "exited",
        "message": "said", "exit_code": 137, "oom": True, "will_restart": True,
    }  # fmt: skip
    assert data["node.down"] == {"node": "node-1", "silent_seconds": 13.5, "allocations": 2}
    gone = news(e.SecretDeleted("default", "db", version=3))
    assert gone is not None
    assert gone.data == {"name": "db", "version": 3, "action": "delete"}


def test_every_name_but_that_of_certificates_is_told_of_some_event() -> None:
    """Nothing else of the log has a name outside."""
    submitted = World()
    submitted.submit()
    found = {told.type for event in (*TOLD.values(), submitted.records[-1].event) if (told := news(event))}
    assert found == {*NAMES} - {"cert.renewed"}
    assert "cert.renewed" not in EVENTS


@given(st.text(max_size=5_000), st.text(max_size=5_000))
def test_whatever_is_said_is_short(reason: str, message: str) -> None:
    for event in (
        e.AllocFailed("a" * 16, "n" * 63, "j" * 63, "t" * 63, 9, "x" * 63, 9, reason, message),
        e.JobFailed(1, "n" * 63, "j" * 63, 9, "d" * 16, reason),
    ):
        told = news(event)
        assert told is not None
        assert len(payload(at(event), told, "c" * 16, "i" * 12)) < LARGEST


def test_a_webhook_wants_its_names_in_its_namespace_since_it_is_on() -> None:
    made = world()
    one, all_ = hook(made, "w1", "job.failed"), hook(made, "w2")

    def wanted(by: Webhook, event: Event, index: int = 100) -> bool:
        told = news(event)
        assert told is not None
        return wants(by, at(event, index), told)

    assert wanted(one, TOLD["job.failed"])
    assert not wanted(one, TOLD["job.deployed"])
    assert all(wanted(all_, event) for event in TOLD.values())
    assert not wanted(all_, e.SecretWritten("shop", "db", 1, "row"))
    assert not wanted(all_, TOLD["job.failed"], all_.since)
    ping = e.WebhookPinged("w1", "default")
    assert (wanted(one, ping), wanted(all_, ping)) == (True, False)
    assert news(ping).type == PING  # type: ignore[union-attr] # it is one
    made.add(e.WebhookDisabled("w2", "default", "backlog"))
    off = made.state.webhooks["w2"]
    assert (off.reason, wanted(off, TOLD["job.failed"])) == ("backlog", False)
    made.do(webhooks.update_webhook(made.state, e.WebhookUpdated("w2", "default", off.url, ("*",), "admin")))
    on = made.state.webhooks["w2"]
    assert (on.since, on.reason) == (made.state.index, "")


def test_it_reads_what_whoever_made_it_may_read_now() -> None:
    made = world()
    ours, hers = hook(made, "w1"), hook(made, "w2", user="olga")
    now = made.state.time
    for event in TOLD.values():
        needed = need(made.state, event)
        assert may_know(readers(made.state, ours, now), needed)
        elsewhere = not isinstance(event, e.NodeDown)
        assert may_know(readers(made.state, hers, now), needed) != elsewhere
    ping = need(made.state, e.WebhookPinged("w2", "default"))
    assert may_know(readers(made.state, hers, now), ping)
    made.do(access.delete_user(made.state, "olga"))
    gone = made.state.webhooks["w2"]
    assert readers(made.state, gone, now) == ()
    assert not may_know((), ping)
    made.do(access.create_user(made.state, "olga", ("admin",), "row-other"))
    assert readers(made.state, made.state.webhooks["w2"], now) == (), "she is somebody else"


def test_one_made_by_a_token_ends_with_it() -> None:
    made = world()
    token = e.TokenCreated("t1", "ci", "admin", ("viewer",), "row-t1", expires_at=made.state.time + 5_000)
    made.do(access.create_token(made.state, token))
    one = hook(made, user="admin", token="t1")
    assert readers(made.state, one, made.state.time)
    assert readers(made.state, one, made.state.time + 10_000) == ()
    made.do(access.delete_token(made.state, "t1"))
    assert made.state.webhooks["w1"].user == ""


def test_the_vault_keeps_what_signs_and_no_longer() -> None:
    made = world()
    hook(made)
    made.do(webhooks.rotate_webhook(made.state, e.WebhookRotated("w1", "default", "row-new", made.state.time + 3_000)))
    one = made.state.webhooks["w1"]
    assert rows_of(one, made.state.time) == ("row-new", "row-w1")
    assert {"row-new", "row-w1"} <= named(made.state)
    made.add(e.SessionOpened("s", "admin"), seconds=5)
    assert rows_of(one, made.state.time) == ("row-new",)
    assert "row-w1" not in named(made.state)
    made.do(webhooks.delete_webhook(made.state, "w1"))
    assert "row-new" not in named(made.state)


def test_what_is_refused() -> None:
    made = world()
    hook(made)
    again = e.WebhookCreated("w1", "default", "https://other.example.com/", ("*",), "row", "admin")
    with pytest.raises(Conflict, match="exists already"):
        webhooks.create_webhook(made.state, again)
    with pytest.raises(NotFound):
        webhooks.delete_webhook(made.state, "w9")
    made.add(e.WebhookDisabled("w1", "default", "receiver_gone"))
    with pytest.raises(Conflict, match="switched off"):
        webhooks.ping_webhook(made.state, "w1")


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 20), st.text(max_size=20), st.floats(0, 10**7))
def test_a_pause_is_that_of_the_schedule_or_what_was_asked_for(tried: int, identity: str, asked: float) -> None:
    found = pause(tried, identity, asked)
    if tried > len(SCHEDULE):
        assert found is None
        return
    usual = SCHEDULE[tried - 1]
    assert found is not None
    assert usual <= found <= max(usual * (1 + JITTER), min(asked, 86_400))
    assert found >= min(asked, 86_400)
    assert found == pause(tried, identity, asked)


def test_a_crowd_comes_back_one_by_one() -> None:
    assert len({pause(1, str(number)) for number in range(100)}) > 90


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("9" * 50, 999_999_999),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60),
        ("Mon, 21 Sep 2020 14:14:20 GMT", 0),
        ("Mon, 99 Sep 2026 14:14:20 GMT", 0),
        ("\u0661", 0),
    ],
)
def test_what_a_receiver_asks_for_is_read(header: str, seconds: float) -> None:
    assert asked_for(header, NOW) == seconds


def test_what_an_answer_means() -> None:
    assert {judge(status) for status in (200, 201, 204, 299)} == {"delivered"}
    assert {judge(status) for status in (0, 100, 301, 400, 404, 429, 500, 599)} == {"again"}
    assert judge(410) == "gone"


@given(st.lists(st.booleans(), max_size=30))
def test_a_receiver_rests_after_five_failures_and_longer_each_time(went_well: list[bool]) -> None:
    breaker, now, run = Breaker(), 0.0, 0
    for well in went_well:
        breaker = breaker.succeeded() if well else breaker.failed(now, "w1")
        run = 0 if well else run + 1
        assert breaker.open == (run >= 5)
        rest = breaker.rests(now)
        assert (rest > 0) == breaker.open
        assert rest <= 720
        assert not breaker.open or rest >= min(30 * 2 ** (run - 5), 600)
        now += rest
        assert breaker.rests(now) == 0


@pytest.mark.parametrize("year", ["99999999999999", "10000"])
def test_a_date_that_is_none_asks_for_nothing(year: str) -> None:
    assert asked_for(f"Mon, 01 Jan {year} 00:00:00 GMT", 0.0) == 0.0
