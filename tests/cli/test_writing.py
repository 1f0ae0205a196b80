"""Commands that change something: what they send, what they wait for, what they say."""

from __future__ import annotations

import json

import pytest

from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, refusal


def written(name: str = "web", index: int = 50) -> Reply:
    return Reply(200, {"index": index, "name": name, "namespace": "default", "warnings": []}, index)


@pytest.mark.parametrize(
    ("words", "route", "done"),
    [
        (("job", "stop", "web"), ("POST", "/v1/jobs/web/stop"), "stopped"),
        (("job", "stop", "web", "--purge"), ("DELETE", "/v1/jobs/web"), "deleted"),
        (("job", "delete", "web"), ("DELETE", "/v1/jobs/web"), "deleted"),
    ],
)
def test_stop_and_delete_wait_until_no_replica_is_left(
    heroctl_here: Run, api: FakeApi, words: tuple[str, ...], route: tuple[str, str], done: str
) -> None:
    def stop(_request: object) -> Reply:
        api.page("/v1/allocations", [samples.alloc(status="complete"), samples.alloc(status="lost")], 50)
        return written()

    api.act(*route, stop)
    assert heroctl_here(*words, "-n", "default") == (0, "", f"web is {done}, and none of its replicas is left\n")
    assert api.asked(*route)[0].query == {"namespace": "default"}
    assert api.requests[-1].query["job"] == "web"


def test_stop_gives_up_waiting_with_3(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/jobs/web/stop", written())
    api.page("/v1/allocations", [samples.alloc(status="stopping")], 50)
    result = heroctl_here("job", "stop", "web", "--timeout", "100ms")
    assert (result.code, "1 of its replicas had not ended" in result.err) == (3, True)


def test_detached_stop_returns_at_once(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/jobs/web/stop", written())
    assert heroctl_here("job", "stop", "web", "-d") == (0, "", "web is stopped; its replicas stop\n")
    assert len(api.requests) == 1


def test_the_answer_of_a_write_is_printed_as_json(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/jobs/web/stop", written())
    result = heroctl_here("job", "stop", "web", "-d", "-o", "json")
    assert json.loads(result.out)["index"] == 50
    assert result.err == ""


def test_alloc_stop(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/allocations/a1b2/stop", Reply(200, {"index": 9, "id": "a1b2c3d4e5f6"}, 9))
    assert heroctl_here("alloc", "stop", "a1b2") == (0, "", "allocation a1b2 stops; its slot is filled again\n")


def test_alloc_restart(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/allocations/a1b2/restart", Reply(200, {"index": 9, "id": "a1b2c3d4e5f6"}, 9))
    said = "allocation a1b2 begins anew: heroctl alloc status a1b2\n"
    assert heroctl_here("alloc", "restart", "a1b2") == (0, "", said)


@pytest.mark.parametrize("name", ["SIGHUP", "hup"])
def test_alloc_signal(heroctl_here: Run, api: FakeApi, name: str) -> None:
    api.act("POST", "/v1/allocations/a1b2/signal", Reply(200, {"index": 9, "id": "a1b2c3d4e5f6"}, 9))
    said = "SIGHUP goes to allocation a1b2: heroctl alloc status a1b2\n"
    assert heroctl_here("alloc", "signal", "a1b2", name) == (0, "", said)


@pytest.mark.parametrize(("want", "eligible"), [("on", True), ("off", False)])
def test_node_eligibility(heroctl_here: Run, api: FakeApi, want: str, *, eligible: bool) -> None:
    api.act("POST", "/v1/nodes/n1/eligibility", Reply(200, {"index": 9}, 9))
    assert heroctl_here("node", "eligibility", "n1", want).code == 0
    assert api.requests[0].json() == {"eligible": eligible}


def test_node_remove(heroctl_here: Run, api: FakeApi) -> None:
    api.act("DELETE", "/v1/nodes/n1", Reply(200, {"index": 9}, 9))
    assert heroctl_here("node", "remove", "n1") == (0, "", "node n1 is removed\n")


def test_a_join_token_is_alone_on_stdout(heroctl_here: Run, api: FakeApi) -> None:
    made = {"id": "j1", "token": "hj_secret", "expires_at": "2026-03-01T13:00:00Z", "index": 9}
    api.act("POST", "/v1/cluster/join-tokens", Reply(201, made, 9))
    result = heroctl_here("node", "join-token")
    assert (result.code, result.out) == (0, "hj_secret\n")
    assert f"heroctl agent --api {api.address} --join-token" in result.err
    assert "hj_secret" not in result.err


def test_a_write_is_sent_again_where_the_api_says_when(heroctl_here: Run, api: FakeApi) -> None:
    busy = refusal(503, "log_unavailable", "the log is away", retry_after="0.01")
    api.act("POST", "/v1/jobs/web/stop", busy, busy, written())
    result = heroctl_here("job", "stop", "web", "-d")
    assert (result.code, len(api.requests)) == (0, 3)
    assert "the log is away; trying again in 0 s" in result.err


def test_attempts_of_one_write_carry_one_key_and_each_write_its_own(heroctl_here: Run, api: FakeApi) -> None:
    """The 503 may have come after it was done: without the key a second attempt could be another write."""
    busy = refusal(503, "log_unavailable", "the log is away", retry_after="0.01")
    api.act("POST", "/v1/jobs/web/stop", busy, written(), busy, written())
    for _ in range(2):
        assert heroctl_here("job", "stop", "web", "-d").code == 0
    keys = [request.headers["Idempotency-Key"] for request in api.asked("POST", "/v1/jobs/web/stop")]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert all("Idempotency-Key" not in request.headers for request in api.requests if request.method == "GET")


def test_a_limit_is_waited_out_as_long_as_it_says(heroctl_here: Run, api: FakeApi) -> None:
    limited = refusal(429, "rate_limited", "slow down", retry_after="0.01")
    api.act("POST", "/v1/jobs/web/stop", limited, limited, written())
    result = heroctl_here("job", "stop", "web", "-d")
    assert (result.code, len(api.requests)) == (0, 3)
    assert "slow down; trying again in 0 s" in result.err


def test_patience_has_an_end(heroctl_here: Run, api: FakeApi) -> None:
    api.act("POST", "/v1/jobs/web/stop", refusal(429, "rate_limited", "slow down", retry_after="900"))
    result = heroctl_here("job", "stop", "web", "-d")
    assert (result.code, len(api.requests)) == (1, 1)
    assert "next: try again in 900 s" in result.err
