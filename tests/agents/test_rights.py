"""An agent holds what it is told to run against what its own settings allow, whoever told it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents import __main__ as program
from agents.container import Description, describe
from agents.docker_config import config
from agents.host_paths import grounded
from agents.runtime import HostPathMissing, NotAllowed
from agents.settings import Settings
from agents.step import Reserve, Start, Wish, step
from heroctl.domain.allowance import NOTHING, Allowance
from heroctl.domain.settings import SettingsError, load
from heroctl.domain.spec import Capabilities, Device, Port, Task, Volume
from tests.agents.kits import description
from tests.agents.world import NODE, WEB, World, assigned

EVERYTHING = Allowance(
    privileged=True,
    host_network=True,
    host_namespaces=True,
    devices=("/dev",),
    capabilities=("ALL",),
    host_paths=("/",),
)
REACHES = [
    (replace(WEB, privileged=True), "privileged containers"),
    (replace(WEB, network="host"), "the host's network"),
    (replace(WEB, pid="host"), "the host's pid namespace"),
    (replace(WEB, ipc="host"), "the host's ipc namespace"),
    (replace(WEB, devices=(Device("/dev/fuse"),)), "device /dev/fuse"),
    (replace(WEB, capabilities=Capabilities(add=("SYS_ADMIN",))), "capability SYS_ADMIN"),
    (replace(WEB, volumes=(Volume("/srv/data", "/data"),)), "host path /srv/data"),
    (replace(WEB, volumes=(Volume("/srv/../etc", "/data"),)), "host path /srv/../etc"),
]


# ── before anything is done ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("spec", "said"), REACHES, ids=[said for _, said in REACHES])
def test_what_is_not_allowed_is_refused_before_anything_is_done(spec: Task, said: str) -> None:
    world = World(assigned(spec))
    decided = step(Wish("run", assigned(spec)), world.record, (), 0.0, NODE)
    assert not isinstance(decided.action, Reserve | Start)
    record = decided.record
    assert (record.phase, record.reason) == ("failed", "not_allowed")
    assert record.message == f"this node does not allow {said}"


@pytest.mark.parametrize("spec", [spec for spec, _ in REACHES[:-1]], ids=[said for _, said in REACHES[:-1]])
def test_what_is_allowed_goes_on(spec: Task) -> None:
    node = replace(NODE, allowance=EVERYTHING)
    decided = step(Wish("run", assigned(spec)), World(assigned(spec)).record, (), 0.0, node)
    assert isinstance(decided.action, Reserve)


def test_on_the_hosts_network_a_program_listens_on_the_hosts_port() -> None:
    spec = replace(WEB, network="host", ports={"http": Port(8080, 8080)}, args=("${port.http}",))
    made = describe(assigned(spec), NODE, 1, {"http": 8080}, "inc1")
    assert (made.args, made.env["HEROCTL_PORT_HTTP"], made.network) == (("8080",), "8080", "host")


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings(*words: str) -> Settings:
    return load(Settings, ["--api", "http://api", *words], {})


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--allow-device", "/srv"),
        ("--allow-device", "/dev/../etc"),
        ("--allow-host-path", "srv"),
        ("--allow-host-path", "/srv/"),
        ("--allow-host-path", "/srv/../etc"),
        ("--allow-host-path", "/srv,/data"),
        ("--allow-capability", "FLY"),
        ("--allow-capability", "CAP_NET_ADMIN"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(flag: str, value: str) -> None:
    with pytest.raises(SettingsError, match=flag):
        settings(flag, value)


def test_by_default_nothing_is_allowed() -> None:
    allowance = program._allowance(settings())
    assert replace(allowance, kept=()) == NOTHING
    assert allowance.attributes() == {}


def test_settings_say_what_is_allowed_and_the_agents_own_stays_closed(tmp_path: Path) -> None:
    words = ["--allow-privileged", "--allow-host-network", "--allow-host-namespaces", "--allow-device", "/dev/fuse"]
    words += ["--allow-capability", "NET_ADMIN", "--allow-host-path", "/srv", "--allow-host-path", "/data"]
    words += ["--data", str(tmp_path), "--docker", "unix:///run/own.sock"]
    allowance = program._allowance(settings(*words))
    assert allowance == Allowance(
        privileged=True,
        host_network=True,
        host_namespaces=True,
        devices=("/dev/fuse",),
        capabilities=("NET_ADMIN",),
        host_paths=("/srv", "/data"),
        kept=(str(tmp_path), "/run/own.sock"),
    )
    assert allowance.attributes()["docker.host_paths"] == "/srv,/data"


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def mounting(*sources: Path) -> Description:
    volumes = tuple(Volume(str(source), f"/data{at}") for at, source in enumerate(sources))
    return description("test", "a1", 1, 0, volumes=volumes)


def allowing(*paths: Path, kept: tuple[str, ...] = ()) -> Allowance:
    return Allowance(host_paths=tuple(map(str, paths)), kept=kept)


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    folder = tmp_path / "srv"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return folder


def test_a_link_within_is_followed_and_the_place_is_what_is_mounted(srv: Path) -> None:
    (srv / "current").symlink_to("data")
    made = grounded(mounting(srv / "current"), allowing(srv))
    assert made.volumes[0].source == str(srv / "data")


@pytest.mark.parametrize("to", ["../elsewhere", "/", "/etc", "/proc/1/root"])
def test_a_link_that_leads_outside_is_refused(srv: Path, to: str) -> None:
    (srv / "out").symlink_to(to)
    with pytest.raises(NotAllowed, match="which"):
        grounded(mounting(srv / "data", srv / "out"), allowing(srv))


def test_a_folder_behind_a_link_is_refused_as_well(srv: Path) -> None:
    (srv.parent / "elsewhere" / "deep").mkdir()
    (srv / "out").symlink_to(srv.parent / "elsewhere")
    with pytest.raises(NotAllowed):
        grounded(mounting(srv / "out" / "deep"), allowing(srv))


def test_a_link_to_what_stays_closed_is_refused(srv: Path) -> None:
    (srv / "agent").mkdir()
    (srv / "innocent").symlink_to("agent")
    with pytest.raises(NotAllowed):
        grounded(mounting(srv / "innocent"), allowing(srv, kept=(str(srv / "agent"),)))


def test_an_allowed_path_may_be_a_link_itself(srv: Path) -> None:
    """Who runs the machine made it, and means what it leads to."""
    link = srv.parent / "link"
    link.symlink_to(srv)
    assert grounded(mounting(link / "data"), allowing(link)).volumes[0].source == str(srv / "data")


def test_what_is_not_there_is_not_made(srv: Path) -> None:
    (srv / "circle").symlink_to("circle")
    for name in ("nothing", "circle"):
        with pytest.raises(HostPathMissing) as missing:
            grounded(mounting(srv / name), allowing(srv))
        assert (missing.value.fault.kind, missing.value.fault.reason) == ("attempt", "host_path_missing")
    assert not (srv / "nothing").exists()


def test_a_device_is_a_device(srv: Path) -> None:
    def having(source: str) -> Description:
        return description("test", "a1", 1, 0, devices=(Device(source),))

    (srv / "null").symlink_to("/dev/null")
    made = grounded(having(str(srv / "null")), Allowance(devices=("/dev/null",))).devices[0]
    assert (made.source, made.target) == ("/dev/null", str(srv / "null"))
    for source in ("/dev/zero", str(srv / "data"), os.devnull + "-evil"):
        with pytest.raises((NotAllowed, HostPathMissing)):
            grounded(having(source), Allowance(devices=("/dev/null", str(srv / "data" / "x"))))
    (srv / "file").touch()
    with pytest.raises(NotAllowed):
        grounded(having(str(srv / "file")), Allowance(devices=(str(srv),)))


# ── the engine's words ───────────────────────────────────────────────────────────────────────────────────────────────


def host_config(**fields: object) -> dict[str, object]:
    words = config(description("test", "a1", 1, 20_000, **fields), "127.0.0.1")["HostConfig"]
    assert isinstance(words, dict)
    return words


@pytest.mark.parametrize(
    ("capabilities", "add", "drop"),
    [
        (Capabilities(), [], ["NET_RAW"]),
        (Capabilities(drop=("ALL",), add=("CHOWN",)), ["CHOWN"], ["ALL"]),
        (Capabilities(add=("NET_RAW",)), ["NET_RAW"], []),
        (Capabilities(add=("ALL",)), ["ALL"], []),
        (Capabilities(drop=("NET_RAW", "CHOWN")), [], ["NET_RAW", "CHOWN"]),
    ],
    ids=str,
)
def test_net_raw_is_dropped_unless_it_is_asked_for(capabilities: Capabilities, add: list[str], drop: list[str]) -> None:
    words = host_config(capabilities=capabilities)
    assert (words["CapAdd"], words["CapDrop"], words["SecurityOpt"]) == (add, drop, ["no-new-privileges"])


def test_only_a_privileged_container_may_gain_privileges() -> None:
    words = host_config(privileged=True)
    assert words["Privileged"] is True
    assert "SecurityOpt" not in words


def test_a_usual_container_shares_nothing() -> None:
    assert {"Privileged", "PidMode", "IpcMode", "NetworkMode"} & host_config().keys() == set()
    assert (host_config()["Devices"], host_config()["Mounts"]) == ([], [])


def test_on_the_hosts_network_nothing_is_published() -> None:
    words = host_config(network="host", pid="host", ipc="host")
    assert (words["NetworkMode"], words["PidMode"], words["IpcMode"]) == ("host", "host", "host")
    assert words["PortBindings"] == {}
