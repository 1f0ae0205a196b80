"""`python -m agents.doctor`: looks this machine over as a node: Docker, cgroups, memory; a finding a line, as JSON."""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from agents import memory
from heroctl.domain.finding import Finding, fail, ok, skip, warn

SOCKET: Final = "/var/run/docker.sock"
OLDEST: Final = (1, 41)  # of the engine's API
_TIMEOUT: Final = 5.0  # seconds


def main() -> int:
    """Print what is found; the exit code is 1 where something does not work."""
    worst = 0
    for finding in findings(os.environ.get("HEROCTL_DOCKER") or os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"):
        sys.stdout.write(f"{msgspec.json.encode(finding).decode()}\n")
        worst |= finding.state == "fail"
    return int(worst)


def findings(url: str) -> Iterator[Finding]:
    """Look at everything; never changes anything."""
    yield _cgroup(Path("/sys/fs/cgroup/cgroup.controllers"))
    yield _memory(memory.likely(os.environ.get("HEROCTL_TMPFS", "")), root=os.geteuid() == 0)
    scheme, _, place = url.partition("://")
    if scheme != "unix":
        yield skip("docker", f"{url} is on another machine")
        return
    if not Path(place).exists():
        yield skip("docker", f"there is no {place} on this machine")
        return
    try:
        info = _ask(place, "/info")
        version = _ask(place, "/version")
    except PermissionError:
        yield fail("docker", f"{place} may not be opened", "run the agent as root, or as a member of the group docker")
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        yield fail("docker", f"{place} does not answer: {error}", "start Docker: systemctl start docker")
    else:
        yield from judged(version, info)


def judged(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge what an engine says of itself."""
    yield ok("docker", f"reached, version {version.get('Version', 'unknown')}")
    spoken = tuple(int(part) for part in str(version.get("ApiVersion", "0.0")).split(".")[:2])
    if spoken < OLDEST:
        yield fail(
            "docker_version", f"its API is {version.get('ApiVersion')}, which is too old", "use Docker 20.10 or newer"
        )
    for warning in info.get("Warnings") or ():
        yield warn("docker_limits", str(warning).removeprefix("WARNING: "), "limits of tasks are not all kept here")
    if info.get("CgroupVersion") == "1":
        yield warn("docker_cgroup", "Docker uses cgroup v1", "boot with systemd.unified_cgroup_hierarchy=1")


def _cgroup(controllers: Path) -> Finding:
    try:
        there = controllers.read_text().split()
    except OSError:
        why = "this machine has no cgroup v2: limits of plain processes are not kept"
        return warn("cgroup", why, "boot with systemd.unified_cgroup_hierarchy=1")
    missing = {"cpu", "memory", "pids"} - set(there)
    if missing:
        return warn("cgroup", f"v2, without {', '.join(sorted(missing))}", "enable these controllers")
    return ok("cgroup", "v2")


def _memory(place: Path | None, *, root: bool) -> Finding:
    if place is not None:
        return ok("secrets", f"files with secrets lie in memory, below {place}")
    if root:
        return ok("secrets", "files with secrets lie in memory: the agent mounts a tmpfs for them")
    return warn("secrets", "no folder is in memory for files with secrets", "mount a tmpfs, and name it with --tmpfs")


class _Socket(http.client.HTTPConnection):
    def __init__(self, place: str) -> None:
        super().__init__("docker", timeout=_TIMEOUT)
        self._place = place

    def connect(self) -> None:
        """Connect to the engine's socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._place)


def _ask(place: str, path: str) -> Mapping[str, Any]:
    connection = _Socket(place)
    try:
        connection.request("GET", path)
        found: Mapping[str, Any] = msgspec.json.decode(connection.getresponse().read(), type=dict[str, Any])
        return found
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
