"""`heroctl dev` end to end: a cluster comes up, works, ends whole, and comes back however it ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import docker
import httpx2
import psycopg
import pytest

from heroctl.dev.processes import Identity, identity
from tests import servers
from tests.e2e import leftovers
from tests.needs import needs
from tests.waiting import until

pytestmark = [pytest.mark.dev, pytest.mark.timeout(180)]

READY_S: Final = 60.0
END_S: Final = 10.0
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)"


class Dev:
    """One data folder, and the dev process that runs on it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = place / "data"
        self.contexts = place / "contexts.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self._runs = 0

    def start(self, *words: str, runtime: str = "process") -> None:
        """Start it; return when it is ready."""
        self._runs += 1
        command = [sys.executable, "-m", "heroctl.cli", "dev", "--data", str(self.data), "--runtime", runtime, *words]
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.environ(), start_new_session=True
            )
        until(self._ready, timeout=READY_S, what="ready")

    def demo(self) -> str:
        """Wait until the demo has told where it is; return that."""
        found = until(lambda: re.findall(r"hello runs and is healthy: (http://\S+)", self.out), timeout=60, what="demo")
        return str(found[0])

    def environ(self) -> dict[str, str]:
        """The environment of a user of this cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEROCTL_")}
        return {**kept, "HEROCTL_CONTEXTS": str(self.contexts), "HEROCTL_REGISTRIES": ""}  # nobody outside is asked

    @property
    def out(self) -> str:
        """What this run said on stdout."""
        return self._file("out").read_text()

    @property
    def err(self) -> str:
        """What this run said on stderr."""
        return self._file("err").read_text()

    @property
    def report(self) -> dict[str, Any]:
        """What dev.json says."""
        return dict(json.loads((self.data / "dev.json").read_bytes()))

    def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """Ask the API."""
        report = self.report
        answer = httpx2.get(report["url"] + path, headers={"Authorization": f"Bearer {report['token']}"})
        return answer.raise_for_status().json()

    def heroctl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command line as its user does."""
        command = [sys.executable, "-m", "heroctl.cli", *words]
        return subprocess.run(
            command, env=self.environ(), input=stdin, capture_output=True, text=True, timeout=90, check=False
        )

    def healthy(self, job: str) -> list[dict[str, Any]]:
        """Wait until all replicas of a job are healthy; return what there is of it."""

        def look() -> list[dict[str, Any]]:
            [task] = self.get(f"/v1/jobs/{job}")["tasks"]
            over = ("complete", "failed", "lost")
            allocs = [alloc for alloc in self.get(f"/v1/allocations?job={job}") if alloc["status"] not in over]
            return allocs if task["healthy"] == task["desired"] == len(allocs) else []

        return until(look, timeout=45, what=f"a healthy {job}")

    def workloads(self) -> dict[int, Identity]:
        """Find the outermost processes of this cluster's workloads."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                inside = (entry / "cwd").readlink().is_relative_to(self.data)
                ours = inside and b"HEROCTL_ALLOC=" in (entry / "environ").read_bytes()
            except OSError:
                continue
            if ours and (one := identity(int(entry.name))):
                found[one.pid] = one
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it in order, in time, with nothing left."""
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(timeout=END_S)
        assert leftovers.processes(self.data) == {}, self.err[-6000:]
        assert not (self.data / "dev.json").exists()
        return code

    def kill9(self) -> None:
        """End the dev process alone, without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended while starting:\n{self.err[-5000:]}"
        return self.out.startswith("ready ")

    def _file(self, name: str) -> Path:
        return self.place / f"{self._runs}.{name}"


@contextmanager
def cluster() -> Iterator[Dev]:
    place = Path(tempfile.mkdtemp(prefix="heroctl-dev-test-"))
    watcher = leftovers.watch(place)
    dev = Dev(place)
    try:
        yield dev
    finally:
        if dev.process is not None and dev.process.poll() is None:
            dev.kill9()
        leftovers.end(place)
        watcher.kill()
        watcher.wait()
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def dev() -> Iterator[Dev]:
    with cluster() as made:
        yield made


def test_the_first_minute(dev: Dev) -> None:
    dev.start("--demo")
    assert httpx2.get(dev.demo()).text == "Hello from hello on node-1, replica 0\n"
    report = dev.report
    assert dev.out.splitlines()[0].split()[:2] == ["ready", report["url"]]
    assert stat.S_IMODE((dev.data / "dev.json").stat().st_mode) == 0o600
    assert set(report["pids"]) == {"dev", "postgres", "valkey", "api", "reconciler", "agent-1"}
    assert all(identity(pid) for pid in report["pids"].values())
    for needed in ("user admin", "dev.json", "heroctl", "job list"):
        assert needed in dev.out
    # The command line of this user is logged in.
    assert dev.heroctl("job", "list", "-o", "name").stdout == "hello\n"
    # The password is the one of admin.
    login = ("login", report["url"], "-u", "admin", "--password-stdin", "--context", "mine")
    assert dev.heroctl(*login, stdin=report["admin_password"]).returncode == 0
    # The processes' role did all this, and can undo none of it.
    sockets = quote(str(dev.data / "run"), safe="")
    with psycopg.connect(f"postgresql://heroctl@/heroctl?host={sockets}", autocommit=True) as connection:
        assert connection.execute("SELECT count(*) > 3 FROM heroctl.events").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM heroctl.events")
    # Nobody else gets this folder.
    other = dev.heroctl("dev", "--data", str(dev.data))
    assert (other.returncode, f"a dev cluster runs on {dev.data} already" in other.stderr) == (1, True)
    assert report["url"] in other.stderr
    assert dev.report == report
    assert dev.stop() == 0


def test_it_ends_in_time_with_stubborn_workloads_and_comes_back_with_its_state(dev: Dev) -> None:
    dev.start()
    spec = {
        "job": "stubborn",
        "tasks": [
            {
                "name": "one",
                "driver": "process",
                "command": [sys.executable, "-c", STUBBORN],
                "resources": {"cpu": 0.1, "memory": "64MB"},
                "update": {"min_healthy_time": "0s"},
                "kill_timeout": "60s",
            }
        ],
    }
    assert dev.heroctl("job", "run", "-", "--timeout", "45s", stdin=json.dumps(spec)).returncode == 0
    before = dev.report
    assert len(dev.workloads()) == 1
    assert dev.stop(signal.SIGINT) == 0
    dev.start()
    after = dev.report
    assert [after[name] for name in ("url", "token", "admin_password")] == [
        before[name] for name in ("url", "token", "admin_password")
    ]
    until(dev.workloads, timeout=30, what="the workload's return")
    [alloc] = dev.healthy("stubborn")
    assert alloc["version"] == 1
    assert len(dev.workloads()) == 1
    dev.stop()


def test_killed_alone_it_finds_its_workloads_again(dev: Dev) -> None:
    dev.start("--demo")
    dev.demo()
    [before] = dev.healthy("hello")
    report, workloads = dev.report, dev.workloads()
    children = [identity(pid) for name, pid in report["pids"].items() if name != "dev"]
    dev.kill9()
    until(lambda: not any(child and child.lives for child in children), what="the end of its children")
    assert dev.workloads() == workloads
    assert all(one.lives for one in workloads.values())
    dev.start()
    [after] = dev.healthy("hello")
    assert dev.report["token"] == report["token"]
    assert (after["id"], after["attempt"], after["ports"]) == (before["id"], before["attempt"], before["ports"])
    assert dev.workloads() == workloads
    dev.stop()


def test_killed_with_everything_it_runs_everything_again_once(dev: Dev) -> None:
    dev.start("--demo")
    dev.demo()
    leftovers.end(dev.data)
    assert dev.process is not None
    dev.process.wait(timeout=5)
    dev.start()
    until(dev.workloads, timeout=30, what="the workload's return")
    dev.healthy("hello")
    assert len(dev.workloads()) == 1
    dev.stop()


@pytest.mark.parametrize("name", ["api", "reconciler", "agent-1", "valkey", "postgres"])
def test_a_child_that_is_killed_is_started_again_and_nothing_is_lost(running: Dev, name: str) -> None:
    [before] = running.healthy("hello")
    workloads, pid = running.workloads(), running.report["pids"][name]
    os.kill(pid, signal.SIGKILL)
    until(lambda: running.report["pids"][name] != pid, timeout=20, what=f"another {name}")
    assert f"{name} ended by SIGKILL" in running.err
    again = ("job", "run", "examples/hello.yaml", "--timeout", "60s")
    until(lambda: running.heroctl(*again).returncode == 0, timeout=60, what="an unchanged and healthy job")
    [after] = running.healthy("hello")
    assert after["id"] == before["id"]
    assert running.workloads() == workloads


def test_a_port_that_is_taken_is_no_obstacle(running: Dev) -> None:
    port = int(running.report["url"].rpartition(":")[2])
    with cluster() as other:
        other.start("--port", str(port), "--agents", "2")
        assert f"port {port} is taken" in other.err
        assert running.report["url"] != other.report["url"]
        nodes = {node["name"]: node for node in other.get("/v1/nodes")}
        assert {name: node["status"] for name, node in nodes.items()} == {"node-1": "ready", "node-2": "ready"}
        assert sum(node["cpu"]["total"] for node in nodes.values()) == running.get("/v1/nodes")[0]["cpu"]["total"]
        other.stop()


@needs("docker")
def test_containers_run_where_an_engine_answers_and_end_with_the_cluster(dev: Dev, test_image: str) -> None:
    dev.start(runtime="auto")
    [node] = dev.get("/v1/nodes")
    assert {name: driver["healthy"] for name, driver in node["drivers"].items()} == {"docker": True, "process": True}
    task = {"name": "one", "image": test_image, "command": ["sleep", "600"], "kill_timeout": "1s"}
    spec = {"job": "boxed", "tasks": [{**task, "update": {"min_healthy_time": "0s"}}]}
    assert dev.heroctl("job", "run", "-", "--timeout", "45s", stdin=json.dumps(spec)).returncode == 0
    engine = docker.from_env()
    ours: dict[str, str | list[str] | bool] = {"label": f"heroctl.node={node['id']}"}
    assert len(engine.containers.list(filters=ours)) == 1
    dev.stop()
    assert engine.containers.list(filters=ours, all=True) == []
    engine.close()


def test_nodes_come_and_go_with_what_they_run(dev: Dev) -> None:
    dev.start("--agents", "2")
    sleep = {"driver": "process", "command": ["sleep", "600"], "resources": {"cpu": 0.1, "memory": "32MB"}}
    update = {"min_healthy_time": "0s"}
    spec = {"job": "spread", "tasks": [{"name": "one", "count": 6, **sleep, "update": update}]}
    assert dev.heroctl("job", "run", "-", "--timeout", "45s", stdin=json.dumps(spec)).returncode == 0
    # Killed, so that workloads of both nodes run on while a smaller cluster starts.
    dev.kill9()
    dev.start("--agents", "1")
    assert "node-2 is of an earlier start with more nodes: removing it" in dev.err
    assert [(node["name"], node["status"]) for node in dev.get("/v1/nodes")] == [("node-1", "ready")]
    assert {alloc["node"] for alloc in dev.healthy("spread")} == {"node-1"}
    until(lambda: len(dev.workloads()) == 6, timeout=20, what="six workloads")
    # A node that its user removes goes; the next start brings a new one.
    assert dev.heroctl("node", "remove", "node-1").returncode == 0
    until(lambda: "agent-1 ended for good" in dev.err, timeout=20, what="the end of the agent")
    assert dev.workloads() == {}
    dev.stop()
    dev.start("--agents", "1")
    dev.healthy("spread")
    dev.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[Dev]:
    """One cluster with the demo for several tests."""
    with cluster() as made:
        made.start("--demo", "--port", str(servers.free_port()))
        made.demo()
        yield made
        made.stop()
