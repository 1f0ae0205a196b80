"""Secrets of jobs on a whole cluster: a change rolls out once, a rollback brings the old value back."""

from __future__ import annotations

from typing import Any, Final

import pytest

from heroctl.domain import events as e
from tests.e2e import history
from tests.e2e.cluster import Cluster
from tests.e2e.runtimes import Workload
from tests.e2e.specs import job
from tests.e2e.test_files_and_volumes import at, keeps, seen, variables
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)
COUNT: Final = 2
ONE, TWO, THREE = "first-word-71c2", "second-word-9a40", "third-word-e5b8"


def spec(there: Cluster, name: str, **task: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a task
    """Make a job whose replicas have a secret of the job's name in their environment and in a file."""
    word = f"${{secret.{name}}}"
    files = [{"path": at(there, "run/word"), "content": f"<{word}>", "mode": "0400"}]
    return job(there.runtime, name, **{"count": COUNT, "files": files, "env": {"WORD": word}, **task})


def wait_value(there: Cluster, name: str, value: str, *, timeout: float = 60) -> list[Workload]:
    """Wait until all replicas, and nobody else, run with a value."""

    def held() -> list[tuple[str, str]]:
        try:
            return [_held(there, each) for each in there.running(name)]
        except OSError:
            return []  # one has just ended

    until(lambda: held() == [(value, f"<{value}>")] * COUNT, timeout=timeout, what=f"{COUNT} of {name} with {value}")
    return there.running(name)


def _held(there: Cluster, workload: Workload) -> tuple[str, str]:
    return variables(there, workload).get("WORD", ""), seen(there, workload, "run/word").read_text()


def told(there: Cluster, name: str, *kinds: type[e.Event]) -> int:
    """Count the events of a job of some kinds."""
    events = (record.event for record in history.records(there.postgres.dsn()))
    return sum(isinstance(event, kinds) and getattr(event, "name", "") == name for event in events)


def pins(there: Cluster, name: str) -> dict[str, int | None]:
    found: dict[str, int | None] = there.client.get(f"/v1/jobs/{name}").body["tasks"][0]["secrets"]
    return found


def test_a_change_rolls_once_and_a_rollback_brings_the_old_value_back(there: Cluster) -> None:
    keeps(there, "shop", ONE)
    there.submit(spec(there, "shop"))
    there.wait_deployed("shop", 1)
    before = {each.id for each in wait_value(there, "shop", ONE)}
    index = there.client.get("/v1/jobs/shop").index
    keeps(there, "shop", TWO)
    there.wait_deployed("shop", 2, timeout=60)
    assert before.isdisjoint(each.id for each in wait_value(there, "shop", TWO))
    assert there.fewest_healthy("shop", index) >= COUNT, "like a deploy: none is missed"
    assert (told(there, "shop", e.JobRepinned), told(there, "shop", e.JobDeployed)) == (1, 2)
    there.client.post("/v1/jobs/shop/rollback", {})
    there.wait_deployed("shop", 3, timeout=60)
    wait_value(there, "shop", ONE)
    there.wait_quiet()
    assert (pins(there, "shop"), told(there, "shop", e.JobRepinned)) == ({"shop": 1}, 1), "and that is not undone"


def test_who_goes_on_with_what_it_has_takes_the_new_value_at_a_restart(there: Cluster) -> None:
    keeps(there, "calm", ONE)
    there.submit(spec(there, "calm", on_secret_change="none"))
    there.wait_deployed("calm", 1)
    before = wait_value(there, "calm", ONE)
    keeps(there, "calm", TWO)
    there.wait_quiet()
    assert wait_value(there, "calm", ONE) == before
    there.runtime.crash(before[0])
    assert len(wait_value(there, "calm", ONE)) == COUNT, "an attempt more is made with the same"
    there.client.post("/v1/jobs/calm/restart", {})
    there.wait_deployed("calm", 2, timeout=60)
    wait_value(there, "calm", TWO)


def test_a_value_that_does_not_work_goes_back_by_itself(there: Cluster) -> None:
    """It makes the workload end at once; the correction is tried, and it not once more."""
    keeps(there, "picky", ONE)
    script = f'[ "$WORD" != {TWO} ] || exit 3; while :; do sleep 1; done'
    there.submit(spec(there, "picky", script=script, restart={"attempts": 0}))
    there.wait_deployed("picky", 1)
    wait_value(there, "picky", ONE)
    index = there.client.get("/v1/jobs/picky").index
    keeps(there, "picky", TWO)
    there.wait_deployed("picky", 3, timeout=60)
    wait_value(there, "picky", ONE)
    assert there.fewest_healthy("picky", index) >= COUNT
    there.wait_quiet()
    assert (told(there, "picky", e.JobRepinned), told(there, "picky", e.JobFailed)) == (1, 1)
    keeps(there, "picky", THREE)
    there.wait_deployed("picky", 4, timeout=60)
    wait_value(there, "picky", THREE)


def test_a_job_starts_when_its_secret_comes(there: Cluster) -> None:
    warned = there.submit(spec(there, "early"))["warnings"]
    assert "secret_missing" in {problem["code"] for problem in warned}
    there.client.wait_until(
        "/v1/jobs/early", lambda body: body["blocked"] == ["secret early does not exist"], what="why"
    )
    assert there.running("early") == []
    keeps(there, "early", ONE)
    there.wait_deployed("early", 2, timeout=60)
    wait_value(there, "early", ONE)


def test_what_was_deleted_leaves_alone_what_runs_and_lets_nothing_begin(there: Cluster) -> None:
    keeps(there, "gone", ONE)
    there.submit(spec(there, "gone", restart={"attempts": 0}, reschedule={"delay": "1s"}, on_secret_change="none"))
    there.wait_deployed("gone", 1)
    first, second = wait_value(there, "gone", ONE)
    there.client.delete("/v1/secrets/gone", force="true")
    there.wait_quiet()
    assert {first, second} == set(there.running("gone"))
    there.runtime.crash(first)
    there.client.wait_until("/v1/jobs/gone", lambda body: body["blocked"] == ["secret gone was deleted"], what="why")
    assert there.running("gone") == [second]
    keeps(there, "gone", TWO)
    there.client.post("/v1/jobs/gone/restart", {})
    there.wait_deployed("gone", 2, timeout=60)
    wait_value(there, "gone", TWO)
