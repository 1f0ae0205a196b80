"""What webhooks are told, when, and by whom: each event once at least, in order, and no receiver in another's way."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.deliveries import CURSOR
from eventstore.internals import INTERNALS
from eventstore.log import LogUnavailable
from heroctl.domain.delivery import JITTER, MOST_PENDING, SCHEDULE
from heroctl.domain.events import (
    NodeDown,
    SecretWritten,
    UserCreated,
    UserDeleted,
    UserUpdated,
    WebhookDeleted,
    WebhookPinged,
    WebhookRedelivered,
)
from reconciler.webhook_post import Reply
from tests.eventstore.fastloop import elapse
from tests.reconciler.hooks import BAD, OK, ROOM, Sent, Telling, run


def test_webhooks_are_told_what_they_ask_for_in_order() -> None:
    async def story(telling: Telling) -> None:
        await telling.hook("w1", "job.deployed")
        await telling.hook("w2", "node.down", "secret.changed")
        await telling.hook("w3", "*")
        jobs = [await telling.deployed() for _ in range(3)]
        node = await telling.append(NodeDown("n1", "node-1", 13.5))
        secret = await telling.append(SecretWritten(ROOM, "db", 1, "row"))
        elsewhere = await telling.append(SecretWritten("shop", "db", 1, "row"))
        await telling.until(lambda: len(telling.receivers.sent) == 10)
        assert telling.receivers.of("w1") == jobs
        assert telling.receivers.of("w2") == [node, secret]
        assert telling.receivers.of("w3") == [*jobs, node, secret]
        assert elsewhere not in telling.receivers.of("w3")
        await telling.hook("w4", "*", namespace="*")
        await telling.append(SecretWritten("shop", "db", 2, "row"))
        await telling.until(lambda: len(telling.receivers.of("w4")) == 1)
        assert {row.state for row in await telling.all_("w3")} == {"delivered"}

    run(story)


def test_what_fails_comes_again_by_the_schedule_and_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.webhooks._LOOK", 3600.0)
    monkeypatch.setattr("reconciler.webhooks.COUNT", 3600.0)

    async def story(telling: Telling) -> None:
        await telling.hook()
        telling.receivers.answers = lambda _: BAD
        index = await telling.deployed()
        await telling.until(
            lambda: len(telling.receivers.sent) == len(SCHEDULE) + 1, seconds=2 * sum(SCHEDULE), step=60
        )
        times = telling.receivers.times("w1", index)
        pauses = [after - before for before, after in itertools.pairwise(times)]
        for pause, usual in zip(pauses, SCHEDULE, strict=True):
            assert usual <= pause <= usual * (1 + JITTER) + 700  # at its time, or when the receiver has rested
        [row] = await telling.all_()
        assert (row.state, row.attempts, row.status, row.error) == ("failed", 10, 500, "the receiver answered 500")
        await elapse(2 * SCHEDULE[-1])
        assert len(telling.receivers.sent) == 10

    run(story)


def test_a_receiver_says_when_to_come_again() -> None:
    async def story(telling: Telling) -> None:
        await telling.hook()
        telling.receivers.answers = lambda sent: OK if sent.at > 60 else Reply(503, "busy", retry_after=120)
        index = await telling.deployed()
        await telling.until(lambda: len(telling.receivers.sent) == 2, seconds=200)
        first, second = telling.receivers.times("w1", index)
        assert 120 <= second - first < 121

    run(story)


def test_one_that_hangs_or_fails_delays_no_other_and_what_failed_holds_nothing_back() -> None:
    async def story(telling: Telling) -> None:
        for name in ("hangs", "fails", "works"):
            await telling.hook(name)
        telling.receivers.takes["hangs"] = 15
        first = telling.view.index + 1
        telling.receivers.answers = lambda sent: BAD if (sent.webhook, sent.index) == ("fails", first) else OK
        indexes = [await telling.deployed() for _ in range(5)]
        took = await telling.until(lambda: len(telling.receivers.of("works")) == 5)
        assert took < 1
        assert telling.receivers.of("works") == indexes
        assert telling.receivers.of("hangs") == indexes[:1]
        await telling.until(lambda: len(telling.receivers.of("fails")) == 6)
        assert telling.receivers.of("fails") == [*indexes, first]
        await telling.until(lambda: len(telling.receivers.of("hangs")) == 5, seconds=120)
        assert telling.receivers.of("hangs") == indexes

    run(story)


def test_an_error_that_nobody_foresaw_ends_no_sender_of_another_and_is_tried_again() -> None:
    async def story(telling: Telling) -> None:
        for name in ("breaks", "works"):
            await telling.hook(name)
        tried: list[float] = []

        def answer(sent: Sent) -> Reply:
            if sent.webhook != "breaks":
                return OK
            tried.append(sent.at)
            if len(tried) == 1:
                raise ZeroDivisionError
            return OK

        telling.receivers.answers = answer
        indexes = [await telling.deployed() for _ in range(3)]
        await telling.until(lambda: len(telling.receivers.of("works")) == 3)
        await telling.until(lambda: len(tried) == 4, seconds=60)
        assert telling.receivers.of("works") == indexes
        assert 10 <= tried[1] - tried[0] <= 11

    run(story)


def test_a_receiver_that_keeps_failing_rests_and_gets_all_when_it_is_back() -> None:
    async def story(telling: Telling) -> None:
        await telling.hook()
        telling.receivers.answers = lambda _: BAD
        for _ in range(40):
            await telling.deployed()
        await elapse(60)
        assert len(telling.receivers.sent) < 12, "one at a time tries it"
        telling.receivers.answers = lambda _: OK
        before = len(telling.receivers.sent)
        await telling.until(lambda: len(set(telling.receivers.of("w1")[before:])) == 40, seconds=3000)
        assert {row.state for row in await telling.all_()} == {"delivered"}
        firsts = list(dict.fromkeys(telling.receivers.of("w1")))
        assert firsts == sorted(firsts), "first attempts are in order"

    run(story)


def test_what_waits_for_a_receiver_is_counted_until_it_is_told() -> None:
    def counted(name: str) -> dict[str, float]:
        [family] = [family for family in INTERNALS.families() if family.name == name]
        return {sample.labels: float(sample.value) for sample in family.samples}

    async def story(telling: Telling) -> None:
        await telling.hook("works")
        await telling.hook("fails")
        works, fails = (f'webhook="{name}",namespace="{ROOM}"' for name in ("works", "fails"))
        telling.receivers.answers = lambda sent: BAD if sent.webhook == "fails" else OK
        for _ in range(3):
            await telling.deployed()
        await elapse(60)
        assert counted("heroctl_webhook_queue") == {fails: 3, works: 0}
        assert 50 <= counted("heroctl_webhook_lag_seconds")[fails] <= 70
        assert counted("heroctl_webhook_lag_seconds")[works] == 0
        assert counted("heroctl_webhook_lag_events") == {"": 0}
        telling.receivers.answers = lambda _: OK
        await telling.until(lambda: counted("heroctl_webhook_queue")[fails] == 0, seconds=3000)

    run(story)


def test_a_receiver_that_is_gone_is_told_no_more_until_somebody_says_so() -> None:
    async def story(telling: Telling) -> None:
        await telling.hook()
        telling.receivers.answers = lambda _: Reply(410, "the receiver answered 410")
        await telling.deployed()
        waits = [await telling.deployed() for _ in range(2)]
        await telling.until(lambda: not telling.view.state.webhooks["w1"].enabled)
        assert telling.view.state.webhooks["w1"].reason == "receiver_gone"
        await elapse(100)
        missed = await telling.deployed()
        assert len(telling.receivers.sent) == 1
        telling.receivers.answers = lambda _: OK
        await telling.change("w1")
        after = await telling.deployed()
        await telling.until(lambda: len(telling.receivers.sent) == 5)
        assert telling.receivers.of("w1")[1:4] == [*waits, after] or set(telling.receivers.of("w1")) >= {*waits, after}
        assert missed not in telling.receivers.of("w1")

    run(story)


def test_whoever_it_reads_for_decides_what_is_told_when_it_is_sent() -> None:
    async def story(telling: Telling) -> None:
        await telling.hook(user="admin")
        await telling.append(UserCreated("otto", ("operator",), "row-otto", ("*",)))
        await telling.change("w1", enabled=False)
        await telling.change("w1", user="otto")
        telling.receivers.answers = lambda _: BAD
        index = await telling.deployed()
        await telling.until(lambda: len(telling.receivers.sent) == 1)
        await telling.append(UserUpdated("otto", ("operator",), ("shop",)))
        telling.receivers.answers = lambda _: OK
        await elapse(60)
        assert telling.receivers.of("w1") == [index]
        [row] = await telling.all_()
        assert (row.state, row.error) == ("dropped", "whom it reads for may not read this")
        await telling.append(UserDeleted("otto"))
        await telling.deployed()
        await telling.until(lambda: not telling.view.state.webhooks["w1"].enabled)
        assert telling.view.state.webhooks["w1"].reason == "creator_gone"
        await elapse(60)
        assert len(telling.receivers.sent) == 1

    run(story)


def test_too_much_that_waits_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.webhooks.MOST_PENDING", 20)
    assert MOST_PENDING == 10_000

    async def story(telling: Telling) -> None:
        await telling.hook("slow")
        await telling.hook("quick")
        telling.receivers.takes["slow"] = 15
        for _ in range(25):
            await telling.deployed()
        await telling.until(lambda: not telling.view.state.webhooks["slow"].enabled)
        assert telling.view.state.webhooks["slow"].reason == "backlog"
        assert telling.view.state.webhooks["quick"].enabled
        assert len(telling.receivers.of("quick")) == 25

    run(story)


def test_a_ping_is_told_to_one_and_what_was_told_is_told_again() -> None:
    async def story(telling: Telling) -> None:
        await telling.hook("w1", "job.failed")
        await telling.hook("w2")
        ping = await telling.append(WebhookPinged("w1", ROOM))
        await telling.until(lambda: telling.receivers.sent)
        assert (telling.receivers.of("w1"), telling.receivers.of("w2")) == ([ping], [])
        one, two = await telling.deployed(), await telling.deployed()
        await telling.until(lambda: telling.receivers.of("w2") == [one, two])
        await telling.append(WebhookRedelivered("w2", ROOM, one, two))
        await telling.until(lambda: telling.receivers.of("w2") == [one, two, one, two])
        await telling.append(WebhookRedelivered("w2", ROOM, two, two))
        await telling.until(lambda: len(telling.receivers.of("w2")) == 5)
        assert [row.attempts for row in await telling.all_("w2")] == [2, 3]
        ids = {row.id for row in await telling.all_("w2")}
        assert ids == {f"evt_{telling.view.state.incarnation}_{index}" for index in (one, two)}

    run(story)


def test_no_webhook_holds_nothing_of_the_log_back() -> None:
    async def story(telling: Telling) -> None:
        await telling.deployed()
        await elapse(10)
        assert await telling.cursors.listed() == {}
        made = await telling.hook()
        index = await telling.deployed()
        await telling.until(lambda: telling.receivers.of("w1") == [index])
        assert (await telling.cursors.listed())[CURSOR] >= made
        await telling.append(WebhookDeleted("w1", ROOM))
        await elapse(10)
        assert await telling.cursors.listed() == {}
        await elapse(700)
        assert await telling.all_() == []

    run(story)


def test_rows_that_cannot_be_reached_for_a_while_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(telling: Telling) -> None:
        await telling.hook()
        real, away = telling.rows.settle, [True]

        async def settle(*values: object) -> None:
            if away[0]:
                raise LogUnavailable("away")
            await real(*values)  # type: ignore[arg-type] # as they came

        monkeypatch.setattr(telling.rows, "settle", settle)
        indexes = [await telling.deployed() for _ in range(3)]
        await elapse(30)
        away[0] = False
        await telling.until(lambda: set(telling.receivers.of("w1")) == set(indexes))
        await elapse(30)
        assert [row.state for row in await telling.all_()] == ["delivered"] * 3
        firsts = list(dict.fromkeys(telling.receivers.of("w1")))
        assert firsts == indexes

    run(story)


@given(seed=st.integers(0, 10**6))
def test_whoever_coordinates_and_dies_each_event_is_told_in_order(seed: int) -> None:
    """Killed anywhere and taken over by another epoch: at least once, with the same id, first attempts in order."""
    chance = random.Random(seed)

    async def story(telling: Telling) -> None:
        for name in ("w1", "w2"):
            await telling.hook(name)
            telling.receivers.takes[name] = chance.choice([0.001, 0.3, 2])
        indexes = []
        for _ in range(chance.randint(1, 5)):
            task = telling.tell()
            for _ in range(chance.randint(0, 6)):
                indexes.append(await telling.deployed())
                await elapse(chance.choice([0, 0.01, 0.6]))
            await elapse(chance.choice([0, 0.01, 1, 3]))
            task.cancel()
            await telling.elect()
        telling.tell()
        await telling.until(
            lambda: all(set(telling.receivers.of(name)) == set(indexes) for name in ("w1", "w2")), seconds=200
        )
        for name in ("w1", "w2"):
            firsts = list(dict.fromkeys(telling.receivers.of(name)))
            assert firsts == indexes
        await telling.until(lambda: _all_told(telling), seconds=300)

    run(story, told=False)


def _all_told(telling: Telling) -> bool:
    return all(row.state == "delivered" for row in telling.rows._rows.values())
