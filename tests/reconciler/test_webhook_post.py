"""One attempt, over real sockets: what is sent verifies, and what a receiver does to us costs seconds and no more."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Final

import pytest
from standardwebhooks import Webhook as Standard
from standardwebhooks import WebhookVerificationError

from api.webhook_writes import new_secret
from eventstore.deliveries import Delivery
from eventstore.log import LogUnavailable
from eventstore.master import Master, given
from eventstore.vault import MemoryVault
from heroctl.domain.addresses import networks
from heroctl.domain.records import Webhook
from heroctl.outside import Outside, Unanswered
from reconciler.webhook_post import Post, Reply
from tests.reconciler import receivers
from tests.reconciler.receivers import Got, Write, receiver, says

BODY: Final = '{"id":"evt_a_7","type":"job.deployed","data":{"job":"wéb"}}'.encode()
KEYS: Final = given("", ("pXq2uT7m0o9e3xYl5cV1bN8aS4dF6gH0jKzRwQiErTo=",))
DELIVERY: Final = Delivery("w1", 7, "evt_a_7", "job.deployed", b"{}", BODY, 1, "pending", 2, 2, 1)
LOOPBACK: Final = networks(["127.0.0.0/8"])


class Sender:
    """Posts to one webhook, whose secrets it can turn."""

    def __init__(self, outside: Outside | None = None) -> None:
        self.vault = MemoryVault()
        self.master = Master(self.vault, KEYS)
        self.post = Post(outside or Outside(LOOPBACK, patience=15, linger=0.3), self.master, "1.2.3")
        self.rows: list[str] = []

    async def keep(self, secret: str) -> None:
        """Let another secret be the present one; the one before signs, too."""
        await self.master.begin()
        self.rows.insert(0, await self.master.seal("default", "webhook/w1", 1, secret.encode()))

    async def send(self, url: str) -> Reply:
        """Make one attempt."""
        old = self.rows[1] if len(self.rows) > 1 else ""
        now = int(time.time() * 1000)
        hook = Webhook(
            id="w1", namespace="default", url=url, events=("*",), row=self.rows[0], user="admin", token="",
            description="", enabled=True, since=1, created_at=1, create_index=1, modify_index=1,
            old_row=old, old_until=now + 60_000 if old else 0,
        )  # fmt: skip
        return await self.post.send(hook, DELIVERY, now)


def by_hand(got: Got, secret: str) -> bool:
    """Verify a delivery as ten lines of hmac do."""
    expected = hmac.new(secret.encode(), got.body, hashlib.sha256).hexdigest()
    names = ("x-heroctl-signature", "x-heroctl-signature-previous")
    return any(hmac.compare_digest(expected, got.headers.get(name, "")) for name in names)


def by_library(got: Got, secret: str) -> bool:
    """Verify a delivery with the stock library."""
    word = secret if secret.startswith("whsec_") else base64.b64encode(secret.encode()).decode()
    try:
        return bool(Standard(word).verify(got.body, got.headers) == json.loads(BODY))
    except WebhookVerificationError:
        return False


@pytest.mark.parametrize("secret", ["whk_a1b2c3", new_secret(), "whsec_not+base64"], ids=["seed", "made", "odd"])
async def test_what_is_sent_verifies_by_library_and_by_hand(secret: str) -> None:
    sender = Sender()
    await sender.keep(secret)
    async with receiver(says(204)) as taken:
        assert await sender.send(taken.url) == Reply(204)
    [got] = taken.got
    assert got.line == "POST /hook HTTP/1.1"
    assert got.body == BODY
    assert by_hand(got, secret)
    assert by_library(got, secret) or secret == "whsec_not+base64"
    assert not by_hand(got, "whk_other")
    assert not by_library(got, "whk_other")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == "HeroCtl/1.2.3"
    assert (got.headers["x-heroctl-event"], got.headers["x-heroctl-attempt"]) == ("job.deployed", "3")
    assert got.headers["host"] == f"127.0.0.1:{taken.port}"


async def test_both_secrets_verify_while_one_rotates() -> None:
    sender = Sender()
    await sender.keep("whk_before")
    after = new_secret()
    await sender.keep(after)
    async with receiver(says(200)) as taken:
        await sender.send(taken.url)
        sender.rows.pop()
        await sender.send(taken.url)
    both, one = taken.got
    for secret in ("whk_before", after):
        assert by_hand(both, secret)
        assert by_library(both, secret)
    assert (by_hand(one, "whk_before"), by_library(one, "whk_before")) == (False, False)
    assert "x-heroctl-signature-previous" not in one.headers


@pytest.mark.parametrize(
    ("write", "reply"),
    [
        (says(500, b"oh no"), Reply(500, "the receiver answered 500", b"oh no")),
        (says(410), Reply(410, "the receiver answered 410")),
        (says(429, b"", "Retry-After: 120"), Reply(429, "the receiver answered 429", b"", 120)),
        (says(200, b"x" * 5000), Reply(200, "", b"x" * 1024)),
        (receivers.endless, Reply(200, "", b"x" * 1024)),
        (receivers.closes_in_body, Reply(200, "", b"half")),
    ],
    ids=["500", "410", "429", "long", "endless", "closes in its body"],
)
async def test_an_answer_is_its_status_and_the_first_of_its_body(write: Write, reply: Reply) -> None:
    sender = Sender()
    await sender.keep("whk_a1b2c3")
    async with receiver(write) as taken:
        assert await sender.send(taken.url) == reply


async def test_a_body_that_drips_is_not_waited_for() -> None:
    sender = Sender()
    await sender.keep("whk_a1b2c3")
    async with receiver(receivers.drips_body) as taken, asyncio.timeout(10):
        reply = await sender.send(taken.url)
    assert reply.status == 200
    assert set(reply.answer) <= {ord("a")}


@pytest.mark.parametrize("write", [receivers.hangs, receivers.drips], ids=["hangs", "drips"])
async def test_who_does_not_answer_in_time_did_not_answer(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.webhook_post.TIMEOUT", 0.5)
    sender = Sender()
    await sender.keep("whk_a1b2c3")
    async with receiver(write) as taken:
        reply = await sender.send(taken.url)
    assert reply == Reply(error="no answer within 0.5 seconds")


@pytest.mark.parametrize("write", [receivers.closes, receivers.talks_nonsense], ids=["closes", "talks nonsense"])
async def test_half_an_answer_is_none(write: Write) -> None:
    sender = Sender()
    await sender.keep("whk_a1b2c3")
    async with receiver(write) as taken:
        reply = await sender.send(taken.url)
    assert reply.status == 0
    assert reply.error.startswith("the receiver does not answer: ")


async def test_nobody_listening_and_no_such_name_are_told() -> None:
    async def nobody(host: str, _: int) -> list[str]:
        raise Unanswered("has no address")

    sender = Sender(Outside(LOOPBACK, nobody))
    await sender.keep("whk_a1b2c3")
    async with receiver(says(200)) as taken:
        url = taken.url
    assert (await sender.send(url)).error.startswith("the receiver does not answer: ")
    assert await sender.send("https://nowhere.example/") == Reply(error="the receiver has no address")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_nowhere(status: int) -> None:
    sender = Sender()
    await sender.keep("whk_a1b2c3")
    async with receiver(says(200)) as target, receiver(says(status, b"", f"Location: {target.url}")) as taken:
        assert (await sender.send(taken.url)).status == status
    assert (taken.accepts, target.accepts) == (1, 0)


async def test_a_secret_that_cannot_be_opened_is_told_and_tried_again() -> None:
    sender = Sender()
    await sender.keep("whk_a1b2c3")
    async with receiver(says(200)) as taken:
        sender.post = Post(Outside(LOOPBACK), Master(sender.vault, given("", ())), "1.2.3")
        reply = await sender.send(taken.url)
        assert reply.error.startswith("its secret cannot be opened: this process lacks master key")
        await sender.vault.delete(sender.rows)
        with pytest.raises(LogUnavailable):
            await sender.send(taken.url)
    assert taken.accepts == 0
