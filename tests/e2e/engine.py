"""A container engine of the test's own, which may be restarted and killed: own data, socket, pid file and bridge.

Needs root. Its containers are reached by published ports; it touches no firewall rule and no other engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException

from tests.e2e import leftovers
from tests.house import ROOT
from tests.waiting import until


@dataclass(slots=True)
class Dockerd:
    """One dockerd in a folder. `live_restore` may be changed while it runs; it decides what its end does."""

    folder: Path
    live_restore: bool = True
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What DOCKER_HOST should be."""
        return f"unix://{self.folder}/docker.sock"

    @property
    def bridge(self) -> str:
        """The name of its network bridge, which tells the engines of several runs apart."""
        return f"hctl{os.getpid()}"

    @property
    def pid(self) -> int:
        """Its process id. It must be running."""
        assert self._process is not None, "dockerd is not running"
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file with its output."""
        return self.folder / "dockerd.log"

    def start(self) -> None:
        """Start it; return when it answers, within 60 s."""
        self._configure()
        # After a crash its containerd is dead too, but may stay a zombie, which dockerd takes for alive.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        command = ["dockerd", "--config-file", str(self.folder / "daemon.json"), "--host", self.url]
        command += ["--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")]
        command += ["--pidfile", str(self.folder / "docker.pid"), "--bridge", self.bridge]
        command += ["--iptables=false", "--ip-masq=false", "--ip-forward=false"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, timeout=60, what="dockerd")

    def stop(self) -> None:
        """Stop it in order: its containers end, unless it restores live ones."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End it without warning; its containers go on."""
        self._end(signal.SIGKILL)

    def restore(self, *, live: bool) -> None:
        """Change whether its containers outlive its end."""
        assert self._process is not None, "dockerd is not running"
        self.live_restore = live
        self._configure()
        self._process.send_signal(signal.SIGHUP)
        until(lambda: self._info().get("LiveRestoreEnabled") is live, what="dockerd's reading of its settings")

    def ensure_image(self) -> None:
        """Bring the tests' image into it."""
        environ = {**os.environ, "DOCKER_HOST": self.url}
        subprocess.run([sys.executable, "-m", "tests.image"], cwd=ROOT, env=environ, check=True, capture_output=True)

    def empty(self) -> None:
        """Remove every container that can be removed."""
        with contextlib.closing(docker.DockerClient(base_url=self.url)) as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                with contextlib.suppress(APIError):
                    container.remove(force=True, v=True)

    def _configure(self) -> None:
        (self.folder / "daemon.json").write_text(json.dumps({"live-restore": self.live_restore}))

    def _info(self) -> dict[str, Any]:
        """Ask it about itself; nothing while it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:  # the clients leave theirs open when nobody listens
                probe.connect(self.url.removeprefix("unix://"))
            with contextlib.closing(docker.DockerClient(base_url=self.url, timeout=5)) as client:
                return dict(client.info())
        except (OSError, DockerException):
            return {}

    def _answers(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"dockerd ended with {code}:\n{self.log.read_text(errors='replace')[-3000:]}"
        return "ServerVersion" in self._info()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(how)
            process.wait(timeout=60)


@contextlib.contextmanager
def dockerd(folder: Path) -> Iterator[Dockerd]:
    """Run an engine with the tests' image in it; leave no container, process, mount or bridge."""
    engine = Dockerd(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _bridge(engine.bridge):
        try:
            engine.start()
            engine.ensure_image()
            yield engine
        finally:
            with contextlib.suppress(DockerException):
                engine.empty()
            engine.stop()
            leftovers.remove(folder)


@contextlib.contextmanager
def _bridge(name: str) -> Iterator[None]:
    third = os.getpid() % 250
    _ip("link", "add", "name", name, "type", "bridge")
    try:
        _ip("address", "add", f"10.213.{third}.1/24", "dev", name)
        _ip("link", "set", name, "up")
        yield
    finally:
        _ip("link", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
