"""Ends whatever a cluster of the tests left behind: every process that knows its folder.

`python -m tests.e2e.leftovers OWNER FOLDER` waits for the end of the process OWNER, however that comes, then does so
and removes the folder: a test run that is killed cannot clean up after itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import docker
from docker.errors import APIError, DockerException

from tests import needs
from tests.waiting import until


def watch(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process that cleans up after this one, should this one be killed. Kill it when all is clean."""
    command = [sys.executable, "-m", "tests.e2e.leftovers", str(os.getpid()), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def processes(folder: Path) -> dict[int, str]:
    """Return pid and command line of every process, but for the watcher, that names the folder or stands in it."""
    mark = str(folder).encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                inside = str((entry / "cwd").readlink()).encode()
                if b"tests.e2e.leftovers" not in command and (
                    mark in command or mark in inside or mark in (entry / "environ").read_bytes()
                ):
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def end(folder: Path) -> dict[int, str]:
    """Kill all of them; return what there was to kill."""
    killed: dict[int, str] = {}

    def none_left() -> bool:
        left = processes(folder)
        killed.update(left)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    until(none_left, timeout=30, what="the end of what a cluster left behind")
    return killed


def remove(folder: Path) -> dict[int, str]:
    """End what lives in a folder and remove it, mounts included; return what there was to kill."""
    killed = end(folder)
    _remove_control_groups({run.parent.name for run in folder.rglob("run.json")})
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True, capture_output=True)
    shutil.rmtree(folder)
    return killed


def _remove_control_groups(names: set[str]) -> None:
    groups = Path("/sys/fs/cgroup")
    for parent in (groups / "heroctl", groups / "memory/heroctl", groups / "cpu/heroctl"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                (parent / name).rmdir()


def remove_containers(cluster: str, url: str | None = None) -> int:
    """Remove a cluster's containers from the engine at `url` (the machine's by default); return how many there were."""
    if not url and needs.missing("docker"):
        return 0
    try:
        client = docker.DockerClient(base_url=url) if url else docker.from_env()
    except DockerException:
        return 0
    with contextlib.closing(client):
        containers = client.containers.list(
            all=True, filters={"label": f"heroctl.cluster={cluster}"}, ignore_removed=True
        )
        left = [container for container in containers if container.status != "dead"]
        for container in left:
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)
        return len(left)


def main(owner: int, folder: Path) -> None:
    """Wait for the owner's end, then clean up."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(owner)], [], [])
    name = folder / "cluster"
    if name.exists():
        remove_containers(name.read_text())
    remove(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
