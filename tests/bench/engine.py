"""A container engine for a bench: the one that answers at the socket, or one of our own for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from tests import image
from tests.waiting import until


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """Yield the name of the test image in an engine that answers. RuntimeError where none can be had."""
    if answers():
        yield image.ensure()
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise RuntimeError("no container engine answers, and none can be started: apt-get install docker.io, as root")
    # Not under a folder that may be a tmpfs: overlay2 needs a real file system below it.
    folder = Path(tempfile.mkdtemp(prefix="heroctl-engine-", dir="/var/tmp"))
    try:
        with _dockerd(folder):
            yield image.ensure()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answers() -> bool:
    """Tell whether an engine answers where DOCKER_HOST, or the default, says."""
    try:
        client = docker.from_env(timeout=5)
        client.ping()
    except DockerException:
        return False
    client.close()
    return True


@contextlib.contextmanager
def _dockerd(folder: Path) -> Iterator[None]:
    command = [
        "dockerd",
        "--data-root",
        f"{folder}/data",
        "--exec-root",
        f"{folder}/exec",
        "--pidfile",
        f"{folder}/pid",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def up() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"dockerd ended: {(folder / 'log').read_text(errors='replace')[-2000:]}")
        return answers()

    try:
        until(up, timeout=60, what="a container engine")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
