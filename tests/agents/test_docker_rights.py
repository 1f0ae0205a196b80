"""What reaches out of a container, on a real engine: nothing of it unasked, all of it where it is allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agents.container import Container, Description
from agents.docker_runtime import DockerRuntime
from agents.runtime import HostPathMissing, NotAllowed
from heroctl.domain.allowance import Allowance
from heroctl.domain.spec import Capabilities, Device, Volume
from tests.agents.kits import DockerKit, clear, free_port
from tests.needs import needs

pytestmark = needs("docker")

NET_ADMIN, NET_RAW = 1 << 12, 1 << 13
EVERY = (1 << int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1) - 1
WHOLE = f"CapBnd:\t{EVERY:016x}" in Path("/proc/self/status").read_text()
PING = "ping -c 1 -W 2 127.0.0.1"


class Machine:
    """An engine behind an agent that allows one folder and the devices below /dev."""

    def __init__(self, folder: Path) -> None:
        self.kit = DockerKit()
        self.srv = folder / "srv"
        self.srv.mkdir()
        self.allowance = Allowance(devices=("/dev",), host_paths=(str(self.srv),))
        self.runtime = DockerRuntime(self.kit.cluster, "n1", publish="127.0.0.1", allowance=self.allowance)

    def describe(self, **fields: Any) -> Description:  # noqa: ANN401 - a description's fields
        return replace(self.kit.describe("stays"), **fields)

    async def start(self, **fields: Any) -> Container:  # noqa: ANN401 - as above
        return await self.runtime.start(self.describe(**fields))

    async def ran(self, container: Container, script: str) -> str:
        return (await self.runtime.exec(container.id, ("/bin/sh", "-c", script), 10)).output.strip()


@pytest.fixture
async def machine(test_image: str, tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    await made.runtime.open()
    try:
        yield made
    finally:
        await clear(made.runtime)
        await made.runtime.close()


def namespace(name: str) -> str:
    return str(Path(f"/proc/self/ns/{name}").readlink())


async def effective(machine: Machine, **fields: Any) -> int:  # noqa: ANN401 - a description's fields
    container = await machine.start(**fields)
    return int(await machine.ran(container, "grep CapEff /proc/1/status | cut -f2"), 16)


async def test_a_usual_container_has_little(machine: Machine) -> None:
    container = await machine.start()
    status = await machine.ran(container, "cat /proc/1/status")
    assert "NoNewPrivs:\t1" in status
    capabilities = int(status.split("CapEff:")[1].split()[0], 16)
    assert not capabilities & (NET_RAW | NET_ADMIN)
    assert await machine.ran(container, "ls /dev/fuse /dev/mem 2>/dev/null") == ""
    host = {namespace(name) for name in ("net", "pid", "ipc")}
    inside = set((await machine.ran(container, "readlink /proc/1/ns/net /proc/1/ns/pid /proc/1/ns/ipc")).split())
    assert not host & inside


async def test_capabilities_are_added_and_dropped(machine: Machine) -> None:
    usual = await effective(machine)
    assert await effective(machine, capabilities=Capabilities(add=("NET_ADMIN",))) == usual | NET_ADMIN
    assert await effective(machine, capabilities=Capabilities(add=("NET_RAW",))) == usual | NET_RAW
    assert await effective(machine, capabilities=Capabilities(drop=("ALL",))) == 0
    assert await effective(machine, capabilities=Capabilities(drop=("ALL",), add=("CHOWN",))) == 1


async def test_ping_needs_no_raw_sockets_where_it_knows_another_way(machine: Machine) -> None:
    """The engine lets every group send echo requests. This ping knows raw sockets only, so it tells who has them."""
    container = await machine.start()
    assert (await machine.ran(container, "cat /proc/sys/net/ipv4/ping_group_range")).split() == ["0", "2147483647"]
    assert "permission denied" in await machine.ran(container, PING)
    raw = await machine.start(capabilities=Capabilities(add=("NET_RAW",)))
    assert "1 packets received" in await machine.ran(raw, PING)


async def test_privileged_is_said_to_the_engine(machine: Machine) -> None:
    made = await machine.runtime._create(machine.describe(privileged=True))
    container = await machine.runtime._docker.containers.get(made.id)
    assert container["HostConfig"]["Privileged"] is True


@pytest.mark.skipif(not WHOLE, reason="this machine holds capabilities back itself, so nothing on it is privileged")
async def test_privileged_is_all_there_is(machine: Machine) -> None:
    container = await machine.start(privileged=True)
    status = await machine.ran(container, "cat /proc/1/status")
    assert "NoNewPrivs:\t0" in status
    assert int(status.split("CapEff:")[1].split()[0], 16) == EVERY


async def test_namespaces_of_the_host_are_shared(machine: Machine) -> None:
    container = await machine.start(network="host", pid="host", ipc="host")
    for name in ("net", "pid", "ipc"):
        assert await machine.ran(container, f"readlink /proc/self/ns/{name}") == namespace(name)


async def test_on_the_hosts_network_health_checks_find_the_way(machine: Machine) -> None:
    described = machine.kit.describe("stays", port=free_port())
    container = await machine.runtime.start(replace(described, network="host"))
    assert await machine.runtime.endpoint(container.id, "http") == ("127.0.0.1", described.ports[0].host)


async def test_devices_are_there_with_their_permissions(machine: Machine) -> None:
    devices = (Device("/dev/null", "/dev/nothing", "r"), Device("/dev/zero", "/dev/nil"))
    container = await machine.start(devices=devices)
    assert await machine.ran(container, "head -c 3 /dev/nil | od -An -tx1") == "00 00 00"
    assert await machine.ran(container, "cat /dev/nothing && echo read") == "read"
    listed = {
        each["PathInContainer"]: each["CgroupPermissions"] for each in await host_config(machine, container, "Devices")
    }
    assert listed == {"/dev/nothing": "r", "/dev/nil": "rwm"}


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="this machine has no /dev/fuse")
async def test_fuse_is_a_device_as_others(machine: Machine) -> None:
    container = await machine.start(devices=(Device("/dev/fuse"),))
    assert await machine.ran(container, "test -c /dev/fuse && echo there") == "there"


async def host_config(machine: Machine, container: Container, field: str) -> Any:  # noqa: ANN401 - JSON
    return (await machine.runtime._docker.containers.get(container.id))["HostConfig"][field]


# ── paths of the host ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_path_of_the_host_is_mounted(machine: Machine) -> None:
    (machine.srv / "in").mkdir()
    (machine.srv / "out").mkdir()
    (machine.srv / "in" / "word").write_text("hello")
    volumes = (Volume(str(machine.srv / "in"), "/in", read_only=True), Volume(str(machine.srv / "out"), "/out"))
    container = await machine.start(volumes=volumes)
    assert (
        await machine.ran(container, "cp /in/word /out/copy; touch /in/no 2>/dev/null || echo read-only") == "read-only"
    )
    assert (machine.srv / "out" / "copy").read_text() == "hello"


async def test_a_link_that_leads_outside_starts_nothing(machine: Machine) -> None:
    (machine.srv / "out").symlink_to("/etc")
    with pytest.raises(NotAllowed) as refused:
        await machine.start(volumes=(Volume(str(machine.srv / "out"), "/out"),))
    assert (refused.value.fault.kind, refused.value.fault.reason) == ("final", "not_allowed")
    assert await machine.runtime.list() == []


async def test_a_path_that_is_not_there_is_not_made(machine: Machine) -> None:
    with pytest.raises(HostPathMissing):
        await machine.start(volumes=(Volume(str(machine.srv / "later"), "/later"),))
    assert not (machine.srv / "later").exists()
    assert await machine.runtime.list() == []


async def test_paths_of_another_machine_are_nobodys_to_give(machine: Machine) -> None:
    """Where the engine is elsewhere, this machine's links say nothing about it."""
    away = DockerRuntime(machine.kit.cluster, "n1", url="tcp://127.0.0.1:9", allowance=machine.allowance)
    await away.open()
    try:
        with pytest.raises(NotAllowed):
            await away.start(machine.describe(volumes=(Volume(str(machine.srv), "/srv"),)))
    finally:
        await away.close()
