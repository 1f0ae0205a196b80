"""Webhooks on a whole control plane: what happens is told, verifies, and survives whoever tells it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest
from standardwebhooks import Webhook as Standard

from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.receivers import Got, receiver
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)
SECRET: Final = "whk_a1b2c3"


@pytest.fixture(scope="module")
def control() -> Iterator[Cluster]:
    """An api and a reconciler, and no node."""
    with cluster(Processes(), Size(1, 1, 0)) as made:
        yield made


def hook(there: Cluster, url: str, *events: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a body
    body = {"url": url, "events": list(events) or ["*"], **more}
    return dict(there.client.post("/v1/webhooks", body, keyed=False).body)


def change(there: Cluster, value: object, name: str = "db") -> int:
    """Let something happen that webhooks are told; return its index."""
    return int(there.client.post("/v1/secrets", {"name": name, "value": str(value)}).body["index"])


def deliveries(there: Cluster, identity: str) -> list[dict[str, Any]]:
    return list(there.client.get(f"/v1/webhooks/{identity}/deliveries").body)


def delivered(there: Cluster, identity: str) -> bool:
    return all(each["state"] == "delivered" for each in deliveries(there, identity))


def verified(got: Got, secret: str) -> bool:
    word = secret if secret.startswith("whsec_") else base64.b64encode(secret.encode()).decode()
    Standard(word).verify(got.body, got.headers)
    expected = hmac.new(secret.encode(), got.body, hashlib.sha256).hexdigest()
    named = [got.headers.get(f"x-heroctl-signature{end}", "") for end in ("", "-previous")]
    return any(hmac.compare_digest(expected, each) for each in named)


def test_what_happens_is_told_and_verifies(control: Cluster) -> None:
    with receiver() as one, receiver() as all_:
        given = hook(control, one.url, "secret.changed", secret=SECRET)
        made = hook(control, all_.url)
        index = change(control, "first")
        control.submit(job(control.runtime, "told"))
        until(lambda: len(all_.got) == 2 and one.got, what="three deliveries")
        assert one.types() == ["secret.changed"]
        assert all_.types() == ["secret.changed", "job.submitted"]
        said = one.got[0].said
        assert said["id"] == one.got[0].headers["webhook-id"] == all_.got[0].said["id"]
        assert (said["index"], said["namespace"]) == (index, "default")
        assert said["data"] == {"name": "db", "version": 1, "action": "create"}
        assert all(verified(got, SECRET) for got in one.got)
        assert all(verified(got, made["secret"]) for got in all_.got)

        rotated = control.client.post(f"/v1/webhooks/{given['id']}/rotate", {}, keyed=False).body["secret"]
        pinged = control.client.post(f"/v1/webhooks/{given['id']}/ping", {}).body["first"]
        until(lambda: len(one.got) == 2, what="a ping")
        assert one.got[1].said["type"] == "ping"
        assert verified(one.got[1], SECRET)
        assert verified(one.got[1], rotated)

        until(lambda: delivered(control, given["id"]), what="both to be noted")
        assert [each["number"] for each in deliveries(control, given["id"])] == [pinged, index]
        control.client.post(f"/v1/webhooks/{given['id']}/deliveries/{index}/redeliver", {})
        until(lambda: len(one.got) == 3, what="the first once more")
        assert (one.got[2].said, one.got[2].headers["x-heroctl-attempt"]) == (said, "2")
        for each in (given, made):
            control.client.delete(f"/v1/webhooks/{each['id']}")


def test_what_fails_is_noted_and_410_switches_it_off(control: Cluster) -> None:
    with receiver() as bad, receiver() as gone:
        bad.status = lambda _: 500
        gone.status = lambda _: 410
        failing, over = hook(control, bad.url), hook(control, gone.url)
        index = change(control, "second")
        until(lambda: bad.got and gone.got, what="both to be told")

        def noted() -> bool:
            [row] = deliveries(control, failing["id"])
            return (row["state"], row["status"], row["attempts"]) == ("pending", 500, 1)

        until(noted, what="the failure to be noted")
        [row] = deliveries(control, failing["id"])
        assert (row["number"], row["error"]) == (index, "the receiver answered 500")
        assert row["next_at"] is not None
        path = f"/v1/webhooks/{over['id']}"
        off = control.client.wait_until(path, lambda body: body["state"] == "disabled", what="its end")
        assert off["reason"] == "receiver_gone"
        for each in (failing, over):
            control.client.delete(f"/v1/webhooks/{each['id']}")


def test_the_coordinator_is_killed_in_the_middle_and_nothing_is_lost(control: Cluster) -> None:
    """At least once, under the same id, first attempts in order; and who hangs delays nobody."""
    with receiver() as quick, receiver(hangs=True) as hanging:
        there, other = hook(control, quick.url), hook(control, hanging.url)
        indexes: list[int] = []
        for number in range(3):
            begun = len(quick.got)
            indexes += [change(control, f"{number}-{each}", "often") for each in range(8)]
            until(lambda: len(quick.got) > begun, what="the first of them")  # noqa: B023 - called at once
            control.parts["reconciler-1"].kill9()
            indexes += [change(control, f"{number}-{each}", "often") for each in range(8, 12)]
            with psycopg.connect(control.postgres.dsn(), autocommit=True) as connection:
                connection.execute("UPDATE heroctl.lease SET expires = 'epoch'")  # as fifteen seconds would
            control.parts["reconciler-1"].start()
        until(lambda: set(quick.firsts()) == set(indexes), timeout=60, what="all of it to be told")
        assert quick.firsts() == indexes
        ids = {(each.said["index"], each.said["id"], each.headers["webhook-id"]) for each in quick.got}
        assert len(ids) == len(indexes), "the same id, each time"
        until(lambda: delivered(control, there["id"]), timeout=30, what="all of it to be noted")
        assert set(hanging.firsts()) == {indexes[0]}, "it is still at the first"
        for each in (there, other):
            control.client.delete(f"/v1/webhooks/{each['id']}")
