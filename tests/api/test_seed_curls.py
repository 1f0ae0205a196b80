"""The command lines that users were promised, run as they are printed: through curl, a shell and jq.

Put in are the host, the token, passwords, names of what exists, and the job file. What a line shows is looked at by
value: a `null` is a failure.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from eventstore.database import Database
from eventstore.log import Append
from eventstore.postgres import open_log
from eventstore.view import View
from heroctl.domain.assignment import Report
from heroctl.domain.events import AllocPlaced, AllocReported
from heroctl.domain.ids import allocation_id
from tests.api.process import Api, api
from tests.api.specs import INVENTORY, spec
from tests.needs import needs

pytestmark = [needs("curl"), needs("jq"), pytest.mark.timeout(120)]

SESSION: Final[dict[str, Any]] = {
    "boot_id": "boot-1",
    "inventory": INVENTORY,
    "capacity": {"cpu": 4.0, "memory": 8_000_000_000, "disk": 50_000_000_000},
    "drivers": {"docker": {"healthy": True, "version": "1"}},
    "address": "192.0.2.9",
}
HOST: Final = "https://manage.heroctl.com"
JOB: Final = "heroctl-site"

LOGIN: Final = r"""
curl -X POST https://manage.heroctl.com/v1/auth/login \
  -H "Content-Type: application/json" \
  -d '{"username":"admin","password":"admin123"}'
"""
LOGIN_BY_TOKEN: Final = r"""
curl -X POST https://manage.heroctl.com/v1/auth/login \
  -H "Content-Type: application/json" \
  -d '{"acl_token":"ht_a1b2c3d4..."}'
"""
REFRESH: Final = r"""
curl -X POST https://manage.heroctl.com/v1/auth/refresh \
  -H "Authorization: Bearer $TOKEN"
"""
LIST: Final = r"""
curl -s https://manage.heroctl.com/v1/jobs \
  -H "Authorization: Bearer $TOKEN" | jq '.[] | .name'
"""
SUBMIT: Final = r"""
curl -X POST https://manage.heroctl.com/v1/jobs \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d @meu-job.json
"""
ALLOCATIONS: Final = r"""
curl -s "https://manage.heroctl.com/v1/allocations?job=heroctl-site" \
  -H "Authorization: Bearer $TOKEN" | jq '.[] | {id, node, status}'
"""
DRAIN: Final = r"""
curl -X POST https://manage.heroctl.com/v1/nodes/server-2/drain \
  -H "Authorization: Bearer $TOKEN" \
  -d '{"deadline_seconds": 300}'
"""
STATUS: Final = r"""
curl -s https://manage.heroctl.com/v1/cluster/status \
  -H "Authorization: Bearer $TOKEN" | jq
"""
SECRET: Final = r"""
curl -X POST https://manage.heroctl.com/v1/secrets \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"name":"db_password","value":"s3nh@-forte"}'
"""
WEBHOOK: Final = r"""
curl -X POST https://manage.heroctl.com/v1/webhooks \
-H "Authorization: Bearer $TOKEN" \
-d '{
"url": "https://api.minha-empresa.com/heroctl-events",
"events": ["job.deployed", "alloc.failed", "node.down"],
"secret": "whk_a1b2c3"
}'
"""
READY: Final = r"""
curl -s https://manage.heroctl.com/v1/health/ready
"""
POLL: Final = r"""
curl -s "https://manage.heroctl.com/v1/jobs?wait=5m&index=42" \
  -H "Authorization: Bearer $TOKEN"
"""

METRICS: Final = r"""
curl -s "https://manage.heroctl.com/v1/metrics/query?metric=cpu&job=heroctl-site&from=-1h" \
  -H "Authorization: Bearer $TOKEN" | jq
