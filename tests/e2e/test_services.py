"""Service addresses on whole clusters: found from inside a workload, whatever becomes of the service."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from typing import Any

import docker
import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.runtimes import Workload
from tests.e2e.specs import job
from tests.e2e.test_deployments import served
from tests.e2e.test_files_and_volumes import variables
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)
RESCHEDULE = {"delay": "1s"}
UPDATE = {"min_healthy_time": "1s", "healthy_deadline": "20s", "progress_deadline": "1m"}


def database(there: Cluster, release: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a task
    return served(there, "db", release, **{"count": 1, "update": UPDATE, "reschedule": RESCHEDULE, **fields})


def user(there: Cluster) -> dict[str, Any]:
    return job(there.runtime, "web", env={"DB": "${service.db.web.http}"}, depends_on=[{"job": "db"}])


def fetched(there: Cluster, workload: Workload) -> str:
    """Ask the database from inside a workload; "": nobody answered."""
    place = variables(there, workload).get("DB")  # not there before the program itself begins
    if place is None:
        return ""
    if there.runtime.name == "process":
        try:
            with urllib.request.urlopen(f"http://{place}/", timeout=5) as answer:
                return str(answer.read().decode().strip())
        except (urllib.error.URLError, OSError):
            return ""
    host, _, port = place.partition(":")
    asking = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}"
    with contextlib.closing(docker.from_env()) as engine:
        _, said = engine.containers.get(workload.id).exec_run(["/bin/sh", "-c", asking])
        head, _, body = bytes(said).decode().partition("\r\n\r\n")  # type: ignore[arg-type] # no stream
        return body.strip() if "200" in head else ""


def test_a_service_is_found_where_it_is_and_those_who_use_it_never_restart(there: Cluster) -> None:
    there.submit(user(there))
    there.client.wait_until("/v1/jobs/web", lambda shown: shown["blocked"], what="web to wait for its database")
    there.submit(database(there, "one"))
    there.wait_healthy("web", 1)
    [web] = there.wait_running("web", 1)
    until(lambda: fetched(there, web) == "one", what="the database's answer")
    [shown] = there.client.get("/v1/services/db").body
    assert (shown["task"], shown["port"], len(shown["instances"])) == ("web", "http", 1)

    there.submit(database(there, "two"))
    answers: list[str] = []

    def is_new() -> bool:
        answers.append(fetched(there, web))
        return answers[-1] == "two"

    until(is_new, timeout=60, what="the new version")
    there.wait_deployed("db", 2, timeout=60)
    answers += [fetched(there, web) for _ in range(10)]
    assert set(answers) <= {"one", "two"}, "never without an answer"

    [lost] = there.wait_running("db", 1)
    there.runtime.crash(lost)
    until(lambda: fetched(there, web) == "two", timeout=60, what="an answer after the crash")
    assert there.wait_running("web", 1) == [web]


def test_its_address_stays_when_the_agent_is_killed(there: Cluster) -> None:
    there.submit(database(there, "one"))
    there.wait_healthy("db", 1)
    there.submit(user(there))
    there.wait_healthy("web", 1)
    [web] = there.wait_running("web", 1)
    until(lambda: fetched(there, web) == "one", what="the database's answer")
    there.restart("agent-1", kill=True)
    until(lambda: fetched(there, web) == "one", timeout=30, what="an answer after the agent's end")
    assert there.wait_running("web", 1) == [web]
