"""`job run` tells what happens and ends with the exit code of what became of it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heroctl.cli.client import Client
from heroctl.cli.faults import BLOCKED, FAILED, HEALTHY, TIMED_OUT, Caller
from heroctl.cli.rollout import Wanted
from heroctl.cli.waiting import Outcome, follow
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request, refusal
from tests.waiting import until

SPEC = "job: web\ntasks: [{name: web, image: shop:1, count: 2}]\n"
WANTED = Wanted("web", "default", 1, "d0000001")


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "web.yaml"
    file.write_text(SPEC)
    return str(file)


@pytest.fixture
def client(api: FakeApi) -> Iterator[Client]:
    client = Client(Caller(api.address), "ht_test")
    yield client
    client.close()


def begin(api: FakeApi, **job: Any) -> None:  # noqa: ANN401 - any JSON
    """Let the API accept the job and roll it out, with nothing placed yet."""
    api.act("POST", "/v1/jobs", Reply(201, samples.submitted(), 42))
    state = {"status": "pending", "healthy": 0, "deployment": {"id": "d0000001", "status": "running"}, **job}
    api.page("/v1/jobs/web", samples.job(**state), 42)
    api.page("/v1/allocations", [], 42)
    api.page("/v1/deployments/d0000001", samples.deployment("running"), 42)


def end(api: FakeApi, status: str, *, index: int = 60, **more: Any) -> None:  # noqa: ANN401 - any JSON
    api.page("/v1/deployments/d0000001", samples.deployment(status, **more), index)


class Waiting:
    """`follow` in a thread, so that the test can move the API meanwhile."""

    def __init__(self, go: Callable[[], Outcome]) -> None:
        self._outcome: list[Outcome | BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(go,))
        self._thread.start()

    def _run(self, go: Callable[[], Outcome]) -> None:
        try:
            self._outcome.append(go())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self._outcome.append(error)

    def outcome(self) -> Outcome:
        self._thread.join(30)
        [outcome] = self._outcome
        assert isinstance(outcome, Outcome), outcome
        return outcome


def test_a_healthy_roll_out_tells_each_step_and_ends_with_0(
    api: FakeApi, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    begin(api)
    waiting = Waiting(lambda: follow(client, WANTED, timeout=20))

    def polled(count: int) -> None:
        until(lambda: len(api.asked("GET", "/v1/allocations")) >= count)

    polled(2)
    steps = [("starting", "unknown"), ("running", "unknown"), ("running", "healthy")]
    for number, (status, health) in enumerate(steps):
        api.page("/v1/allocations", [samples.alloc(status=status, health=health)], 50 + number)
        polled(3 + number)
    api.page("/v1/jobs/web", samples.job(), 59)
    until(lambda: len(api.asked("GET", "/v1/jobs/web")) >= 3)
    end(api, "successful")
    verdict, seen, _ = waiting.outcome()
    assert verdict.code == HEALTHY
    assert verdict.message == "web version 1 is healthy: 2/2 replicas"
    assert seen.deployment is not None
    told = capfd.readouterr().err.splitlines()
    assert [re.sub(r"^ +[\d.]+s  ", "", line) for line in told] == [
        "web[0]  a1b2c3d4  node-1  starting",
        "web[0]  a1b2c3d4  node-1  running, not yet healthy",
        "web[0]  a1b2c3d4  node-1  running, healthy",
        "deployment d0000001  successful",
    ]


def test_the_command_prints_where_the_replicas_are_and_sends_the_file_as_it_is(
    heroctl_here: Run, api: FakeApi, spec: str
) -> None:
    begin(api)
    api.page("/v1/jobs/web", samples.job(), 50)
    api.page("/v1/allocations", [samples.alloc()], 50)
    end(api, "successful")
    result = heroctl_here("job", "run", spec)
    assert result.code == HEALTHY
    summary, address = result.out.splitlines()
    assert summary.startswith("web version 1 is healthy: 2/2 replicas (")
    assert address == "  web[0]  http  10.0.0.1:20001"
    [post] = api.asked("POST", "/v1/jobs")
    assert (post.body.decode(), post.headers["Content-Type"]) == (SPEC, "application/yaml")
    assert all(get.headers["X-HeroCtl-Index"] >= "42" for get in api.requests[1:])


def test_the_job_itself_is_printed_as_json(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    api.page("/v1/jobs/web", samples.job(), 50)
    end(api, "successful")
    assert json.loads(heroctl_here("job", "run", spec, "-o", "json").out) == samples.job()


@pytest.mark.parametrize(
    ("text", "kind"), [(SPEC, "application/yaml"), (json.dumps({"job": "web"}), "application/json")]
)
def test_stdin_is_recognised_and_detach_does_not_wait(heroctl_here: Run, api: FakeApi, text: str, kind: str) -> None:
    warning = {"path": "tasks[0].health", "code": "no_health_check", "message": "there is none"}
    api.act("POST", "/v1/jobs", Reply(201, samples.submitted(warnings=[warning]), 42))
    result = heroctl_here("job", "run", "-", "--detach", "--check-index", "0", stdin=text)
    assert (result.code, result.out) == (0, "web version 1, deployment d0000001, index 42\n")
    assert result.err == "warning: tasks[0].health: there is none\n"
    [request] = api.requests
    assert (request.body.decode(), request.headers["Content-Type"], request.query) == (text, kind, {"check_index": "0"})


@pytest.mark.parametrize("status", ["failed", "reverted", "cancelled", "superseded"])
def test_any_other_end_of_the_deployment_is_2(heroctl_here: Run, api: FakeApi, spec: str, status: str) -> None:
    begin(api)
    ended: samples.Json = {"status": "failed", "health": "unknown", "exit_code": 3, "reason": "restarts_spent"}
    api.page("/v1/allocations", [samples.alloc(**ended)], 50)
    end(api, status, reason="restarts_spent", previous_version=7)
    result = heroctl_here("job", "run", spec)
    assert result.code == FAILED
    assert result.out == ""
    assert "web[0] on node-1: failed: restarts_spent (exit code 3)" in result.err
    assert "next: heroctl alloc status a1b2c3d4" in result.err


def test_a_job_deleted_meanwhile_is_2(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    api.answer("/v1/jobs/web", refusal(404, "job_not_found", "job 'web' does not exist"))
    result = heroctl_here("job", "run", spec)
    assert (result.code, "was deleted" in result.err) == (FAILED, True)


def test_time_is_up_is_3(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    api.page("/v1/allocations", [samples.alloc(status="starting", health="unknown")], 50)
    result = heroctl_here("job", "run", spec, "--timeout", "300ms")
    assert result.code == TIMED_OUT
    assert "was not healthy within 0.3 s (0/2 healthy, 1 on the way)" in result.err


def test_blocked_when_the_time_is_up_is_4(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api, status="blocked", blocked=["no node has 64 cores"])
    result = heroctl_here("job", "run", spec, "--timeout", "300ms")
    assert result.code == BLOCKED
    assert "blocked: no node has 64 cores" in result.err


def test_blocked_and_quiet_ends_early_with_4(api: FakeApi, client: Client) -> None:
    begin(api, status="blocked", blocked=["no node has 64 cores"])
    assert follow(client, WANTED, timeout=60, quiet=0.2).verdict.code == BLOCKED


def test_blocked_goes_on_while_a_replica_is_on_its_way(api: FakeApi, client: Client) -> None:
    begin(api, status="blocked", blocked=["no node has 64 cores"])
    api.page("/v1/allocations", [samples.alloc(status="running", health="unknown")], 50)
    assert follow(client, WANTED, timeout=0.6, quiet=0.1).verdict.code == TIMED_OUT


def test_an_api_that_is_away_for_a_moment_is_waited_for(api: FakeApi, client: Client) -> None:
    begin(api)
    api.answer("/v1/deployments/d0000001", refusal(503, "log_unavailable", "the log is away"))
    waiting = Waiting(lambda: follow(client, WANTED, timeout=20))
    until(lambda: api.asked("GET", "/v1/deployments/d0000001"))
    api.page("/v1/jobs/web", samples.job(), 50)
    end(api, "successful")
    assert waiting.outcome().verdict.code == HEALTHY


def test_an_unchanged_job_without_a_deployment_is_judged_by_itself(api: FakeApi, client: Client) -> None:
    begin(api)
    api.page("/v1/jobs/web", samples.job(deployment=None), 50)
    assert follow(client, WANTED._replace(deployment=""), timeout=20).verdict.code == HEALTHY


def test_an_old_success_does_not_count_for_a_job_that_is_ill_now(api: FakeApi, client: Client) -> None:
    begin(api)
    end(api, "successful")
    assert follow(client, WANTED, timeout=0.4).verdict.code == TIMED_OUT


def test_a_token_revoked_meanwhile_ends_the_wait(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    api.answer("/v1/allocations", refusal(401, "token_invalid", "send a valid token"))
    result = heroctl_here("job", "run", spec)
    assert (result.code, "token_invalid" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("job", "run", "missing.yaml"), "missing.yaml cannot be read"),
        (("job", "run", "-"), "stdin is empty"),
        (("job", "run", "-", "--timeout", "soon"), "--timeout: 'soon' is not a duration"),
    ],
)
def test_what_is_wrong_before_anything_is_sent_is_1(
    heroctl_here: Run, api: FakeApi, words: tuple[str, ...], said: str
) -> None:
    result = heroctl_here(*words)
    assert (result.code, said in result.err, api.requests) == (1, True, [])


def test_an_invalid_spec_names_every_field(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    details = [{"path": "tasks[0].count", "code": "out_of_range", "message": "expected at most 50000"}]
    api.act("POST", "/v1/jobs", refusal(400, "invalid_spec", "tasks[0].count: too many", details=details))
    result = heroctl_here("job", "run", spec)
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines() == [
        "error: the spec has 1 problem",
        "  tasks[0].count: expected at most 50000",
        "  code: invalid_spec (HTTP 400)",
        "  request: req_test",
        "  next: mend it, then look again: heroctl validate FILE",
    ]


def test_what_failed_is_told_even_if_the_deployment_was_heard_of_first(
    heroctl_here: Run, api: FakeApi, spec: str
) -> None:
    begin(api)
    end(api, "failed", reason="replica_failed")
    seen = samples.alloc(status="failed", reason="exited", exit_code=1)

    def allocations(request: Request) -> Reply:
        # Long polls hear nothing of it; who asks anew is told.
        return Reply(200, [] if "wait" in request.query else [seen], 50)

    api.act("GET", "/v1/allocations", allocations)
    result = heroctl_here("job", "run", spec)
    assert (result.code, "web[0] on node-1: failed: exited (exit code 1)" in result.err) == (FAILED, True)


def test_what_waits_for_a_promotion_is_done_and_says_how_to_go_on(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    beside = [samples.alloc(), samples.alloc("b1b2c3d4e5f6", version=2, address="10.0.0.2")]
    api.page("/v1/allocations", beside, 50)
    end(api, "awaiting_promotion", strategy="blue-green", promoted=False, awaiting=True)
    result = heroctl_here("job", "run", spec)
    assert result.code == HEALTHY
    assert result.out.splitlines()[0].startswith("web version 1 waits for you to promote it: all of it is healthy")
    assert "  web[0] version 2  http  10.0.0.2:20001" in result.out
    assert "next: heroctl deployment promote d0000001   # take it all the way" in result.err
    assert "next: heroctl deployment fail d0000001   # take it back" in result.err


def test_what_a_failed_replica_said_last_is_told_with_why_and_what_to_type(
    heroctl_here: Run, api: FakeApi, spec: str
) -> None:
    begin(api)
    failed: samples.Json = {"status": "failed", "health": "unknown", "exit_code": 1, "reason": "exited", "attempt": 3}
    api.page("/v1/allocations", [samples.alloc(**failed)], 50)
    said = "exited with code 1\nloading\nno DB_URL\x1b[2J"
    api.page("/v1/allocations/a1b2c3d4e5f6", samples.alloc(**failed, message=said, timeline=[]), 50)
    api.page("/v1/jobs/web/explain", {"summary": "web[0] ended three times", "slots": []}, 50)
    end(api, "failed", reason="replica_failed: web[0] exited")
    assert heroctl_here("job", "run", spec).err.splitlines()[-9:] == [
        "error: web version 1 failed (replica_failed: web[0] exited)",
        "  web[0] on node-1: failed: exited (exit code 1, attempt 3)",
        "    | exited with code 1",
        "    | loading",
        "    | no DB_URL [2J",
        "  why: web[0] ended three times",
        "  next: heroctl alloc status a1b2c3d4",
        "  next: heroctl job explain web",
        "  next: heroctl job history web",
    ]


def test_a_way_back_that_was_faster_than_the_look_is_told_alike(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    end(api, "reverted", reason="replica_failed", version=1)
    result = heroctl_here("job", "run", spec)
    assert (result.code, result.out) == (FAILED, "")
    assert "error: web version 1 failed (replica_failed); the version before it is back\n" in result.err
    back = samples.deployment("successful", id="d0000002", version=2, kind="revert", revert_of="d0000001")
    api.page("/v1/deployments", [back], 60)
    api.page("/v1/deployments/d0000002", back, 60)
    api.page("/v1/jobs/web", samples.job(version=2), 60)
    told = "error: web version 1 failed (replica_failed); the version before it is back, as version 2\n"
    assert told in heroctl_here("job", "run", spec).err


def test_while_nothing_happens_the_cluster_says_why_once(
    api: FakeApi, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    begin(api)
    api.page("/v1/jobs/web/explain", {"summary": "web[0]: waiting for its image", "slots": []}, 50)
    verdict = follow(client, WANTED, timeout=1.2, quiet=0.1).verdict
    assert verdict.code == TIMED_OUT
    told = capfd.readouterr().err
    assert told.count("why: web[0]: waiting for its image") == 1
    assert "\x1b" not in told
    assert len(api.asked("GET", "/v1/jobs/web/explain")) > 2
    assert dict(verdict.facts) == {"why": "web[0]: waiting for its image"}


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("successful", "web version 2 failed (replica_failed); the version before it is back, as version 3"),
        ("failed", "web version 2 failed (replica_failed); and the way back: web version 3 failed (placing)"),
    ],
)
def test_the_way_back_is_waited_for_and_ends_with_2(
    heroctl_here: Run, api: FakeApi, spec: str, ends: str, told: str
) -> None:
    begin(api)
    api.act("POST", "/v1/jobs", Reply(200, samples.submitted(2), 42))
    end(api, "failed", reason="replica_failed", version=2)
    back = samples.deployment("running", id="d0000002", version=3, kind="revert", revert_of="d0000001")
    api.page("/v1/deployments", [back, samples.deployment("failed", version=2)], 60)
    reason = "placing" if ends == "failed" else ""
    api.page("/v1/deployments/d0000002", {**back, "status": ends, "reason": reason}, 70)
    api.page("/v1/jobs/web", samples.job(version=3), 70)
    result = heroctl_here("job", "run", spec)
    assert (result.code, result.out) == (FAILED, "")
    assert "web version 2 failed (replica_failed); going back, as version 3\n" in result.err
    assert f"error: {told}\n" in result.err


def test_a_version_with_other_secrets_is_waited_for_instead(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    end(api, "superseded", version=1)
    renewed = samples.deployment("successful", id="d0000002", version=2, kind="secret", previous_version=1)
    api.page("/v1/deployments", [renewed, samples.deployment("superseded", version=1)], 60)
    api.page("/v1/deployments/d0000002", {**renewed, "status": "running"}, 60)
    api.page("/v1/deployments/d0000002", renewed, 70)
    api.page("/v1/jobs/web", samples.job(version=2), 70)
    result = heroctl_here("job", "run", spec)
    assert result.code == 0, result.err
    assert "a secret of web changed: version 2 takes its place\n" in result.err
    assert result.out.startswith("web version 2 is healthy: 2/2 replicas")


def test_a_version_that_somebody_else_submitted_is_not_waited_for(heroctl_here: Run, api: FakeApi, spec: str) -> None:
    begin(api)
    end(api, "superseded", version=1)
    other = samples.deployment("successful", id="d0000002", version=2, kind="submit", previous_version=1)
    api.page("/v1/deployments", [other, samples.deployment("superseded", version=1)], 60)
    result = heroctl_here("job", "run", spec)
    assert (result.code, "was superseded before it was healthy: another was submitted" in result.err) == (FAILED, True)