"""


class Shell:
    """Runs printed lines against an api, in a folder with the job file."""

    def __init__(self, made: Api, folder: Path) -> None:
        self.made = made
        self.folder = folder

    def run(self, line: str, **put_in: str) -> str:
        """Run a line; `put_in` are the words of it that stand for what exists here."""
        for word, here in {"admin123": self.made.password, HOST: self.made.url, **put_in}.items():
            line = line.replace(word, here)
        environ = {"PATH": os.environ["PATH"], "TOKEN": self.made.token}
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, env=environ, capture_output=True, check=True)
        return done.stdout.decode()

    def json(self, line: str, **put_in: str) -> Any:  # noqa: ANN401 - JSON
        """Run a line that shows one JSON value."""
        return json.loads(self.run(line, **put_in))


@pytest.fixture
def shell(tmp_path: Path, postgres_dsn: str) -> Iterator[Shell]:
    (tmp_path / "meu-job.json").write_text(json.dumps(spec(JOB), indent=2))
    with api(tmp_path, postgres_dsn) as made:
        yield Shell(made, tmp_path)


def test_login(shell: Shell) -> None:
    shown = shell.json(LOGIN)
    assert shown.keys() == {"token", "expires_at", "refresh_token"}
    assert shown["token"].count(".") == 2
    assert shown["refresh_token"].startswith("rt_")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["expires_at"])
    assert shell.made.ask("GET", "/v1/jobs", token=shown["token"]) == []


def test_login_by_acl_token(shell: Shell) -> None:
    made = shell.made.ask("POST", "/v1/acl/tokens", {"name": "ci", "roles": ["viewer"]}, status=201)
    shown = shell.json(LOGIN_BY_TOKEN, **{"ht_a1b2c3d4...": made["secret"]})
    assert shown.keys() == {"token", "expires_at", "refresh_token"}
    assert shell.made.ask("GET", "/v1/jobs", token=shown["token"]) == []
    assert shell.made.ask("POST", "/v1/jobs", {}, token=shown["token"], status=403)["error"] == "forbidden"


def test_refresh(shell: Shell) -> None:
    shown = shell.json(REFRESH)
    assert shown.keys() == {"token", "expires_at"}
    assert shown["token"] != shell.made.token
    assert shell.made.ask("GET", "/v1/jobs", token=shown["token"]) == []


def test_submit_and_list(shell: Shell) -> None:
    shown = shell.json(SUBMIT)
    assert (shown["name"], shown["namespace"], shown["version"]) == (JOB, "default", 1)
    assert shown["index"] > 0
    assert shell.run(LIST) == f'"{JOB}"\n'
    assert shell.json(SUBMIT)["version"] == 1, "the same again changes nothing"


def test_allocations(shell: Shell, postgres_dsn: str) -> None:
    shell.run(SUBMIT)
    join = shell.made.ask("POST", "/v1/cluster/join-tokens", status=201)["token"]
    node = shell.made.ask("POST", "/v1/nodes/join", {"token": join, "name": "server-2"}, status=201, token="")["id"]
    alloc = asyncio.run(_place(postgres_dsn, node))
    assert shell.json(ALLOCATIONS) == {"id": alloc, "node": "server-2", "status": "running"}


def test_drain(shell: Shell, postgres_dsn: str) -> None:
    """It says how many are to leave, until when, and where to watch; and the node is as it says."""
    shell.run(SUBMIT)
    join = shell.made.ask("POST", "/v1/cluster/join-tokens", status=201)["token"]
    node = shell.made.ask("POST", "/v1/nodes/join", {"token": join, "name": "server-2"}, status=201, token="")["id"]
    asyncio.run(_place(postgres_dsn, node))
    shown = shell.json(DRAIN)
    drain = shown["drain"]
    began, deadline = (datetime.fromisoformat(drain[each]) for each in ("started_at", "deadline"))
    assert (deadline - began).total_seconds() == 300
    assert (shown["id"], shown["name"], shown["dry_run"], drain["remaining"]) == (node, "server-2", False, 1)
    assert (shown["replicas"], shown["moves"], shown["stays"]) == (1, 0, 1), "there is no other node"
    [job] = shown["jobs"]
    assert (job["job"], job["replicas"], job["stays"], job["why"]) == (JOB, 1, 1, "no_room")
    assert {warning["code"] for warning in shown["warnings"]} == {"no_room", "no_coordinator"}
    now = shell.made.ask("GET", "/v1/nodes/server-2")
    assert (now["eligibility"], now["drain"]["deadline"]) == ("ineligible", drain["deadline"])
    assert now["modify_index"] == shown["index"]


async def _place(dsn: str, node: str) -> str:
    """Place the job's replica and report it as running, as a reconciler and an agent would."""
    async with Database(dsn) as database, open_log(database) as log:
        view = View(log)
        await view.catch_up()
        job = view.state.job("default", JOB)
        assert job is not None
        alloc = allocation_id(view.state.incarnation, job.uid, 1)
        [task] = job.current.tasks
        placed = AllocPlaced(
            id=alloc,
            uid=job.uid,
            n=1,
            namespace="default",
            job=JOB,
            task=task.name,
            slot=0,
            version=1,
            content=task.content,
            node=node,
            cpu=0.5,
            memory=1,
            disk=1,
            deployment=job.deployment,
        )
        await log.append(Append((placed,), epoch=0))
        await log.append(Append((AllocReported(node, Report(alloc, attempt=1, phase="running")),)))
    return alloc


