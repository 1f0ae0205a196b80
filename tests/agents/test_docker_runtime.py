"""What only Docker has: limits and logs as told, pulls, an engine that goes, comes back, or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest
from aiodocker.exceptions import DockerError
from msgspec.structs import replace

from agents import docker_engine, docker_images, docker_runtime
from agents.docker_runtime import DockerRuntime
from agents.runtime import ImageMissing, PullFailed, StartFault, Unavailable
from tests.agents.kits import DockerKit, clear, free_port, opened
from tests.agents.served import silent
from tests.api import registries
from tests.e2e.engine import Dockerd, dockerd
from tests.needs import needs
from tests.waiting import eventually

pytestmark = needs("docker")


@pytest.fixture
async def kit(test_image: str) -> AsyncIterator[DockerKit]:
    async with opened("docker") as made:
        assert isinstance(made, DockerKit)
        yield made


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    with contextlib.closing(client):
        yield client


async def test_the_engine_is_told_limits_ports_logs_and_labels(kit: DockerKit, engine: docker.DockerClient) -> None:
    port = free_port()
    described = replace(kit.describe("stays", port=port), cpu=0.25, memory=64 * 2**20, stop_signal="SIGINT")
    made = await kit.runtime.start(described)
    shown = engine.api.inspect_container(made.id)
    host = shown["HostConfig"]
    assert (host["CpuQuota"], host["CpuPeriod"], host["CpuShares"]) == (25_000, 100_000, 256)
    assert (host["Memory"], host["MemorySwap"]) == (64 * 2**20, 64 * 2**20)
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "", "HostPort": str(port)}]}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10485760", "max-file": "3"}}
    assert host["CapDrop"] == ["NET_RAW"]
    assert host["RestartPolicy"]["Name"] in ("", "no")
    assert shown["Name"] == f"/{described.name}"
    assert shown["Config"]["StopSignal"] == "SIGINT"
    assert shown["Config"]["Labels"] == described.labels
    assert f"HEROCTL_PORT_HTTP={port}" in shown["Config"]["Env"]


async def test_a_share_of_almost_nothing_and_more_than_the_machine_has_are_taken(kit: DockerKit) -> None:
    for cpu in (0.01, 1000.0):
        made = await kit.runtime.start(replace(kit.describe("stays"), cpu=cpu, memory=1))
        assert made.state == "running"


async def test_ports_listen_where_they_are_published(test_image: str, engine: docker.DockerClient) -> None:
    kit = DockerKit()
    runtime = DockerRuntime(kit.cluster, "n1", publish="127.0.0.1")
    await runtime.open()
    try:
        made = await runtime.start(kit.describe("serves", port=free_port()))
        bound = engine.api.inspect_container(made.id)["HostConfig"]["PortBindings"]["8080/tcp"]
        assert bound[0]["HostIp"] == "127.0.0.1"
    finally:
        await clear(runtime)
        await runtime.close()


async def test_a_container_without_our_labels_is_never_seen(kit: DockerKit, engine: docker.DockerClient) -> None:
    created = engine.api.create_container("heroctl-test/busybox:1", ["true"], labels={"heroctl.cluster": kit.cluster})
    try:
        assert await kit.runtime.list() == []
    finally:
        engine.api.remove_container(created["Id"])


async def test_a_command_that_takes_too_long_does_not_go_on(kit: DockerKit, engine: docker.DockerClient) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    with pytest.raises(TimeoutError):
        await kit.runtime.exec(made.id, ("sleep", "1234"), 0.3)
    await eventually(lambda: "1234" not in str(engine.api.top(made.id)), what="the end of the command")


async def test_a_container_that_was_ended_and_started_again_can_be_told_from_before(
    kit: DockerKit, engine: docker.DockerClient
) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    (before,) = await kit.runtime.list(made.alloc)
    await asyncio.to_thread(engine.api.restart, made.id, timeout=0)
    (after,) = await kit.runtime.list(made.alloc)
    assert (before.state, after.state) == ("running", "running")
    assert made.run == before.run == ""
    assert after.run
    assert [one.run for one in await kit.runtime.list(made.alloc)] == [after.run]


async def test_a_container_made_and_not_started_is_shown_as_such(kit: DockerKit) -> None:
    described = kit.describe("stays")
    made = await kit.runtime._create(described)
    (found,) = await kit.runtime.list()
    assert (found.id, found.state, found.started_at) == (made.id, "created", None)
    await kit.runtime.remove(found.id)


async def test_commands_that_hang_keep_no_connection_from_others(tmp_path: Path) -> None:
    asked: set[asyncio.StreamWriter] = set()

    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.add(writer)

    server = await asyncio.start_unix_server(never, tmp_path / "docker.sock")
    runtime = DockerRuntime("test", "n1", url=f"unix://{tmp_path}/docker.sock")
    await runtime.open()
    checks = [asyncio.create_task(runtime.exec(f"c{number}", ("true",), 60.0)) for number in range(150)]
    try:
        await eventually(lambda: len(asked) == len(checks), what="a connection for each")
    finally:
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        await runtime.close()
        for writer in asked:
            writer.close()
        server.close()
        await server.wait_closed()


# ── an engine that is away ───────────────────────────────────────────────────────────────────────────────────────────


async def test_where_there_is_no_engine_everything_is_unavailable(tmp_path: Path) -> None:
    kit = DockerKit()
    runtime = DockerRuntime("test", "n1", url=f"unix://{tmp_path}/nothing.sock")
    await runtime.open()
    try:
        assert not (await runtime.health()).healthy
        with pytest.raises(Unavailable):
            await runtime.list()
        with pytest.raises(Unavailable):
            await runtime.start(kit.describe("stays"))
        with pytest.raises(Unavailable):
            await runtime.signal("c1", "SIGTERM")
        with pytest.raises(Unavailable):
            await runtime.remove("c1")
    finally:
        await runtime.close()


@needs("netns")
async def test_a_container_that_cannot_be_removed_holds_up_nothing(kit: DockerKit, engine: docker.DockerClient) -> None:
    """An engine that was cut short may leave what it cannot remove; here it is a file that nobody may touch."""
    described = kit.describe("exits")
    made = await kit.runtime.start(described)
    await eventually(lambda: engine.containers.get(made.id).status == "exited", what="its end")
    with untouchable(Path(engine.api.inspect_container(made.id)["GraphDriver"]["Data"]["UpperDir"])):
        with pytest.raises(Unavailable, match="failed to remove"):
            await kit.runtime.remove(made.id)
        assert engine.containers.get(made.id).status == "dead"
        assert await kit.runtime.list(made.alloc) == await kit.runtime.list() == []
        with pytest.raises(StartFault, match="cannot be removed"):
            await kit.runtime.start(described)
    engine.api.remove_container(made.id)


@contextlib.contextmanager
def untouchable(folder: Path) -> Iterator[None]:
    file = folder / "untouchable"
    file.touch()
    subprocess.run(["chattr", "+i", str(file)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(file)], check=True)


def test_an_engine_that_is_ending_is_away_and_costs_no_attempt() -> None:
    said = "failed to update store for object type *libnetwork.endpoint: open : no such file or directory"
    assert isinstance(docker_engine.not_started(DockerError(500, said)), Unavailable)
    assert isinstance(docker_engine.not_started(DockerError(400, "no such program")), StartFault)


async def test_an_engine_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALL", "LONG_CALL"):
        monkeypatch.setattr(docker_runtime, name, 0.2)
    runtime = DockerRuntime("test", "n1", url=f"unix://{tmp_path}/docker.sock")
    await runtime.open()
    async with silent(tmp_path / "docker.sock"):
        assert not (await runtime.health()).healthy
        with pytest.raises(Unavailable, match=r"0\.2 s"):
            await runtime.list()
    await runtime.close()


@pytest.fixture
def own_engine() -> Iterator[Dockerd]:
    with dockerd(Path(tempfile.mkdtemp(prefix="heroctl-agents-"))) as made:  # sockets want short paths
        yield made


@needs("netns")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("live", [True, False], ids=["live-restore", "stock"])
async def test_a_restart_of_the_engine_is_survived(own_engine: Dockerd, live: bool) -> None:  # noqa: FBT001 - a parameter
    own_engine.restore(live=live)
    kit = DockerKit()
    runtime = DockerRuntime(kit.cluster, "n1", url=own_engine.url)
    await runtime.open()
    heard: list[str] = []

    async def listen() -> None:
        async for alloc in runtime.exits():
            heard.append(alloc)  # noqa: PERF401 - the list is looked at meanwhile

    listening = asyncio.create_task(listen())
    try:
        await eventually(lambda: heard == [""], what="the first look")
        made = await runtime.start(kit.describe("stays"))
        await asyncio.to_thread(own_engine.stop)
        assert not (await runtime.health()).healthy
        await asyncio.to_thread(own_engine.start)
        await eventually(lambda: heard.count("") >= 2, timeout=30, what="another look")
        (found,) = await runtime.list()
        assert (found.id, found.state) == (made.id, "running" if live else "exited")
        second = await runtime.start(kit.describe("exits"))
        await eventually(lambda: second.alloc in heard, what="the news of an end")
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await clear(runtime)
        await runtime.close()


# ── pulls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Run a registry that knows no image yet; the value is its address."""
    with registries.registry(tmp_path / "registry") as there:
        yield there.host


