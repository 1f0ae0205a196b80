"""A rolling upgrade of real processes, from this release to the next one, and what comes too late for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests import servers
from tests.e2e.client import Client, RefusedError
from tests.e2e.cluster import Cluster, Size, cluster
from tests.e2e.parts import Part
from tests.e2e.runtimes import Processes
from tests.e2e.specs import job
from tests.upgrade import tomorrow
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)
SOON = {"HEROCTL_RAISE_LEVEL_AFTER": "3"}
LEASE = 15.0  # seconds


@pytest.fixture
def there() -> Iterator[Cluster]:
    """Two of each, of this release."""
    with cluster(Processes(), Size(2, 2, 1)) as made:
        yield made
        made.delete_all()


def test_one_process_after_the_other(there: Cluster) -> None:
    spec = job(there.runtime, "kept", count=2)
    there.submit(spec)
    there.wait_deployed("kept", 1)
    there.submit(job(there.runtime, "stopped"))
    there.wait_healthy("stopped", 1)
    running = there.wait_running("kept", 2)
    for name in ("reconciler-1", "reconciler-2", "api-1"):
        _upgrade(there, name)
    newer = Client([there.url(1)], there.client.token)
    with pytest.raises(RefusedError) as refused:
        newer.post("/v1/jobs", _late(there))
    assert (refused.value.status, refused.value.code) == (409, "upgrade_incomplete")
    newer.post("/v1/jobs/stopped/stop", {})
    assert _schemas(there) == [1], "an api of this release reads it, too"
    there.wait_running("stopped", 0)
    assert newer.get("/v1/cluster/status").body["level"] == 1
    _upgrade(there, "api-2")
    newer.wait_until("/v1/cluster/status", lambda status: status["level"] == tomorrow.LEVEL, what="the next level")
    newer.post("/v1/jobs", _late(there))
    there.wait_healthy("late", 1)
    newer.post("/v1/jobs/late/stop", {})
    assert _schemas(there) == [1, 2]
    there.wait_running("late", 0)
    assert newer.post("/v1/jobs", spec).body["version"] == 1
    assert set(there.wait_running("kept", 2)) == set(running), "nothing was restarted"
    newer.close()
    _an_old_api_comes_late(there)
    _an_old_reconciler_comes_late(there)


def _an_old_api_comes_late(there: Cluster) -> None:
    """It serves reads, says that it is outdated, and changes nothing."""
    there._api_ports.append(servers.free_port())
    old = there._api(3)
    old.start()
    late = Client([there.url(3)], there.client.token, timeout=3)
    peers = until(lambda: _peers_through(late), timeout=20, what="an answer of the old api")
    assert [peer["role"] for peer in peers if peer["outdated"]] == ["api"]
    assert {each["name"] for each in late.get("/v1/jobs").body} >= {"kept", "late"}
    assert not late.ready()
    for write in ("/v1/jobs/kept/stop", "/v1/cluster/join-tokens"):
        with pytest.raises(AssertionError):  # 503 for as long as it was asked
            late.post(write, {})
    late.close()
    old.stop()


def _peers_through(client: Client) -> list[dict[str, Any]]:
    answer = client._ask(f"GET {client.urls[0]}/v1/cluster/peers", None, {}, {})
    return [] if answer is None or not any(peer["outdated"] for peer in answer.body) else list(answer.body)


def _an_old_reconciler_comes_late(there: Cluster) -> None:
    """It decides nothing, even when there is no other; and it does not hold up the next one."""
    old = there._reconciler(3)
    old.start()
    until(lambda: _said(old, "running"), timeout=20, what="the old reconciler")
    for name in ("reconciler-1", "reconciler-2"):
        there.parts[name].kill9()
    assert old.lives_for(LEASE + 5)
    there.submit(job(there.runtime, "last"))
    assert not _said(old, "coordinating")
    there.parts["reconciler-1"].start()
    there.wait_healthy("last", 1)
    there.parts["reconciler-2"].start()
    old.stop()
    assert there.coordinating_part() == "reconciler-1"


def _upgrade(there: Cluster, name: str) -> None:
    part = there.parts[name]
    part.stop()
    part.module, part.environ = f"tests.upgrade.{name.partition('-')[0]}", {**part.environ, **SOON}
    part.start()
    until(there.client.ready, timeout=30, what=f"{name} of the next release")
    there.coordinating_part()


def _late(there: Cluster) -> dict[str, Any]:
    spec = job(there.runtime, "late")
    spec["tasks"][0]["stop_signal"] = "SIGINT"
    return spec


def _schemas(there: Cluster) -> list[int]:
    """Name the schemas in which stops were written, in order."""
    with psycopg.connect(there.postgres.dsn()) as connection:
        query = "SELECT schema FROM heroctl.events WHERE tag = %s ORDER BY index"
        return [schema for (schema,) in connection.execute(query, [tomorrow.TAG])]


def _said(part: Part, event: str) -> bool:
    lines = [line for line in part.tail(1_000).splitlines() if line.startswith("{")]
    return any(json.loads(line)["event"] == event for line in lines)
