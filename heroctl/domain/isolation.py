"""What of a task reaches out of its container, or into it: whether it makes sense, and what of it is not for everybody.

One reading of the spec for all who ask: the rights that a submit takes (`needs`), the nodes that allow it
(`allowance`), and the agent that looks once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from heroctl.domain.errors import Problem
from heroctl.domain.spec import Task

ALL: Final = "ALL"
CAPABILITIES: Final = frozenset((
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT",
    "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "WAKE_ALARM",
))  # fmt: skip
# What every container has. The engine's own list has NET_RAW, too: with it a container can speak for its neighbours.
USUAL: Final = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
MOST: Final = 100  # devices, or volumes, or files, of one task
_LONGEST: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

Right = Literal["privileged", "host-network", "host-namespaces", "devices", "capabilities", "host-paths"]


class Taken(NamedTuple):
    """Something beyond a container's walls: the right it takes, which one (a device, a capability …), and its field."""

    right: Right
    what: str
    path: str


def taken(task: Task) -> tuple[Taken, ...]:
    """Give all that a task wants beyond what every container has."""
    return tuple(_taken(task)) if task.driver == "docker" else ()


def _taken(task: Task) -> Iterator[Taken]:
    if task.privileged:
        yield Taken("privileged", "", "privileged")
    if task.network == "host":
        yield Taken("host-network", "", "network")
    if task.pid is not None:
        yield Taken("host-namespaces", "pid", "pid")
    if task.ipc is not None:
        yield Taken("host-namespaces", "ipc", "ipc")
    for number, device in enumerate(task.devices):
        yield Taken("devices", device.source, f"devices[{number}].source")
    for number, name in enumerate(task.capabilities.add):
        if name not in USUAL:
            yield Taken("capabilities", name, f"capabilities.add[{number}]")
    for number, volume in enumerate(task.volumes):
        if not volume.named:
            yield Taken("host-paths", volume.source, f"volumes[{number}].source")


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_clean(path: str) -> bool:
    """Tell whether a path is absolute and spelled in the one way that has no detours."""
    if path == "/":
        return True
    parts = path.split("/")
    spelled = parts[0] == "" and len(parts) > 1 and not any(part in ("", ".", "..") for part in parts[1:])
    return spelled and len(path) < _LONGEST and _CONTROL.search(path) is None


def is_within(path: str, folder: str) -> bool:
    """Tell whether a path is a folder, or somewhere below it; `/srv-evil` is not below `/srv`."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


# ── what makes sense ─────────────────────────────────────────────────────────────────────────────────────────────────


def isolation(task: Task, path: str) -> Iterator[Problem]:
    """Say what is wrong with these fields of a task."""
    if task.driver == "process":
        yield from _without_container(task, path)
        return
    yield from _capabilities(task, f"{path}.capabilities")
    yield from _devices(task, f"{path}.devices")
    yield from _host_ports(task, f"{path}.ports")


def _without_container(task: Task, path: str) -> Iterator[Problem]:
    plain = Task(name="")
    for field in ("privileged", "network", "pid", "ipc", "devices", "capabilities"):
        if getattr(task, field) != getattr(plain, field):
            message = f"driver process has no container, so `{field}` means nothing there"
            yield Problem(f"{path}.{field}", "invalid_value", message)


def _capabilities(task: Task, path: str) -> Iterator[Problem]:
    given = task.capabilities
    if task.privileged and (given.add or given.drop):
        yield Problem(path, "invalid_value", "a privileged container has all capabilities: leave them out")
    for field, names in (("add", given.add), ("drop", given.drop)):
        for number, name in enumerate(names):
            where = f"{path}.{field}[{number}]"
            if name != ALL and name not in CAPABILITIES:
                yield Problem(where, "unknown_capability", _unknown(name))
            elif name in names[:number]:
                yield Problem(where, "duplicate", f"{name} is in the list already")
            elif field == "add" and name in given.drop:
                yield Problem(where, "duplicate", f"{name} is added and dropped")


def _unknown(name: str) -> str:
    plain = name.upper().removeprefix("CAP_")
    meant = f": write {plain}" if plain in CAPABILITIES or plain == ALL else "; capabilities(7) lists them"
    return f"there is no capability {name!r}{meant}"


def _devices(task: Task, path: str) -> Iterator[Problem]:
    yield from _too_many(len(task.devices), path)
    for number, device in enumerate(task.devices):
        yield from _path(device.source, f"{path}[{number}].source")
        if is_clean(device.source) and not (is_within(device.source, "/dev") and device.source != "/dev"):
            yield Problem(f"{path}[{number}].source", "invalid_value", "devices are below /dev")
        if device.target is not None:
            yield from _path(device.target, f"{path}[{number}].target")


def _too_many(count: int, path: str) -> Iterator[Problem]:
    if count > MOST:
        yield Problem(path, "out_of_range", f"at most {MOST}")


def _path(path: str, where: str) -> Iterator[Problem]:
    if not is_clean(path):
        yield Problem(
            where, "invalid_path", f"{path!r}: write it from / on, without . or .. and without a / at its end"
        )


def _host_ports(task: Task, path: str) -> Iterator[Problem]:
    for name, port in task.ports.items():
        if task.network == "host" and port.host != port.container:
            message = f"in the host's network there is only one port: leave `host` out, or say {port.container}"
            yield Problem(f"{path}.{name}.host", "invalid_value", message)