@needs("registry")
async def test_an_image_is_pulled_once_for_all_who_ask_and_then_is_here(
    kit: DockerKit, registry: str, engine: docker.DockerClient, test_image: str
) -> None:
    name = f"{registry}/shop"
    engine.images.get(test_image).tag(name, "1")
    engine.images.push(name, "1")
    engine.images.remove(f"{name}:1")
    described = replace(kit.describe("stays"), image=f"{name}:1")
    with pytest.raises(StartFault) as absent:
        await kit.runtime.start(described)
    assert absent.value.fault.kind == "absent"
    try:
        await asyncio.gather(*(kit.runtime.pull(f"{name}:1") for _ in range(5)))
        tagged = await kit.runtime.start(described)
        assert tagged.state == "running"
        [pulled] = [one for one in engine.images.get(f"{name}:1").attrs["RepoDigests"] if one.startswith(name)]
        assert f"{name}@{tagged.image}" == pulled, "what the tag stands for is told with the container"
        pinned = await kit.runtime.start(replace(kit.describe("stays"), image=pulled))
        assert (pinned.state, pinned.image) == ("running", "")
        await clear(kit.runtime)
    finally:
        engine.images.remove(f"{name}:1")


async def test_an_image_that_was_made_here_stands_for_nothing_that_others_could_have(kit: DockerKit) -> None:
    made = await kit.runtime.start(kit.describe("stays"))
    assert (made.state, made.image) == ("running", "")


@needs("registry")
async def test_an_image_that_the_registry_does_not_have_is_missing(kit: DockerKit, registry: str) -> None:
    with pytest.raises(ImageMissing):
        await kit.runtime.pull(f"{registry}/nothing:1")


async def test_a_registry_that_is_not_there_may_be_there_later(kit: DockerKit) -> None:
    with pytest.raises(PullFailed):
        await kit.runtime.pull(f"localhost:{free_port()}/shop:{secrets.token_hex(2)}")


@pytest.mark.parametrize("setting", ["PULL", "PULL_PROGRESS"])
async def test_a_pull_that_stands_still_is_given_up(
    kit: DockerKit, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(docker_images, setting, 0.3)
    async with silent() as port:
        with pytest.raises((PullFailed, Unavailable), match=r"too long|0\.3"):
            await kit.runtime.pull(f"localhost:{port}/shop:1")
