"""Files, secrets, named volumes and private registries, on a whole cluster: what workloads see, and where it lies."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docker
import pytest
from docker.errors import ImageNotFound

from agents.memory import Memory, in_memory
from tests.api.registries import ROBOT, Registry, registry
from tests.e2e.cluster import Cluster
from tests.e2e.runtimes import Workload
from tests.e2e.specs import PATIENT, job
from tests.needs import needs
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)
VALUE: Final = "open-sesame-7d1f"


@pytest.fixture
def cell(there: Cluster) -> Iterator[Cluster]:
    """A cluster whose node's place in memory goes with the test."""
    yield there
    for folder in places(there):
        shutil.rmtree(folder, ignore_errors=True)


def places(there: Cluster) -> list[Path]:
    """Return the node's folders in memory, wherever the agent found a place."""
    nodes = there.client.get("/v1/nodes").body
    return [folder for node in nodes for folder in Memory(f"{there.id}.{node['id']}").existing()]


def keeps(there: Cluster, name: str, value: str) -> None:
    there.client.post("/v1/secrets", {"name": name, "value": value})


def at(there: Cluster, name: str) -> str:
    """Name a place as this runtime's tasks do."""
    return f"/{name}" if there.runtime.name == "docker" else name


def seen(there: Cluster, workload: Workload, name: str) -> Path:
    """Give the place of this machine where a workload sees a name: its own root, or where it started."""
    if there.runtime.name == "process":
        return Path(f"/proc/{workload.id}/cwd") / name
    with contextlib.closing(docker.from_env()) as engine:
        pid = engine.containers.get(workload.id).attrs["State"]["Pid"]
    return Path(f"/proc/{pid}/root") / name


def variables(there: Cluster, workload: Workload) -> dict[str, str]:
    pid = workload.id if there.runtime.name == "process" else seen(there, workload, "").parts[2]
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs if pair)


def holding(folder: Path, value: str) -> list[Path]:
    """Name the files below a folder that hold a value, links not followed."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in found if value.encode() in path.read_bytes()]


def arguments_with(value: str) -> list[str]:
    """Give the command lines of this machine in which a value stands."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(line.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if value in line]


