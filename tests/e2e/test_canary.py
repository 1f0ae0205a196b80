"""A secret's value on a whole cluster, used by a job: it stands in the memory of those who use it, and nowhere else."""

from __future__ import annotations

import psycopg
import pytest

from tests.api import canary
from tests.api.canary import Places, found, marked
from tests.e2e.cluster import Cluster
from tests.e2e.receivers import Receiver, receiver
from tests.e2e.test_files_and_volumes import keeps
from tests.e2e.test_secrets import spec, wait_value
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)


def places(there: Cluster, told: Receiver | None = None) -> Places:
    """Take all that servers, control plane and agents keep and say, their data folders byte for byte, and arguments.

    `told`: and what a webhook was told.
    """
    return {
        **canary.of_deliveries((got.headers, got.body) for got in (told.got if told else ())),
        **canary.of_database(there.postgres.dsn()),
        **canary.of_redis(there.redis.url),
        **canary.of_files(there.folder),
        **canary.of_arguments(),
    }


def test_what_a_job_uses_is_on_no_disk_and_in_no_word_of_anybody(there: Cluster) -> None:
    with receiver() as told:
        hook = there.client.post("/v1/webhooks", {"url": told.url, "events": ["*"]}, keyed=False).body["id"]
        _lives(there, told)
        there.client.delete(f"/v1/webhooks/{hook}")


def _lives(there: Cluster, told: Receiver) -> None:
    values = [marked() for _ in range(2)]
    name, (one, two) = "canary", (value.decode() for value in values)
    keeps(there, name, one)
    there.submit(spec(there, name))
    there.wait_deployed(name, 1)
    workload = wait_value(there, name, one)[0]
    keeps(there, name, two)
    there.wait_deployed(name, 2, timeout=60)
    wait_value(there, name, two)
    there.client.post(f"/v1/secrets/{name}/rollback", {"version": 1})
    there.wait_deployed(name, 3, timeout=60)
    workload = wait_value(there, name, one)[0]
    there.runtime.crash(workload)
    wait_value(there, name, one)
    there.restart(next(part for part in there.parts if part.startswith("agent-")))
    there.wait_quiet()
    wait_value(there, name, one)
    known = places(there, told)
    assert [each for value in values for each in found(value, known)] == []
    assert any(b"secret.canary" in held for held in known.values()), "that it is referred to is no secret"
    there.client.delete(f"/v1/secrets/{name}", force="true")
    there.client.delete(f"/v1/jobs/{name}")
    there.wait_quiet()
    until(lambda: b'"action":"delete"' in told.got[-1].body, what="the last to be told")
    known = places(there, told)
    assert [each for value in values for each in found(value, known)] == []
    assert {"secret.changed", "job.submitted", "job.deployed"} <= set(told.types()), "its name is no secret"


def test_a_leak_into_what_a_webhook_is_told_is_found(there: Cluster) -> None:
    """A value that somebody takes for a name is told, as names are."""
    value = marked()
    with receiver() as told:
        hook = there.client.post("/v1/webhooks", {"url": told.url, "events": ["*"]}, keyed=False).body["id"]
        with psycopg.connect(there.postgres.dsn()) as connection:
            leak = "UPDATE heroctl.deliveries SET body = convert_to(%s, 'UTF8') || body WHERE webhook = %s"
            told.status = lambda _: 500
            there.client.post(f"/v1/webhooks/{hook}/ping", {})
            until(lambda: told.got, what="a first attempt")
            connection.execute(leak, [value.hex(), hook])
            connection.commit()
            until(lambda: len(told.got) > 1, timeout=30, what="another")
        assert [each for each in found(value, places(there, told)) if "delivery" in each] == ["delivery 1: hex"]
        there.client.delete(f"/v1/webhooks/{hook}")


def test_a_leak_into_a_file_of_the_cluster_is_found(there: Cluster) -> None:
    """Where nothing is found, it is because nothing is there."""
    value = marked()
    leak = there.folder / "agent-1" / "leak"
    leak.write_bytes(b"PASSWORD=" + value)
    try:
        assert found(value, places(there)) == [f"file {leak}: plain"]
    finally:
        leak.unlink()
