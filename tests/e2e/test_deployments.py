"""Deployments on real containers: traffic that never notices, four strategies, and four ways to be a bad version."""

from __future__ import annotations

from typing import Any, Final

import pytest

from heroctl.domain import events as e
from heroctl.domain.events import Record
from tests.e2e import history
from tests.e2e.balancer import Balancer
from tests.e2e.client import Client
from tests.e2e.cluster import Cluster
from tests.e2e.runtimes import Workload
from tests.e2e.specs import PATIENT, job
from tests.needs import needs

pytestmark = [pytest.mark.timeout(240), needs("docker"), pytest.mark.parametrize("runtime", ["docker"], indirect=True)]
COUNT: Final = 4
UPDATE: Final = {"min_healthy_time": "1s", "healthy_deadline": "20s", "progress_deadline": "1m", "max_parallel": 2}
_SERVE: Final = {
    "docker": "echo {0} > /tmp/index.html; exec httpd -f -p 8080 -h /tmp",
    "process": "cd $(mktemp -d); echo {0} > index.html; exec python3 -m http.server $HEROCTL_PORT_HTTP",
}


def served(there: Cluster, name: str, release: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a task
    """Make a job whose replicas answer with the name of their release."""
    known = {
        "count": COUNT,
        "script": _SERVE[there.runtime.name].format(release),
        "resources": {"cpu": 0.2, "memory": "32MB", "disk": "1MB"},  # with less an interpreter begins for seconds
        "ports": {"http": 8080},
        "health": {"http": "/", "interval": "300ms", "timeout": "2s", "retries": 3, "start_period": "10s"},
        "update": UPDATE,
        "shutdown_delay": "2s",
        "restart": {"attempts": 0},
    }
    return job(there.runtime, name, release=release, **{**known, **fields})


def traffic(there: Cluster, name: str) -> Balancer:
    """Call a job from now on."""
    return Balancer(Client(there.client.urls, there.client.token), name)


def started(there: Cluster, name: str, **fields: Any) -> list[Workload]:  # noqa: ANN401 - fields of a task
    """Have the first release deployed; return its containers."""
    there.submit(served(there, name, "one", **fields))
    there.wait_deployed(name, 1, timeout=60)
    return there.wait_running(name, COUNT)


def written(there: Cluster, name: str, *kinds: type[e.Event]) -> list[Any]:
    """Return the events of a job of some kinds, in order."""
    records: list[Record] = history.records(there.postgres.dsn())
    return [each.event for each in records if isinstance(each.event, kinds) and getattr(each.event, "name", "") == name]


def deployment(there: Cluster, name: str) -> dict[str, Any]:
    """Show the newest deployment of a job."""
    return dict(there.client.get("/v1/deployments", job=name).body[0])


def wait_status(there: Cluster, name: str, status: str, *, timeout: float = 60) -> dict[str, Any]:
    """Wait until the newest deployment of a job has a status."""
    found = there.client.wait_until(
        "/v1/deployments", lambda body: body[0]["status"] == status, job=name, timeout=timeout, what=f"{status}: {name}"
    )
    return dict(found[0])


def contents(there: Cluster, name: str) -> list[str]:
    """Say which release each container of a job was made from."""
    releases = {}
    for version in there.client.get(f"/v1/jobs/{name}/versions").body:
        releases[version["version"]] = version["spec"]["tasks"][0]["env"]["RELEASE"]
    return sorted(releases[found.version] for found in there.running(name))


def test_a_rolling_update_loses_no_request(there: Cluster) -> None:
    started(there, "shop")
    with traffic(there, "shop") as calls:
        there.submit(served(there, "shop", "two"))
        there.wait_deployed("shop", 2, timeout=90)
        there.wait_healthy("shop", COUNT, version=2)
        calls.enough("two")
    assert calls.failures == []
    assert set(calls.answers) == {"one", "two"}


BAD: Final[dict[str, dict[str, Any]]] = {
    "crashes at once": {"script": "exit 3"},
    "crashes after eight seconds": {
        "script": "echo two > /tmp/index.html; httpd -p 8080 -h /tmp; sleep 8; exit 3",
        "update": {**UPDATE, "min_healthy_time": "12s", "healthy_deadline": "40s"},
    },
    "is never healthy": {"script": PATIENT, "update": {**UPDATE, "healthy_deadline": "6s"}},
    "has no image": {"image": "heroctl-test/nowhere:9"},
}


@pytest.mark.parametrize("how", sorted(BAD))
def test_a_bad_version_is_followed_by_the_way_back(there: Cluster, how: str) -> None:
    name = "bad-" + how.replace(" ", "-")
    before = started(there, name)
    ports = {alloc["ports"]["http"]["host"] for alloc in there.wait_healthy(name, COUNT)}
    first = there.client.get(f"/v1/jobs/{name}").body["spec"]
    index = there.wait_quiet(still=1)
    with traffic(there, name) as calls:
        there.submit(served(there, name, "two", **BAD[how]))
        shown = there.client.wait_until(
            f"/v1/jobs/{name}",
            lambda body: body["version"] == 3 and body["deployment"]["status"] == "successful",
            timeout=90,
            what="the way back",
        )
    assert [failure for failure in calls.failures if failure[0] in {0, *ports}] == [], "the old version serves always"
    assert shown["spec"] == first
    assert there.fewest_healthy(name, index) >= COUNT
    assert there.wait_running(name, COUNT) == before, "nothing of the old version was touched"
    [failed] = written(there, name, e.JobFailed)
    assert (failed.version, failed.reverted_to) == (2, 1)
    assert [each.version for each in written(there, name, e.JobDeployed)] == [1]
    statuses = [each["status"] for each in there.client.get("/v1/deployments", job=name).body]
    assert statuses == ["successful", "reverted", "successful"]
    there.wait_quiet(still=1)


def test_a_canary_waits_for_its_promotion(there: Cluster) -> None:
    before = started(there, "canary")
    canary = {"strategy": "canary", "canary": {"count": 1, "steps": [10, 50]}}
    with traffic(there, "canary") as calls:
        there.submit(served(there, "canary", "two", update={**UPDATE, **canary}))
        shown = wait_status(there, "canary", "awaiting_promotion")
        assert contents(there, "canary") == ["one"] * COUNT + ["two"]
        assert set(before) < set(there.running("canary"))
        assert [each["canaries"] for each in shown["tasks"].values()] == [1]
        there.client.post(f"/v1/deployments/{shown['id']}/promote", {})
        there.wait_deployed("canary", 2, timeout=90)
        there.wait_healthy("canary", COUNT, version=2)
    assert calls.failures == []
    assert contents(there, "canary") == ["two"] * COUNT


def test_a_canary_that_is_failed_goes_and_leaves_the_rest(there: Cluster) -> None:
    before = started(there, "failed")
    there.submit(served(there, "failed", "two", update={**UPDATE, "strategy": "canary"}))
    shown = wait_status(there, "failed", "awaiting_promotion")
    there.client.post(f"/v1/deployments/{shown['id']}/fail", {"reason": "too slow"})
    wait_status(there, "failed", "successful")
    assert there.wait_running("failed", COUNT) == before
    [failed] = written(there, "failed", e.JobFailed)
    assert "too slow" in failed.reason
    assert failed.reverted_to == 1


def test_blue_green_stands_beside_and_goes_back_at_once(there: Cluster) -> None:
    before = started(there, "colours")
    blue_green = {"strategy": "blue-green", "blue_green": {"keep_old": "1m"}}
    there.submit(served(there, "colours", "two", update={**UPDATE, **blue_green}))
    shown = wait_status(there, "colours", "awaiting_promotion")
    assert contents(there, "colours") == ["one"] * COUNT + ["two"] * COUNT
    there.client.post(f"/v1/deployments/{shown['id']}/promote", {})
    there.wait_deployed("colours", 2)
    assert len(there.running("colours")) == 2 * COUNT, "the old set is kept for a while"
    answer = there.client.post("/v1/jobs/colours/rollback", {})
    assert answer.body["version"] == 3
    there.wait_deployed("colours", 3, timeout=30)
    assert set(before) <= set(there.running("colours"))
    there.wait_running("colours", COUNT, timeout=60)
    assert there.running("colours") == before


def test_blue_green_ends_the_old_set_when_its_time_is_up(there: Cluster) -> None:
    started(there, "short")
    blue_green = {"strategy": "blue-green", "blue_green": {"keep_old": "3s", "auto_promote": True}}
    with traffic(there, "short") as calls:
        there.submit(served(there, "short", "two", update={**UPDATE, **blue_green}))
        there.wait_deployed("short", 2, timeout=60)
        there.wait_healthy("short", COUNT, version=2, timeout=60)
        there.wait_running("short", COUNT, timeout=30)
    assert calls.failures == []


def test_rainbow_keeps_versions_side_by_side(there: Cluster) -> None:
    rainbow = {**UPDATE, "strategy": "rainbow", "rainbow": {"keep": 1}}
    small = {"count": 2, "update": rainbow}
    for number, release in enumerate(("one", "two", "three"), 1):
        there.submit(served(there, "rainbow", release, **small))
        there.wait_deployed("rainbow", number, timeout=60)
    there.wait_running("rainbow", 4, timeout=60)
    assert contents(there, "rainbow") == ["three"] * 2 + ["two"] * 2


def test_a_restart_rolls_and_makes_no_version(there: Cluster) -> None:
    before = started(there, "again")
    index = there.wait_quiet(still=1)
    with traffic(there, "again") as calls:
        there.client.post("/v1/jobs/again/restart", {})
        there.client.wait_until("/v1/deployments", lambda body: len(body) == 2, job="again")
        wait_status(there, "again", "successful", timeout=90)
    assert calls.failures == []
    after = there.wait_running("again", COUNT)
    assert {found.id for found in after}.isdisjoint({found.id for found in before})
    assert {found.version for found in after} == {1}
    assert there.fewest_healthy("again", index) >= COUNT
    assert len(there.client.get("/v1/jobs/again/versions").body) == 1


def test_a_pause_holds_everything_and_a_resume_goes_on(there: Cluster) -> None:
    started(there, "paused")
    there.submit(served(there, "paused", "two", update={**UPDATE, "max_parallel": 1}))
    shown = deployment(there, "paused")
    there.client.post(f"/v1/deployments/{shown['id']}/pause", {})
    there.wait_quiet(still=2, within=40)
    assert "one" in contents(there, "paused")
    assert deployment(there, "paused")["status"] == "paused"
    there.client.post(f"/v1/deployments/{shown['id']}/resume", {})
    there.wait_deployed("paused", 2, timeout=90)
    there.wait_healthy("paused", COUNT, version=2)