def spec(there: Cluster, **task: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a task
    files = [
        {"path": at(there, "etc/app.conf"), "content": "node=${node.name} slot=${alloc.slot}"},
        {"path": at(there, "run/word"), "content": "<${secret.word}>", "mode": "0400"},
    ]
    return job(there.runtime, "shop", **{"files": files, "env": {"WORD": "${secret.word}"}, **task})


def test_secrets_are_seen_by_the_workload_and_lie_on_no_disk(cell: Cluster) -> None:
    keeps(cell, "word", VALUE)
    cell.submit(spec(cell))
    cell.wait_deployed("shop", 1)
    [workload] = cell.wait_running("shop", 1)
    assert seen(cell, workload, "etc/app.conf").read_text() == "node=node-1 slot=0"
    assert seen(cell, workload, "run/word").read_text() == f"<{VALUE}>"
    assert variables(cell, workload)["WORD"] == VALUE
    [folder] = places(cell)
    assert in_memory(folder)
    assert holding(folder, VALUE)
    agent = cell.folder / "agent-1"
    assert holding(agent, "node-1"), "what is not secret is found: the search sees"
    assert holding(agent, VALUE) == []
    assert VALUE not in cell.parts["agent-1"].log.read_text()
    assert arguments_with("node-1") != []
    assert arguments_with(VALUE) == []
    cell.delete("shop")
    until(lambda: not holding(folder, VALUE), what="the end of the secret in memory")
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_what_a_killed_agent_left_in_memory_is_swept_and_what_runs_keeps_its_own(cell: Cluster) -> None:
    keeps(cell, "word", VALUE)
    cell.submit(spec(cell))
    cell.wait_deployed("shop", 1)
    [before] = cell.wait_running("shop", 1)
    [folder] = places(cell)
    cell.parts["agent-1"].kill9()
    left = folder / cell.runtime.name / "nobody.1"
    left.mkdir()
    (left / "0").write_text(VALUE)
    cell.parts["agent-1"].start()
    until(lambda: not left.exists(), what="the sweep")
    assert cell.wait_running("shop", 1) == [before]
    assert seen(cell, before, "run/word").read_text() == f"<{VALUE}>"


def test_a_restart_gets_its_secrets_anew(cell: Cluster) -> None:
    keeps(cell, "word", VALUE)
    cell.submit(spec(cell, restart={"attempts": 3, "delay": "100ms"}))
    cell.wait_deployed("shop", 1)
    [first] = cell.wait_running("shop", 1)
    cell.runtime.crash(first)
    until(lambda: [found.attempt for found in cell.running("shop")] == [2], timeout=30, what="the second attempt")
    [second] = cell.wait_running("shop", 1)
    assert seen(cell, second, "run/word").read_text() == f"<{VALUE}>"
    [folder] = places(cell)
    assert {path.parent.name.split(".")[1] for path in holding(folder, VALUE)} == {"2"}, "of the first nothing is left"


def test_without_an_api_a_start_waits_for_its_secrets(cell: Cluster) -> None:
    keeps(cell, "word", VALUE)
    cell.submit(spec(cell, restart={"attempts": 3, "delay": "100ms"}))
    cell.wait_deployed("shop", 1)
    [first] = cell.wait_running("shop", 1)
    cell.parts["api-1"].kill9()
    cell.runtime.crash(first)
    until(lambda: "secrets_not_answered" in cell.parts["agent-1"].log.read_text(), what="a question nobody answers")
    assert cell.running("shop") == []
    cell.parts["api-1"].start()
    cell.wait_healthy("shop", 1, timeout=60)
    [second] = cell.wait_running("shop", 1)
    assert (second.alloc, second.attempt) == (first.alloc, 2)


def test_a_named_volume_outlives_replicas_and_versions(cell: Cluster) -> None:
    there = at(cell, "data")
    script = f"echo $RELEASE >> {there}/log; {PATIENT}"
    volumes = [{"source": "notes", "target": there}]
    for version, release in enumerate(("one", "two"), 1):
        cell.submit(job(cell.runtime, "keeper", release=release, script=script, volumes=volumes))
        cell.wait_deployed("keeper", version)
    [workload] = cell.wait_running("keeper", 1)
    assert seen(cell, workload, "data/log").read_text().split() == ["one", "two"]
    cell.delete("keeper")
    kept = cell.folder / "agent-1/volumes/default/notes/log"
    assert kept.read_text().split() == ["one", "two"], "a volume outlives its job"
    kept.unlink()


# ── registries ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def private(tmp_path: Path, test_image: str) -> Iterator[Registry]:
    """Run a registry for `robot` alone, with the image `shop`; the engine has nothing of it."""
    with registry(tmp_path / "registry", users=ROBOT) as made, contextlib.closing(docker.from_env()) as engine:
        name = f"{made.host}/shop"
        engine.images.get(test_image).tag(name, "1")
        auth = {"username": "robot", "password": "beep-boop"}
        for line in engine.images.push(name, "1", auth_config=auth, stream=True, decode=True):
            assert "error" not in line, line
        forget(engine, name)
        yield made
        forget(engine, name)


def forget(engine: docker.DockerClient, name: str) -> None:
    for found in engine.images.list(name):
        for each in (*found.attrs["RepoTags"], *found.attrs["RepoDigests"]):
            if each.startswith(name):
                with contextlib.suppress(ImageNotFound):
                    engine.images.remove(each)


@needs("docker")
@needs("registry")
@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
def test_an_image_is_pulled_as_whoever_a_secret_says(cell: Cluster, private: Registry) -> None:
    keeps(cell, "registry", "robot:wrong-password")
    fields: dict[str, Any] = {"image": f"{private.host}/shop:1", "image_auth": "${secret.registry}"}
    fields |= {"reschedule": {"delay": "1s", "max_delay": "2s"}}
    cell.submit(job(cell.runtime, "private", **fields))

    def refused(allocs: list[dict[str, Any]]) -> bool:
        return any(alloc["reason"] == "image_auth_failed" for alloc in allocs)

    seen = cell.client.wait_until("/v1/allocations", refused, job="private", timeout=60, what="the refusal")
    assert all("wrong-password" not in str(alloc) for alloc in seen)
    keeps(cell, "registry", "robot:beep-boop")
    cell.submit(job(cell.runtime, "private", release="two", **fields))
    cell.wait_healthy("private", 1, timeout=90)
    [workload] = cell.wait_running("private", 1)
    with contextlib.closing(docker.from_env()) as engine:
        assert str(engine.containers.get(workload.id).attrs["Config"]["Image"]).startswith(private.host)
    assert "beep-boop" not in cell.parts["agent-1"].log.read_text()
