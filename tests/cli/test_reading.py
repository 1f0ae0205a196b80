"""What commands that read print when piped: tab-separated tables, bodies as they are, names; and how they watch."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake import FakeApi, Reply
from tests.waiting import until

JOBS = """\
NAME	NAMESPACE	STATUS	VERSION	HEALTHY	DEPLOYMENT	UPDATED
api	shop	blocked	3	1/4		2026-03-01T12:00:00Z
web	default	running	1	2/2	successful	2026-03-01T12:00:00Z
"""
JOB = """\
Name	web
Namespace	default
Type	service
Status	running
Version	1
Stable version	1
Deployment	d0000001 successful
Meta git_sha	abc123
Created	2026-03-01T12:00:00Z
Updated	2026-03-01T12:00:00Z

TASK	DRIVER	IMAGE	DESIRED	RUNNING	HEALTHY
web	docker	shop:1	2	2	2

ID	JOB	TASK	VERSION	NODE	STATUS	HEALTH	ATTEMPT	ADDRESS	CREATED
a1b2c3d4e5f6	web	web[0]	1	node-1	running	healthy	1	10.0.0.1:20001	2026-03-01T12:00:00Z
"""
ALLOC = """\
ID	a1b2c3d4e5f6
Job	web
Namespace	default
Task	web[0]
Version	1
Node	node-1
Status	failed
Wanted	run
Health	unhealthy
Attempt	3
Reason	restarts_spent
Exit code	137
Out of memory	yes
Port http	10.0.0.1:20001
Created	2026-03-01T12:00:00Z
Started	2026-03-01T12:00:00Z

INDEX	TIME	EVENT	MESSAGE
7	2026-03-01T12:00:00Z	placed	on node-1
"""
NODES = """\
NAME	STATUS	ELIGIBILITY	CPU	MEMORY	ALLOCATIONS	DRIVERS	ADDRESS	ID
node-1	ready	eligible	1.5/4	512.0 MiB/8.0 GiB	3	docker	10.0.0.1	n0000001
"""
NODE = """\
ID	n0000001
Name	node-1
Status	ready
Eligibility	eligible
Address	10.0.0.1
Version	0.1.0
Last seen	1s ago
Allocations	3
Label zone	a
Allows host_paths	/srv

RESOURCE	TOTAL	RESERVED	USED
cpu	4	1.5	0.25
memory	8.0 GiB	512.0 MiB	1.0 GiB
disk	100.0 GiB	0 B	0 B

DRIVER	HEALTHY	VERSION
docker	yes	27.1
process\tno\t
"""
SERVICES = """\
SERVICE	NAMESPACE	ADDRESS	NODE	VERSION	ALLOCATION
web.app.http	default	10.0.0.1:20001	node-1	1	a1b2c3d4e5f6
web.app.http	default	[fd00::2]:20001	node-2	1	b1b2c3d4e5f6
web.db.sql\tdefault\tnone healthy\t\t\t
"""
DEPLOYMENTS = """\
ID	JOB	NAMESPACE	VERSION	KIND	STATUS	HEALTHY	STEP	CREATED	REASON
d0000001	web	default	1	submit	failed	0/2		2026-03-01T12:00:00Z	healthy_deadline
"""
STATUS = """\
Health	degraded
Coordinator	reconciler-1
Epoch	4
Members	3
Nodes	2 ready, 1 down, 0 draining
Index	99
Version	0.1.0

