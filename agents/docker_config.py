"""From a description to the words in which a Docker engine is asked for a container. Pure."""

from __future__ import annotations

from typing import Any, Final

from agents.container import Description
from heroctl.domain.isolation import ALL
from heroctl.domain.spec import Capabilities, Device, Volume

_PERIOD: Final = 100_000  # µs in which a container may use its share of the processors
_MOST_SHARES: Final = 262_144  # what the kernel accepts
_LEAST_MEMORY: Final = 6 * 1024 * 1024  # what the engine accepts
_RAW: Final = "NET_RAW"  # an engine gives it to everyone; with it a container can speak for its neighbours


def config(description: Description, publish: str) -> dict[str, Any]:
    """Word it. `publish` is the address that published ports listen on."""
    bindings = {} if description.network == "host" else _bindings(description, publish)
    return {
        "Image": description.image,
        "Entrypoint": list(description.command) or None,
        "Cmd": list(description.args) or None,
        "Env": [f"{name}={value}" for name, value in description.env.items()],
        "Labels": description.labels,
        "StopSignal": description.stop_signal,
        "ExposedPorts": {port: {} for port in bindings},
        "HostConfig": {"PortBindings": bindings, **_limits(description), **_isolation(description)},
    }


def _bindings(description: Description, publish: str) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in description.ports:
        bindings.setdefault(f"{port.container}/tcp", []).append({"HostIp": publish, "HostPort": str(port.host)})
    return bindings


def _limits(description: Description) -> dict[str, Any]:
    memory = max(description.memory, _LEAST_MEMORY)
    rotation = {"max-size": str(description.log_bytes), "max-file": str(description.log_files)}
    return {
        # A quota, unlike NanoCpus, may be above what the machine has: a node's cores are a setting.
        "CpuPeriod": _PERIOD,
        "CpuQuota": max(1000, round(description.cpu * _PERIOD)),
        "CpuShares": min(_MOST_SHARES, max(2, round(description.cpu * 1024))),
        "Memory": memory,
        "MemorySwap": memory,
        "LogConfig": {"Type": "json-file", "Config": rotation},
    }


def _isolation(description: Description) -> dict[str, Any]:
    words: dict[str, Any] = {"Privileged": True} if description.privileged else _unprivileged(description.capabilities)
    words["Devices"] = [_device(device) for device in description.devices]
    words["Mounts"] = [_mount(volume) for volume in description.volumes]
    modes = {"PidMode": description.pid, "IpcMode": description.ipc}
    modes["NetworkMode"] = "host" if description.network == "host" else None
    return words | {name: mode for name, mode in modes.items() if mode is not None}


def _unprivileged(capabilities: Capabilities) -> dict[str, Any]:
    """Nothing in the container gains more than it began with, whatever its files say."""
    raw = () if {_RAW, ALL} & {*capabilities.add, *capabilities.drop} else (_RAW,)
    return {
        "CapAdd": list(capabilities.add),
        "CapDrop": [*capabilities.drop, *raw],
        "SecurityOpt": ["no-new-privileges"],
    }


def _device(device: Device) -> dict[str, str]:
    return {
        "PathOnHost": device.source,
        "PathInContainer": device.target or device.source,
        "CgroupPermissions": device.permissions,
    }


def _mount(volume: Volume) -> dict[str, Any]:
    """A mount, unlike a bind of the old kind, makes no folder where there is none."""
    return {
        "Type": "bind",
        "Source": volume.source,
        "Target": volume.target,
        "ReadOnly": volume.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
