"""Service addresses of an agent: when they are taken, that they stay, and what waits for them."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.bridge import Bridge, bridge_of
from agents.runtime import Unavailable
from agents.services import NoAddress
from heroctl.domain.endpoints import Endpoint
from tests.agents.rig import WEB, Rig, alloc, rig, stopped

USES = replace(WEB, env={"DB": "${service.db.db.sql}"}, args=("--cache=${service.cache.app.tcp}",))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


async def running(node: Rig, name: str = "a1") -> dict[str, str]:
    """Wait until an allocation runs, and return its environment."""
    await node.until(node.control.is_phase(name, "running"), what=f"{name} to run")
    [container] = [one for one in node.runtime.containers.values() if one.alloc == name]
    return dict(node.runtime.started[container.id].env)


async def asked(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await reader.read()).decode()
    except ConnectionError:
        return ""
    finally:
        writer.close()


async def replica(name: str) -> tuple[asyncio.Server, Endpoint]:
    async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        writer.close()

    server = await asyncio.start_server(says, "127.0.0.1", 0)
    return server, Endpoint("n2", "127.0.0.1", server.sockets[0].getsockname()[1])


async def test_a_service_has_an_address_that_leads_to_where_it_is(node: Rig) -> None:
    first, one = await replica("one")
    second, two = await replica("two")
    node.control.services["default/db.db.sql"] = [one]
    node.start()
    node.control.want(alloc("a1", USES))
    env = await running(node)
    host, _, port = env["DB"].partition(":")
    assert host == "127.0.0.1"
    assert await asked(int(port)) == "one"
    node.control.services["default/db.db.sql"] = [two]
    await node.pass_time(1.0)

    async def moved() -> bool:
        return await asked(int(port)) == "two"

    await node.until(lambda: node.control.services_asked > 1)
    for _ in range(50):
        if await moved():
            break
        await node.clock.advance(0.25)
    assert await moved()
    first.close()
    second.close()


async def test_it_keeps_its_port_over_restarts_of_the_agent(node: Rig) -> None:
    server, endpoint = await replica("db")
    node.control.services["default/db.db.sql"] = [endpoint]
    node.start()
    node.control.want(alloc("a1", USES))
    port = int((await running(node))["DB"].partition(":")[2])
    await node.kill()
    node.start()
    node.control.want(alloc("a0", WEB))
    await running(node, "a0")
    assert await asked(port) == "db"
    node.control.want(alloc("a2", USES))
    assert (await running(node, "a2"))["DB"] == f"127.0.0.1:{port}"
    server.close()


async def test_nobody_is_asked_while_nothing_is_referred_to_and_nothing_listens_afterwards(node: Rig) -> None:
    agent = node.start()
    node.control.want(alloc("a1", WEB))
    await running(node)
    await node.pass_time(10)
    assert node.control.services_asked == 0
    node.control.want(alloc("a2", USES))
    port = int((await running(node, "a2"))["DB"].partition(":")[2])
    node.control.want(stopped(node.control.wanted["a2"]))
    await node.until(node.control.is_phase("a2", "complete"))
    await node.until(lambda: agent.workers["a2"].over)
    await node.pass_time(6)
    with pytest.raises(ConnectionRefusedError):
        await asked(port)


async def test_containers_find_it_on_the_hosts_address_in_their_network_once_that_is_known(node: Rig) -> None:
    away = True

    async def bridge() -> Bridge:
        if away:
            raise Unavailable("the engine is away")
        return Bridge("127.0.0.2", ipaddress.ip_network("127.0.0.0/8"))

    node.bridge = bridge
    agent = node.start()
    node.control.want(alloc("a1", USES))
    await node.until(lambda: "a1" in node.control.seen and node.control.seen["a1"].reason == NoAddress.reason)
    assert not node.runtime.containers
    away = False
    host, _, port = (await running(node))["DB"].partition(":")
    assert host == "127.0.0.2"
    for outside in (replace(USES, network="host"), replace(USES, driver="process")):
        assert agent._room.services.addresses(alloc("a2", outside))["db.db.sql"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"IPAM": None},
        {"IPAM": {"Config": [{"Subnet": "fd00::/64", "Gateway": "fd00::1"}]}},
        {"IPAM": {"Config": [{}]}},
    ],
)
def test_a_network_that_says_no_address_has_none(said: dict[str, object]) -> None:
    assert bridge_of(said) is None


def test_the_hosts_address_in_a_network_is_its_gateway() -> None:
    found = bridge_of({"IPAM": {"Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]}})
    assert found == Bridge("172.17.0.1", ipaddress.ip_network("172.17.0.0/16"))
