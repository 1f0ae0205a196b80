"""Batch jobs on the command line: runs that end with their launch, dispatches, the clock, and the list."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from heroctl.cli.faults import BLOCKED, FAILED, HEALTHY, TIMED_OUT
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply, Request, refusal

SPEC = "job: import\ntype: batch\ntasks: [{name: main, driver: process, command: [work]}]\n"


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "import.yaml"
    file.write_text(SPEC)
    return str(file)


def launch(number: int = 1, status: str = "running", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """A launch, as the list has it."""
    counts = {"pending": 0, "running": 1, "stopping": 0, "complete": 0, "failed": 0}
    if status != "running":
        counts |= {"running": 0, "complete": int(status == "complete"), "failed": int(status == "failed")}
    return {
        "number": number,
        "version": 1,
        "kind": "submit",
        "by": "ci",
        "status": status,
        "reason": "",
        "scheduled_at": None,
        "created_at": samples.T0,
        "finished_at": None,
        "allocations": counts,
        "payload_bytes": 0,
        "meta": {},
        "skipped": 0,
        "skipped_at": None,
        "index": 42,
        **more,
    }


def begin(api: FakeApi, *launches: dict[str, Any], **job: Any) -> None:  # noqa: ANN401 - any JSON
    """Let the API accept the job, whose launches are as told."""
    api.act("POST", "/v1/jobs", Reply(201, samples.submitted(name="import", deployment_id="", launch=1), 42))
    ref = {"number": launches[0]["number"], "status": launches[0]["status"]} if launches else None
    state = {"type": "batch", "deployment": None, "launch": ref, "next_launch_at": None, "healthy": 0, **job}
    api.page("/v1/jobs/import", samples.job("import", **state), 42)
    api.page("/v1/jobs/import/launches", list(launches), 42)
    api.page("/v1/allocations", [], 42)


def test_a_run_of_a_batch_job_ends_with_its_launch(api: FakeApi, heroctl: Run, spec: str) -> None:
    begin(api, launch(status="complete"))
    done = heroctl("job", "run", spec, "--address", api.address, "--token", "t")
    assert done.code == HEALTHY, done.err
    assert "waiting until launch 1 has ended" in done.err
    assert "launch 1 of import is complete: 1 replica ended well" in done.out


def test_a_launch_that_failed_ends_with_2_and_says_which_replica_and_why(api: FakeApi, heroctl: Run, spec: str) -> None:
    begin(api, launch(status="failed", reason="main[0] failed with exit code 3"), status="failed")
    bad = samples.alloc(job="import", task="main", launch=1, status="failed", health="unknown", exit_code=3)
    old = samples.alloc("b2b2b2b2b2b2", job="import", task="main", launch=7, status="failed", exit_code=9)
    api.page("/v1/allocations", [bad, old], 43)
    done = heroctl("job", "run", spec, "--address", api.address, "--token", "t")
    assert done.code == FAILED
    assert "launch 1 of import failed (main[0] failed with exit code 3)" in done.err
    assert "exit code 3" in done.err
    assert "exit code 9" not in done.err, "that is another launch's"


def test_a_launch_that_takes_too_long_ends_with_3_and_goes_on(api: FakeApi, heroctl: Run, spec: str) -> None:
    begin(api, launch())
    done = heroctl("job", "run", spec, "--timeout", "1s", "--address", api.address, "--token", "t")
    assert done.code == TIMED_OUT
    assert "launch 1 of import had not ended within 1 s" in done.err


def test_a_launch_that_fits_nowhere_ends_with_4(api: FakeApi, heroctl: Run, spec: str) -> None:
    begin(api, launch(), status="blocked", blocked=["1 node: 1 exhausted cpu"])
    done = heroctl("job", "run", spec, "--address", api.address, "--token", "t")
    assert done.code == BLOCKED
    assert "exhausted cpu" in done.err


def test_what_the_clock_launches_is_not_waited_for(api: FakeApi, heroctl: Run, spec: str) -> None:
    begin(api, launch(9, kind="schedule"), next_launch_at="2026-03-02T02:30:00.000Z")
    api.act("POST", "/v1/jobs", Reply(200, samples.submitted(name="import", deployment_id="", launch=None), 42))
    done = heroctl("job", "run", spec, "--address", api.address, "--token", "t")
    assert done.code == HEALTHY, done.err
    assert "the clock launches it next at 2026-03-02 02:30 UTC" in done.err


def test_a_run_that_is_repeated_waits_for_the_launch_that_goes_on(api: FakeApi, heroctl: Run, spec: str) -> None:
    begin(api, launch(8, "complete", kind="dispatch"), launch(4, "complete"))
    api.act("POST", "/v1/jobs", Reply(200, samples.submitted(name="import", deployment_id="", launch=None), 42))
    done = heroctl("job", "run", spec, "--address", api.address, "--token", "t")
    assert done.code == HEALTHY, done.err
    assert "launch 4 of import is complete" in done.out


def test_a_dispatch_sends_what_to_work_on(api: FakeApi, heroctl: Run, tmp_path: Path) -> None:
    begin(api, launch(2, "complete", kind="dispatch"))
    sent: list[Request] = []

    def take(request: Request) -> Reply:
        sent.append(request)
        return Reply(200, samples.submitted(name="import", deployment_id="", launch=2), 42)

    api.act("POST", "/v1/jobs/import/dispatch", take)
    file = tmp_path / "payload"
    file.write_bytes(b"\xff\x00")
    words = ("job", "dispatch", "import", "--meta", "a=1", "--meta", "b=x=y", "--address", api.address, "--token", "t")
    done = heroctl(*words, "--payload", "-", "--key", "order-7", stdin="grüße")
    assert done.code == HEALTHY, done.err
    assert sent[0].json() == {"payload": "grüße", "meta": {"a": "1", "b": "x=y"}}
    assert sent[0].headers["Idempotency-Key"] == "order-7"
    assert heroctl(*words, "--payload", str(file), "--detach").code == HEALTHY
    assert sent[1].json()["payload"] == base64.b64encode(b"\xff\x00").decode()
    assert sent[1].json()["encoding"] == "base64"


def test_a_dispatch_says_what_is_wrong_before_it_asks(api: FakeApi, heroctl: Run) -> None:
    done = heroctl("job", "dispatch", "import", "--meta", "nothing", "--address", api.address, "--token", "t")
    assert (done.code, api.requests) == (1, [])
    assert "write it as --meta key=value" in done.err
    done = heroctl("job", "dispatch", "import", "--payload", "/nowhere", "--address", api.address, "--token", "t")
    assert (done.code, api.requests) == (1, [])


def test_forcing_the_clock(api: FakeApi, heroctl: Run) -> None:
    begin(api, launch(3, "complete", kind="force"))
    made = samples.submitted(name="import", deployment_id="", launch=3)
    api.act("POST", "/v1/jobs/import/periodic/force", Reply(200, made, 42))
    done = heroctl("job", "periodic", "force", "import", "--address", api.address, "--token", "t")
    assert done.code == HEALTHY, done.err
    api.act("POST", "/v1/jobs/import/periodic/force", refusal(409, "not_periodic", "it has no `periodic`"))
    refused = heroctl("job", "periodic", "force", "import", "--address", api.address, "--token", "t")
    assert refused.code == 1
    assert "heroctl job dispatch NAME" in refused.err


def test_the_list_and_the_status_tell_of_launches(api: FakeApi, heroctl: Run) -> None:
    begin(
        api,
        launch(2, skipped=3, kind="schedule", scheduled_at=samples.T0),
        launch(1, "failed", reason="main[0] failed with exit code 3"),
        next_launch_at="2026-03-02T02:30:00.000Z",
    )
    told = heroctl("job", "launches", "import", "--address", api.address, "--token", "t")
    assert told.code == HEALTHY, told.err
    first, second = told.out.splitlines()[1:3]
    assert first.split()[:5] == ["2", "1", "schedule", "running", "1"]
    assert "main[0] failed with exit code 3" in second
    status = heroctl("job", "status", "import", "--address", api.address, "--token", "t").out
    assert "2 running" in status
    assert "Next launch" in status


def test_a_clock_that_is_none_is_refused_without_a_server(heroctl: Run, tmp_path: Path) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text(SPEC + 'periodic: {cron: "61 * * * *", time_zone: Mars/Olympus}\n')
    told = heroctl("validate", str(file))
    assert told.code == 1
    assert "periodic.cron" in told.out + told.err
    assert "periodic.time_zone" in told.out + told.err
    file.write_text(SPEC + 'periodic: {cron: "@daily", time_zone: Europe/Berlin}\n')
    assert heroctl("validate", str(file)).code == HEALTHY
