"""`heroctl doctor`: what it looks at, what it makes of it, and what it says to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from heroctl.cli import doctor, processes
from heroctl.cli.doctor import Peer
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, refusal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSION = processes.version()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of a server, and no Docker."""
    for name in ("HEROCTL_DSN", "HEROCTL_CONFIG", "HEROCTL_REDIS_URL", "DOCKER_HOST", "HEROCTL_DOCKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "_DOCKER", "/none")


@pytest.fixture
def cluster(api: FakeApi) -> FakeApi:
    """A cluster that is well."""
    for page in ("live", "ready"):
        api.page(f"/v1/health/{page}", {"status": "ok"})
    checks = [{"name": name, "ok": True, "message": ""} for name in ("log", "coordinator", "redis")]
    status = {"health": "ok", "coordinator": "rec-1", "epoch": 3, "version": VERSION, "checks": checks}
    api.page("/v1/cluster/status", status)
    peers = [{"id": "api-1", "role": "api", "version": VERSION}, {"id": "rec-1", "version": VERSION}]
    api.page("/v1/cluster/peers", peers)
    return api


def found(heroctl: Run, *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run it, and give what was found by name."""
    result = heroctl("doctor", "-o", "json", *words)
    return result.code, {each["name"]: each for each in json.loads(result.out)}


def test_a_cluster_that_is_well(cluster: FakeApi, heroctl_here: Run) -> None:
    code, checks = found(heroctl_here)
    assert (code, {each["state"] for each in checks.values()}) == (0, {"ok", "skip"})
    assert {"address", "tls", "clock", "api", "login", "version", "releases", "coordinator", "redis"} <= checks.keys()
    assert all(request.method == "GET" for request in cluster.requests)


def test_it_is_shown_as_lines_with_what_to_mend(cluster: FakeApi, heroctl_here: Run) -> None:
    checks = [{"name": "coordinator", "ok": False, "message": "no reconciler coordinates"}]
    cluster.page("/v1/cluster/status", {"version": VERSION, "checks": checks})
    result = heroctl_here("doctor")
    assert result.code == 2
    assert result.out.startswith("CHECK\tSTATE\tFOUND\tMEND\naddress\tok\t")
    line = "coordinator\tfail\tno reconciler coordinates\tstart a reconciler: heroctl serve reconciler\n"
    assert line in result.out
    assert "1 failed" in result.err
    assert heroctl_here("doctor", "-o", "name").out == "coordinator\n"


def test_an_api_that_is_not_there(heroctl: Run) -> None:
    code, checks = found(heroctl, "--address", "http://127.0.0.1:1")
    assert (code, checks["address"]["state"]) == (2, "fail")
    assert "start a cluster" in checks["address"]["mend"]


def test_an_api_that_is_not_ready_is_not_waited_for(cluster: FakeApi, heroctl_here: Run) -> None:
    cluster.answer("/v1/health/ready", refusal(503, "starting", "this process has not read the log yet"))
    code, checks = found(heroctl_here)
    assert (code, checks["api"]["state"]) == (2, "fail")
    assert len(cluster.asked("GET", "/v1/health/ready")) == 1


def test_without_a_token_the_rest_is_still_looked_at(
    cluster: FakeApi, heroctl_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEROCTL_TOKEN")
    code, checks = found(heroctl_here)
    assert (code, checks["login"]["state"], checks["api"]["state"]) == (0, "warn", "ok")


def test_a_token_that_is_no_good(cluster: FakeApi, heroctl_here: Run) -> None:
    cluster.answer("/v1/cluster/status", refusal(401, "token_invalid", "send a valid token"))
    code, checks = found(heroctl_here)
    assert (code, checks["login"]["state"]) == (2, "fail")


def test_a_clock_that_is_wrong() -> None:
    late = doctor.clock(format_datetime(NOW, usegmt=True), NOW - timedelta(seconds=90))
    assert (late.state, late.message) == ("warn", "this machine is 90 s behind the API")
    assert doctor.clock(format_datetime(NOW, usegmt=True), NOW + timedelta(seconds=4)).state == "ok"
    assert doctor.clock(format_datetime(NOW, usegmt=True), NOW + timedelta(seconds=60)).state == "warn"
    for word in ("", "yesterday"):
        assert doctor.clock(word, NOW).state == "skip"


def test_clocks_of_the_cluster_that_are_wrong(cluster: FakeApi, heroctl_here: Run) -> None:
    checks = [{"name": "clocks", "ok": False, "message": "by the database's clock: node db-1 is 9 s behind"}]
    cluster.page("/v1/cluster/status", {"version": VERSION, "checks": checks})
    code, shown = found(heroctl_here)
    assert (code, shown["clocks"]["state"]) == (0, "warn")
    assert "node db-1 is 9 s behind" in shown["clocks"]["message"]
    assert "NTP" in shown["clocks"]["mend"]


def test_certificates_are_told_before_they_end() -> None:
    day = 86_400.0
    assert doctor.certificate(30 * day, 0).state == "ok"
    assert doctor.certificate(13 * day, 0).state == "warn"


@pytest.mark.parametrize(
    ("own", "api", "peers", "expected"),
    [
        ("1", "1", [Peer("a", version="1")], ["ok", "ok"]),
        ("1", "2", [Peer("a", version="2")], ["warn", "ok"]),
        ("2", "2", [Peer("a", version="1"), Peer("b", version="2")], ["ok", "warn"]),
        ("2", "2", [Peer("a", version="1", outdated=True), Peer("b", version="2")], ["ok", "fail"]),
    ],
)
def test_releases_that_differ(own: str, api: str, peers: list[Peer], expected: list[str]) -> None:
    assert [each.state for each in doctor.versions(own, api, peers)] == expected


def test_processes_that_lag_or_are_silent() -> None:
    states = [(each.name, each.state) for each in doctor.lagging([Peer("a", lag=5_000), Peer("b", last_seen_s=12)])]
    assert states == [("lag", "warn"), ("silence", "warn")]
    assert list(doctor.lagging([Peer("a", lag=3)])) == []


def test_on_a_server_its_own_settings_are_looked_at(heroctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEROCTL_DSN", "postgresql://127.0.0.1:1/x")
    code, checks = found(heroctl)
    assert code == 2
    states = {name: checks[name]["state"] for name in ("address", "postgres", "redis_server")}
    assert states == {"address": "skip", "postgres": "fail", "redis_server": "skip"}


def test_settings_that_cannot_be_used_are_told(heroctl: Run) -> None:
    code, checks = found(heroctl, "--config", "/none/heroctl.toml")
    assert (code, checks["settings"]["state"]) == (2, "fail")
    assert "No such file" in checks["settings"]["message"]
