"""The image that container tests run: busybox with a link per applet, made here because no registry can be relied on.

`python -m tests.image` makes it in the engine that DOCKER_HOST names (the local one by default), unless it is there.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import docker
from docker.errors import ImageNotFound

NAME: Final = "heroctl-test/busybox:1"
_FOLDERS: Final = {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "var": 0o755}


def ensure() -> str:
    """Return the image's name once the engine has it. FileNotFoundError without a static busybox."""
    client = docker.from_env()
    try:
        client.images.get(NAME)
    except ImageNotFound:
        repository, _, tag = NAME.partition(":")
        client.api.import_image_from_data(_root_file_system(), repository=repository, tag=tag)
    finally:
        client.close()
    return NAME


def _root_file_system() -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise FileNotFoundError("no busybox in PATH: apt-get install busybox-static")
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, mode in _FOLDERS.items():
            archive.addfile(_entry(name, mode, tarfile.DIRTYPE))
        binary = Path(busybox).read_bytes()
        file = _entry("bin/busybox", 0o755, tarfile.REGTYPE)
        file.size = len(binary)
        archive.addfile(file, io.BytesIO(binary))
        for applet in applets:
            if applet != "busybox":
                link = _entry(f"bin/{applet}", 0o777, tarfile.SYMTYPE)
                link.linkname = "busybox"
                archive.addfile(link)
    return target.getvalue()


def _entry(name: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type = mode, kind
    return entry


if __name__ == "__main__":
    print(ensure())
