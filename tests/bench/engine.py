"""A container engine for a bench: the one that answers, or one of our own for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from tests import image
from tests.e2e import leftovers
from tests.e2e.engine import dockerd


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """Yield the name of the test image in the engine that DOCKER_HOST names. RuntimeError where none can be had."""
    if answers():
        yield image.ensure()
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise RuntimeError("no container engine answers, and none can be started: apt-get install docker.io, as root")
    # Not under a folder that may be a tmpfs: overlay2 needs a real file system below it.
    folder = Path(tempfile.mkdtemp(prefix="heroctl-engine-", dir="/var/tmp"))
    watcher = leftovers.watch(folder)
    before = os.environ.get("DOCKER_HOST")
    try:
        with dockerd(folder / "engine") as own:
            os.environ["DOCKER_HOST"] = own.url
            yield image.NAME
    finally:
        os.environ.pop("DOCKER_HOST", None)
        if before is not None:
            os.environ["DOCKER_HOST"] = before
        watcher.kill()
        watcher.wait()
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
