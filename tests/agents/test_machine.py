"""The machine, the ports and the settings of an agent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agents import node
from agents.ports import NoPortLeft, PortRange, Ports, listens
from agents.settings import Settings
from heroctl.domain.settings import SettingsError, load


def test_ports_are_given_out_once_and_last_used_last() -> None:
    ports = Ports(PortRange(20_000, 20_003), lambda port: port == 20_001)
    assert ports.reserve("a", ["http", "grpc"], ()) == {"http": 20_000, "grpc": 20_002}
    ports.release("a")
    assert ports.reserve("b", ["http"], ()) == {"http": 20_003}
    assert ports.reserve("c", ["http"], [20_000]) == {"http": 20_002}


def test_ports_that_run_out_are_said() -> None:
    ports = Ports(PortRange(20_000, 20_001), lambda _: False)
    ports.hold("a", {"http": 20_000})
    with pytest.raises(NoPortLeft):
        ports.reserve("b", ["x", "y"], ())


def test_a_port_that_someone_listens_on_is_taken() -> None:
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert listens(port)
    assert not listens(port)


@pytest.mark.parametrize("text", ["20000", "20000-", "x-y", "25000-20000", "19999-20005", "20000-32001"])
def test_a_range_is_within_what_is_set_aside(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|within"):
        PortRange.parse(text)


def test_the_machine_tells_what_it_is(tmp_path: Path) -> None:
    found = node.attributes()
    assert found["os"] == "linux"
    assert set(found) >= {"arch", "kernel", "hostname", "cpus", "agent_version"}
    assert all(found.values())
    assert len(node.boot_id()) == 36
    has = node.capacity(tmp_path, cpu=None, memory=None, disk=None)
    assert has.cpu >= 1
    assert has.memory > 10**8
    assert has.disk > 10**8
    share = node.capacity(tmp_path, cpu=0.5, memory=10, disk=20)
    assert (share.cpu, share.memory, share.disk) == (0.5, 10, 20)


def test_the_address_is_the_one_that_leads_to_the_api() -> None:
    assert node.address(["http://127.0.0.1:8080"]) == "127.0.0.1"
    assert node.address(["http://no-such-host.invalid", "http://127.0.0.1"]) == "127.0.0.1"


def test_an_api_needs_to_be_a_url() -> None:
    with pytest.raises(SettingsError, match="not a URL"):
        load(Settings, ["--api", "localhost:8080"], {})
    with pytest.raises(SettingsError, match="is needed"):
        load(Settings, [], {})


def test_room_is_made_before_there_is_too_little() -> None:
    made = load(Settings, ["--api", "http://a", "--disk-crowded", "70", "--disk-low", "90", "--keep-images", "1h"], {})
    assert (made.disk_crowded, made.disk_low, made.keep_images.seconds) == (70, 90, 3600)
    for flags in (["--disk-crowded", "95"], ["--disk-low", "80"]):
        with pytest.raises(SettingsError, match="below --disk-low"):
            load(Settings, ["--api", "http://a", *flags], {})