def test_metrics_of_the_last_hour(shell: Shell, postgres_dsn: str) -> None:
    shell.run(SUBMIT)
    ask = shell.made.ask
    join = ask("POST", "/v1/cluster/join-tokens", status=201)["token"]
    node = ask("POST", "/v1/nodes/join", {"token": join, "name": "server-2"}, status=201, token="")
    alloc = asyncio.run(_place(postgres_dsn, node["id"]))
    taken = [{"age": 1.0, "samples": [{"alloc": alloc, "values": {"cpu": 0.25}}]}]
    session = ask("POST", "/v1/agent/session", SESSION, token=node["token"])["session"]
    ask("POST", "/v1/agent/samples", {"session": session, "taken": taken}, token=node["token"])
    shown = shell.json(METRICS)
    assert (shown["metric"], shown["unit"], shown["step"]) == ("cpu", "cores", 10)
    [line] = shown["series"]
    assert (line["labels"]["job"], line["labels"]["alloc"], line["labels"]["node"]) == (JOB, alloc, "server-2")
    assert [value for _, value in line["points"]] == [0.25]


def test_cluster_status(shell: Shell) -> None:
    shown = shell.json(STATUS)
    assert shown["health"] == "degraded", "no reconciler runs here"
    assert (shown["members"], shown["nodes"]) == (1, {"ready": 0, "down": 0, "draining": 0})
    assert shown["index"] >= 2
    assert None not in [shown[key] for key in shown if key != "coordinator"]


def test_create_a_secret(shell: Shell) -> None:
    shown = shell.json(SECRET)
    assert (shown["name"], shown["version"]) == ("db_password", 1)
    assert shell.made.ask("GET", "/v1/secrets/db_password")["value"] == "s3nh@-forte"
    assert shell.json(SECRET)["version"] == 1, "the same again changes nothing"


def test_register_a_webhook(shell: Shell) -> None:
    shown = shell.json(WEBHOOK)
    assert (shown["url"], shown["state"]) == ("https://api.minha-empresa.com/heroctl-events", "enabled")
    assert shown["events"] == ["job.deployed", "alloc.failed", "node.down"]
    [listed] = shell.made.ask("GET", "/v1/webhooks")
    assert listed["id"] == shown["id"]


def test_health(shell: Shell) -> None:
    assert shell.run(READY) == '{"status":"ok"}'


def test_long_poll(shell: Shell) -> None:
    """Index 42 was never seen here: the answer comes at once, with the present state."""
    shell.run(SUBMIT)
    [job] = shell.json(POLL)
    assert (job["name"], job["status"]) == (JOB, "pending")


def test_no_header_no_response(shell: Shell) -> None:
    shown = shell.json("curl -s https://manage.heroctl.com/v1/jobs")
    assert shown.keys() == {"error", "message", "request_id"}
    assert shown["request_id"].startswith("req_")
    assert "401" in shell.run("curl -s -o /dev/null -w '%{http_code}' https://manage.heroctl.com/v1/jobs")