CHECK	STATUS	MESSAGE
redis	failed	no answer
"""


@pytest.fixture
def pages(api: FakeApi) -> None:
    blocked = samples.job("api", version=3, desired=4, healthy=1, status="blocked", namespace="shop", deployment=None)
    api.page("/v1/jobs", [blocked, samples.job()])
    api.page("/v1/jobs/web", samples.job(meta={"git_sha": "abc123"}, stable_version=1, spec={}))
    api.page("/v1/allocations", [samples.alloc()])
    step = {"index": 7, "time": samples.T0, "event": "placed", "message": "on node-1"}
    ended: samples.Json = {"exit_code": 137, "oom": True, "attempt": 3, "reason": "restarts_spent", "timeline": [step]}
    api.page("/v1/allocations/a1b2", samples.alloc(status="failed", health="unhealthy", **ended))
    own = {"job": "web", "namespace": "default"}
    places = [("a1b2c3d4e5f6", "node-1", "10.0.0.1"), ("b1b2c3d4e5f6", "node-2", "fd00::2")]
    found = [
        {"alloc": alloc, "node": node, "address": address, "port": 20001, "healthy": True, "version": 1}
        for alloc, node, address in places
    ]
    services = [
        {**own, "task": "app", "port": "http", "instances": found},
        {**own, "task": "db", "port": "sql", "instances": []},
    ]
    api.page("/v1/services", services)
    api.page("/v1/services/web", services)
    api.page("/v1/nodes", [samples.node()])
    api.page("/v1/nodes/node-1", samples.node())
    api.page("/v1/deployments", [samples.deployment("failed", reason="healthy_deadline")])
    api.page("/v1/deployments/d0000001", samples.deployment())
    cluster = {"health": "degraded", "coordinator": "reconciler-1", "epoch": 4, "members": 3, "index": 99}
    checks = [{"name": "redis", "ok": False, "message": "no answer"}]
    nodes = {"ready": 2, "down": 1, "draining": 0}
    api.page("/v1/cluster/status", {**cluster, "version": "0.1.0", "brake": False, "nodes": nodes, "checks": checks})


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize(
    ("words", "golden"),
    [
        (("job", "list"), JOBS),
        (("job", "status", "web"), JOB),
        (("alloc", "status", "a1b2"), ALLOC),
        (("node", "list"), NODES),
        (("node", "status", "node-1"), NODE),
        (("deployment", "list"), DEPLOYMENTS),
        (("service", "list"), SERVICES),
        (("service", "list", "web"), SERVICES),
        (("service", "list", "-o", "name"), "web.app.http\nweb.db.sql\n"),
        (("status",), STATUS),
        (("job", "list", "-o", "name"), "api\nweb\n"),
        (("-o", "name", "alloc", "list"), "a1b2c3d4e5f6\n"),
        (("node", "list", "--output=name"), "node-1\n"),
        (("deployment", "status", "d0000001", "-o", "name"), "d0000001\n"),
    ],
)
def test_piped_output_is_tab_separated_and_whole(heroctl_here: Run, words: tuple[str, ...], golden: str) -> None:
    result = heroctl_here(*words)
    assert (result.code, result.err) == (0, "")
    assert result.out == golden


@pytest.mark.usefixtures("pages")
def test_json_and_yaml_are_the_body_as_it_came(heroctl_here: Run) -> None:
    body = samples.job(meta={"git_sha": "abc123"}, stable_version=1, spec={})
    assert json.loads(heroctl_here("job", "status", "web", "-o", "json").out) == body
    assert yaml.safe_load(heroctl_here("job", "status", "web", "-o", "yaml").out) == body


@pytest.mark.usefixtures("pages")
def test_filters_and_the_namespace_are_sent(heroctl_here: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    heroctl_here("alloc", "list", "--job", "web", "--node", "n1", "--status", "running", "-n", "shop")
    assert api.requests[-1].query == {"job": "web", "node": "n1", "status": "running", "namespace": "shop"}
    heroctl_here("job", "list")
    assert api.requests[-1].query == {}
    monkeypatch.setenv("HEROCTL_NAMESPACE", "prod")
    heroctl_here("job", "list")
    assert api.requests[-1].query == {"namespace": "prod"}


@pytest.mark.usefixtures("pages")
def test_a_name_stays_one_word_of_the_path(heroctl_here: Run, api: FakeApi) -> None:
    assert heroctl_here("job", "status", "../nodes?x=1").code == 1
    assert api.requests[-1].path == "/v1/jobs/../nodes?x=1"


def test_what_a_server_says_cannot_steer_the_terminal(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/jobs", [samples.job("evil\x1b[2J\tname", blocked=[])])
    out = heroctl_here("job", "list").out
    assert "\x1b" not in out
    assert out.splitlines()[1].startswith("evil [2J name\tdefault\t")


def test_nor_does_it_as_json_or_yaml_and_nothing_is_lost(heroctl_here: Run, api: FakeApi) -> None:
    meant = "evil\x9b2J\x7f\u202edlrow"
    told = json.dumps([samples.job(meant, blocked=[])], ensure_ascii=False)
    api.answer("/v1/jobs", Reply(raw=told.encode(), index=1))
    out = heroctl_here("job", "list", "-o", "json").out
    assert not set("\x9b\x7f\u202e") & set(out)
    assert json.loads(out)[0]["name"] == meant
    assert not set("\x9b\x7f") & set(heroctl_here("job", "list", "-o", "yaml").out)


@pytest.mark.usefixtures("pages")
def test_later_requests_of_a_run_carry_the_highest_index_seen(heroctl_here: Run, api: FakeApi) -> None:
    api.page("/v1/jobs/web", samples.job(), index=77)
    heroctl_here("job", "status", "web")
    first, second = api.requests
    assert "X-HeroCtl-Index" not in first.headers
    assert second.headers["X-HeroCtl-Index"] == "77"


def test_a_stale_answer_is_shown_and_said_to_be_one(heroctl_here: Run, api: FakeApi) -> None:
    api.answer("/v1/jobs", Reply(200, [samples.job()], 7, {"X-HeroCtl-Stale": "42"}))
    result = heroctl_here("job", "list", "-o", "name")
    assert result == (0, "web\n", "this may be old: the API has been out of touch with its log for 42 s\n")


def test_watch_prints_a_line_a_change_and_polls_with_the_index(api: FakeApi, tmp_path: Path) -> None:
    api.page("/v1/jobs", [samples.job()], index=7)
    command = [sys.executable, "-m", "heroctl.cli", "job", "list", "--watch", "-o", "json", "--address", api.address]
    env = {**os.environ, "HEROCTL_CONTEXTS": str(tmp_path / "none")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())[0]["name"] == "web"
        until(lambda: len(api.requests) == 2, what="the second request")
        assert api.requests[1].query == {"index": "7", "wait": "300s"}
        api.page("/v1/jobs", [samples.job()], index=8)  # woken, but nothing is new
        until(lambda: len(api.requests) == 3, what="the third request")
        api.page("/v1/jobs", [], index=9)
        assert process.stdout.readline() == b"[]\n"
        process.send_signal(2)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_on_a_terminal_columns_are_aligned_and_coloured_unless_told(
    api: FakeApi, tmp_path: Path, variables: dict[str, str], *, coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "heroctl.cli", "job", "list", "--address", api.address]
    env = {"PATH": os.environ["PATH"], "HEROCTL_CONTEXTS": str(tmp_path / "none"), "TERM": "xterm", "COLUMNS": "120"}
    subprocess.run(command, stdout=theirs, env={**env, **variables}, check=True, timeout=30)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert ("\x1b[32m" in text) is coloured
    if variables.get("TERM") == "dumb":
        assert text.replace("\r\n", "\n") == JOBS
        return
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()]
    assert [line.index(word) for line, word in zip(lines, ("STATUS", "blocked", "running"), strict=True)] == [17] * 3
    assert "\t" not in text


def test_a_job_shows_what_it_is_made_with(heroctl_here: Run, api: FakeApi) -> None:
    job = samples.job(spec={}, meta={})
    job["tasks"][0]["secrets"] = {"key": None, "db": 2}
    api.page("/v1/jobs/web", job)
    api.page("/v1/allocations", [])
    assert "Secrets of web\tdb 2, key missing\n" in heroctl_here("job", "status", "web").out
