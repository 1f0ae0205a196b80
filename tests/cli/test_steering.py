"""What begins a deployment and what is decided about one: rollback, scale, restart; promote, pause, resume, fail."""

from __future__ import annotations

import json

import pytest

from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request, refusal

HERE = "/v1/deployments/d0000001"
CANARY: samples.Json = {"strategy": "canary", "weights": [10, 50, 100], "step": 1, "steps": 3, "promoted": False}


@pytest.fixture
def there(api: FakeApi) -> FakeApi:
    """An API in which whatever is begun has gone well already."""
    api.page("/v1/jobs/web", samples.job(version=2), 50)
    api.page("/v1/allocations", [samples.alloc(version=2)], 50)
    api.page(HERE, samples.deployment("successful", version=2), 50)
    for verb in ("rollback", "scale", "restart"):
        api.act("POST", f"/v1/jobs/web/{verb}", Reply(200, samples.submitted(2), 42))
    for verb in ("promote", "pause", "resume", "fail"):
        api.act("POST", f"{HERE}/{verb}", Reply(200, {"index": 43, "id": "d0000001"}, 43))
    return api


@pytest.mark.parametrize(
    ("words", "verb", "body", "said"),
    [
        (("rollback", "web"), "rollback", {}, "web version 2 repeats the last good one; waiting"),
        (("rollback", "web", "1"), "rollback", {"version": 1}, "web version 2 repeats version 1; waiting"),
        (("scale", "web", "3"), "scale", {"count": 3}, "web version 2 has a count of 3; waiting"),
        (("scale", "web", "0", "--task", "a"), "scale", {"count": 0, "task": "a"}, "web version 2 has 0 of a; waiting"),
        (("restart", "web"), "restart", None, "web version 2 restarts, replica by replica; waiting"),
    ],
)
def test_what_begins_a_deployment_waits_and_shows_it_as_run_does(
    heroctl_here: Run, there: FakeApi, words: tuple[str, ...], verb: str, *, body: object, said: str
) -> None:
    result = heroctl_here("job", *words, "--check-index", "17")
    assert result.code == 0
    assert result.err.startswith(said)
    assert "deployment d0000001  successful" in result.err
    assert result.out.startswith("web version 2 is healthy: 2/2 replicas (")
    [request] = there.asked("POST", f"/v1/jobs/web/{verb}")
    assert (request.json() if request.body else None, request.query) == (body, {"check_index": "17"})


@pytest.mark.parametrize("words", [("rollback", "web"), ("scale", "web", "3"), ("restart", "web")])
def test_detached_it_returns_at_once(heroctl_here: Run, there: FakeApi, words: tuple[str, ...]) -> None:
    result = heroctl_here("job", *words, "--detach")
    assert result == (0, "web version 2, deployment d0000001, index 42\n", "")
    assert len(there.requests) == 1
    assert json.loads(heroctl_here("job", *words, "-d", "-o", "json").out) == samples.submitted(2)


def test_fewer_than_none_is_refused_here(heroctl_here: Run, there: FakeApi) -> None:
    result = heroctl_here("job", "scale", "web", "-1")
    assert (result.code, there.requests) == (1, [])
    assert "next: to have none: heroctl job scale web 0" in result.err


@pytest.mark.parametrize(
    ("code", "next_"),
    [
        ("no_stable_version", "choose one: heroctl job history JOB, then heroctl job rollback JOB VERSION"),
        ("job_stopped", "start it again: heroctl job run FILE"),
        ("index_conflict", "somebody was faster: heroctl job plan FILE, then decide again"),
    ],
)
def test_a_refusal_names_the_next_command(heroctl_here: Run, api: FakeApi, code: str, next_: str) -> None:
    api.act("POST", "/v1/jobs/web/rollback", refusal(409, code, "no"))
    result = heroctl_here("job", "rollback", "web")
    assert (result.code, result.out, f"next: {next_}\n" in result.err) == (1, "", True)


@pytest.mark.parametrize(("words", "step"), [((), False), (("--step",), True)])
def test_promote_waits_for_what_becomes_of_it(
    heroctl_here: Run, there: FakeApi, words: tuple[str, ...], *, step: bool
) -> None:
    result = heroctl_here("deployment", "promote", "d0000001", *words)
    assert (result.code, result.out.startswith("web version 2 is healthy")) == (0, True)
    assert there.asked("POST", f"{HERE}/promote")[0].json() == {"step": step}


def test_promoted_by_a_step_it_ends_where_the_next_one_waits(heroctl_here: Run, there: FakeApi) -> None:
    def promote(_request: Request) -> Reply:
        there.page(HERE, samples.deployment("awaiting_promotion", **{**CANARY, "step": 2}), 60)
        return Reply(200, {"index": 60, "id": "d0000001"}, 60)

    there.act("POST", f"{HERE}/promote", promote)
    result = heroctl_here("deployment", "promote", "d0000001", "--step")
    assert result.code == 0
    assert "waits for you to promote it: its canaries are healthy and have 50 % of the traffic" in result.out
    assert "canary, step 2 of 3: 50 % of the traffic" in result.err
    assert "next: heroctl deployment promote d0000001 --step   # as far as its next share of the traffic, 100 %" in (
        result.err
    )


def test_pause_resume_and_fail(heroctl_here: Run, there: FakeApi) -> None:
    result = heroctl_here("deployment", "pause", "d0000001")
    assert result == (0, "", "deployment d0000001 stands still; go on with: heroctl deployment resume d0000001\n")
    assert heroctl_here("deployment", "resume", "d0000001").out.startswith("web version 2 is healthy")
    result = heroctl_here("deployment", "fail", "d0000001", "--reason", "too slow")
    assert (result.code, "heroctl deployment status d0000001 --watch" in result.err) == (0, True)
    assert there.asked("POST", f"{HERE}/fail")[0].json() == {"reason": "too slow"}
    assert json.loads(heroctl_here("deployment", "fail", "d0000001", "-o", "json").out)["index"] == 43


def test_the_page_of_a_deployment_says_what_may_be_decided(heroctl_here: Run, api: FakeApi) -> None:
    shares = [{"version": 2, "weight": 10, "header_value": None}, {"version": 1, "weight": 90, "header_value": None}]
    api.page(HERE, samples.deployment("awaiting_promotion", **CANARY, traffic={"web": shares}))
    out = heroctl_here("deployment", "status", "d0000001").out
    assert "Step\t1/3, 10 %\n" in out
    assert "Next\theroctl deployment promote d0000001   # take it all the way\n" in out
    assert "Next\theroctl deployment fail d0000001   # take it back\n" in out
    assert "TASK\tVERSION\tTRAFFIC\tHEADER\nweb\t2\t10 %\t\nweb\t1\t90 %\t\n" in out
    api.page(HERE, samples.deployment("paused"), 2)
    assert (
        "Next\theroctl deployment resume d0000001   # go on\n" in heroctl_here("deployment", "status", "d0000001").out
    )
    api.page(HERE, samples.deployment("failed"), 3)
    assert "Next" not in heroctl_here("deployment", "status", "d0000001").out
