"""The cluster that a bench measures: a durable Postgres, a Valkey, and as many api processes as are asked for."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from eventstore.migrate import migrate
from tests import servers
from tests.bench import fill
from tests.bench.client import Api
from tests.e2e import leftovers
from tests.e2e.parts import Part
from tests.waiting import until

_PASSWORD: Final = "a password of this bench"
_GRANIAN: Final = (
    "--interface=asgi",
    "--workers=1",
    "--runtime-mode=st",
    "--loop=uvloop",
    "--http=1",
    "--no-ws",
    "--backlog=4096",
    "--backpressure=30000",
    "--log-level=warning",
)
_PLENTY: Final = {
    "limit-admin": "1000000000",
    "limit-address": "1000000000",
    "token-waiters": "100000",
    "address-connections": "100000",
}
_IDLE: Final = 0.3  # seconds without work after which a process has done what it was given


@dataclass(slots=True)
class Server:
    """One api process, and a token of its admin."""

    part: Part
    address: tuple[str, int]
    token: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def pid(self) -> int:
        """The process that answers: a server may run its workers below the one that was started."""
        children = Path(f"/proc/{self.part.pid}/task/{self.part.pid}/children").read_text().split()
        return max([self.part.pid, *map(int, children)], key=lambda pid: usage(pid).resident)

    def client(self) -> Api:
        """Open a connection to it."""
        return Api(self.address, self.token)

    def stop(self) -> None:
        """Ask it to end."""
        self.part.stop()


@dataclass(slots=True)
class Cluster:
    """Made by `cluster`."""

    folder: Path
    postgres: servers.Postgres
    redis: servers.Redis
    parts: list[Part] = field(default_factory=list)

    def api(self, module: str = "api", **more: str) -> Server:
        """Start an api process; return when it is ready. The database knows it as `api`; `more` are flags of its own.

        One client asks for what many ask for elsewhere: its limits are out of reach unless `more` says otherwise.
        """
        address = ("127.0.0.1", servers.free_port())
        password = self.folder / "password"
        password.write_text(_PASSWORD)
        password.chmod(0o600)
        flags = {
            "dsn": f"{self.postgres.dsn()}?application_name=api",
            "redis-url": self.redis.url,
            "listen": f"{address[0]}:{address[1]}",
            "admin-password-file": str(password),
            "log-level": "warning",
            **_PLENTY,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        arguments = tuple(f"--{flag}={value}" for flag, value in flags.items())
        part = Part(f"api-{len(self.parts) + 1}", module, arguments, self.folder, {"HEROCTL_REGISTRIES": ""})
        self.parts.append(part)
        part.start()
        until(lambda: self._ready(part, address), timeout=60, what="a ready api")
        with contextlib.closing(Api(address)) as client:
            login = client.post("/v1/auth/login", {"username": "admin", "password": _PASSWORD})
        return Server(part, address, login.body["token"])

    def reconciler(self) -> None:
        """Start a reconciler; return at once. The database knows it as `reconciler`."""
        dsn = f"{self.postgres.dsn()}?application_name=reconciler"
        part = Part("reconciler", "reconciler", (f"--dsn={dsn}", f"--redis-url={self.redis.url}"), self.folder)
        self.parts.append(part)
        part.start()

    def bare(self, body: bytes) -> Server:
        """Start the floor under an api: the same server, which gives this body to everybody (see `bare`)."""
        port = servers.free_port()
        file = self.folder / f"body-{len(self.parts) + 1}"
        file.write_bytes(body)
        flags = (f"--port={port}", *_GRANIAN, "tests.bench.bare:app")
        part = Part(f"bare-{len(self.parts) + 1}", "granian", flags, self.folder, {"BENCH_BODY": str(file)})
        self.parts.append(part)
        part.start()
        until(lambda: self._ready(part, ("127.0.0.1", port)), timeout=60, what="the bare server")
        return Server(part, ("127.0.0.1", port), "none")

    def _ready(self, part: Part, address: tuple[str, int]) -> bool:
        if not part.runs:
            raise RuntimeError(f"{part.name} ended while starting:\n{part.tail()}")
        with contextlib.suppress(OSError, RuntimeError), contextlib.closing(Api(address)) as client:
            return client.get("/v1/health/ready").status == 200
        return False


@contextlib.contextmanager
def cluster(*, filled: Sequence[str] = (), gone: int = 0) -> Iterator[Cluster]:
    """Run a database and a doorbell; `filled`: jobs that run already, `gone`: how many came and went before them."""
    folder = Path(tempfile.mkdtemp(prefix="heroctl-bench-"))
    watcher = leftovers.watch(folder)
    try:
        with servers.postgres(folder / "postgres") as postgres, servers.redis(folder / "redis") as redis:
            migrate(postgres.dsn())
            fill.fill(postgres.dsn(), running=filled, gone=gone)
            made = Cluster(folder, postgres, redis)
            try:
                yield made
            finally:
                for part in made.parts:
                    if part.runs:
                        part.kill9()
    finally:
        leftovers.remove(folder)  # a server that is killed leaves its workers behind
        watcher.kill()
        watcher.wait()


class Usage(NamedTuple):
    """What a process has used: seconds of CPU, and bytes of memory resident now."""

    cpu: float
    resident: int


def usage(pid: int) -> Usage:
    """Read what a process has used."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(stat[11]) + int(stat[12])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), int(stat[21]) * os.sysconf("SC_PAGE_SIZE"))


def settled(pid: int) -> Usage:
    """Wait until a process has done all it was given, and return what it has used."""
    last, since = usage(pid), time.monotonic()

    def idle() -> bool:
        nonlocal last, since
        now = usage(pid)
        if now.cpu - last.cpu > 0.011:  # two ticks: more than what a clock or a heartbeat takes
            last, since = now, time.monotonic()
        return time.monotonic() - since > _IDLE

    until(idle, timeout=60, what="an idle api")
    return usage(pid)
