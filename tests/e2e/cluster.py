"""A whole cluster of real processes on this machine, for tests to use, watch and break.

Its Postgres, its Valkey, any number of apis, reconcilers and agents, in one folder. Agents join with join tokens over
the API, as servers do. `close` ends everything by its pid and says what was left behind.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from heroctl.domain.spec import DYNAMIC_PORTS
from tests import servers
from tests.e2e import history, leftovers
from tests.e2e.address import Address
from tests.e2e.client import Client, RefusedError
from tests.e2e.network import Network
from tests.e2e.observer import Observer
from tests.e2e.parts import Part
from tests.e2e.runtimes import Containers, Runtime, Workload
from tests.pooler import Pooler
from tests.waiting import until

# One machine and one token ask for what a cluster's clients ask for.
# The master key of secrets, and where webhooks may lead.
_SEALED: Final = {
    "HEROCTL_SECRETS_KEYS": "8wXb3Yt0mZJk5sQd9fVh2LrNcE7uGp1AoTiR4yKzB6M=",
    "HEROCTL_WEBHOOK_NETWORKS": "127.0.0.0/8",
}
_PLENTY: Final = {
    "HEROCTL_LIMIT_ADMIN": "1000000",
    "HEROCTL_LIMIT_ADDRESS": "1000000",
    "HEROCTL_TOKEN_WAITERS": "100000",
    "HEROCTL_ADDRESS_CONNECTIONS": "100000",
    "HEROCTL_REGISTRIES": "",  # nobody outside is asked what a tag stands for
}
PORTS_EACH: Final = 400
ADMIN: Final = "admin"


class Size(NamedTuple):
    """How many of each part."""

    apis: int = 1
    reconcilers: int = 1
    agents: int = 1


@dataclass(slots=True)
class Cluster:
    """Start it with `cluster(...)`. Parts are known by name: `api-1`, `reconciler-1`, `agent-1` …"""

    folder: Path
    runtime: Runtime
    size: Size
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    modules: dict[str, str] = field(default_factory=dict)  # what to run instead of a part's own module
    images: dict[str, str] = field(default_factory=dict)  # settings of the apis about registries of images
    environ: dict[str, str] = field(default_factory=dict)  # of every part
    address: Address | None = None  # where the parts find Postgres, if not at its own port
    pooler: Pooler | None = None  # what they reach it through, if not directly
    network: Network | None = None  # in which each agent has a place of its own, if not on this machine's loopback
    parts: dict[str, Part] = field(default_factory=dict)
    id: str = ""
    postgres: servers.Postgres = field(init=False)
    redis: servers.Redis = field(init=False)
    client: Client = field(init=False)
    _api_ports: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start everything; return when every node is ready."""
        self.postgres = servers.Postgres(_made(self.folder / "postgres"), {"shared_buffers": "64MB"})
        reached = {"bind": f"127.0.0.1 {self.host}", "protected-mode": "no"} if self.network else {}
        self.redis = servers.Redis(_made(self.folder / "redis"), reached)
        self.postgres.start()
        if self.address is not None:
            self.address.lead(self.postgres.dsn())
        if self.pooler is not None:
            self.pooler.lead(self.postgres.dsn())
        self.redis.start()
        self._secret.write_text(self.password)
        self._api_ports = [servers.free_port() for _ in range(self.size.apis)]
        self.client = Client([self.url(number) for number in range(1, self.size.apis + 1)])
        for number in range(1, self.size.apis + 1):
            self._add(self._api(number)).start()
        for number in range(1, self.size.reconcilers + 1):
            self._add(self._reconciler(number)).start()
        self._ready()
        self.id = history.cluster_id(self.postgres.dsn())
        (self.folder / "cluster").write_text(self.id)
        for number in range(1, self.size.agents + 1):
            self.add_agent(number)
        self.wait_nodes(self.size.agents)

    @property
    def host(self) -> str:
        """The address at which agents find everything."""
        return self.network.address if self.network else "127.0.0.1"

    def url(self, api: int = 1) -> str:
        """Where an api listens."""
        return f"http://{self.host}:{self._api_ports[api - 1]}"

    def close(self) -> list[str]:
        """End everything and remove the folder; return what ought not to have been there."""
        complaints = [f"{name} had ended" for name, part in self.parts.items() if not part.runs]
        for part in reversed(self.parts.values()):
            with contextlib.suppress(ProcessLookupError):
                part.sigcont()
            if part.runs:
                part.kill9()
        if self.id:
            engine = self.runtime.url if isinstance(self.runtime, Containers) else None
            if left := leftovers.remove_containers(self.id, engine):
                complaints.append(f"{left} containers were left")
        for server in (self.redis, self.postgres):
            server.stop()
        self.client.close()
        killed = leftovers.remove(self.folder)
        return complaints + [f"left behind: {command}" for command in killed.values()]

    # ── breaking it ──────────────────────────────────────────────────────────────────────────────────────────────────

    def restart(self, name: str, *, kill: bool = True) -> None:
        """End a part, by kill -9 or in order, and start it again."""
        part = self.parts[name]
        if part.runs:
            part.kill9() if kill else part.stop()
        part.start()

    def flushall(self) -> None:
        """Take everything from Valkey: keys, scripts and users."""
        servers.flush(self.redis.url)

    def restart_postgres(self, *, kill: bool = False) -> None:
        """End Postgres, in order or by kill -9, and start it again."""
        self.postgres.kill() if kill else self.postgres.stop()
        self.postgres.start()

    def restart_redis(self) -> None:
        """Crash Valkey and start it again, empty."""
        self.redis.kill()
        self.redis.start()

    def coordinating_part(self) -> str:
        """Return the name of the reconciler that coordinates; wait until one does."""

        def found(peers: list[dict[str, Any]]) -> bool:
            return any(peer["coordinator"] for peer in peers)

        peers = self.client.wait_until("/v1/cluster/peers", found, every=0.5, what="a coordinator")
        return next(str(peer["address"]) for peer in peers if peer["coordinator"])

    # ── using it ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Submit a job; return the answer's body."""
        return dict(self.client.post("/v1/jobs", spec).body)

    def allocations(self, job: str) -> list[dict[str, Any]]:
        """List a job's allocations."""
        return list(self.client.get("/v1/allocations", job=job).body)

    def wait_healthy(
        self, job: str, count: int, *, version: int | None = None, timeout: float = 45
    ) -> list[dict[str, Any]]:
        """Wait until exactly so many allocations are wanted, all of them healthy and no other left; return them."""

        def settled(allocs: list[dict[str, Any]]) -> bool:
            there = [alloc for alloc in allocs if alloc["status"] not in ("complete", "failed", "lost")]
            return len(there) == count and all(healthy(alloc, version) for alloc in there)

        found = self.client.wait_until(
            "/v1/allocations", settled, job=job, timeout=timeout, what=f"{count} healthy replicas of {job}"
        )
        return [alloc for alloc in found if healthy(alloc, version)]

    def wait_deployed(self, job: str, version: int, *, timeout: float = 45) -> dict[str, Any]:
        """Wait until a version's deployment was successful; return the job."""

        def successful(body: dict[str, Any] | None) -> bool:
            deployment = body["deployment"] if body and body["version"] == version else None
            return deployment is not None and deployment["status"] == "successful"

        what = f"the deployment of version {version} of {job}"
        return dict(self.client.wait_until(f"/v1/jobs/{job}", successful, timeout=timeout, what=what))

    def wait_nodes(self, count: int, *, timeout: float = 30) -> None:
        """Wait until so many nodes are ready."""

        def ready(nodes: list[dict[str, Any]]) -> bool:
            return len([node for node in nodes if node["status"] == "ready"]) >= count

        self.client.wait_until("/v1/nodes", ready, timeout=timeout, what=f"{count} ready nodes")

    def running(self, job: str | None = None) -> list[Workload]:
        """Return what really runs on this machine, of one job or of all."""
        return [found for found in self.runtime.running(self.id) if job in (None, found.job)]

    def wait_running(self, job: str, count: int, *, timeout: float = 20) -> list[Workload]:
        """Wait until so many of a job's workloads really run; return them."""
        what = f"{count} running workloads of {job}"
        until(lambda: len(self.running(job)) == count, timeout=timeout, what=what)
        return self.running(job)

    def delete(self, job: str) -> None:
        """Delete a job and wait until nothing of it runs."""
        with contextlib.suppress(RefusedError):
            self.client.delete(f"/v1/jobs/{job}")
        self.wait_running(job, 0)

    def delete_all(self) -> None:
        """Delete every job and wait until nothing is left of any."""
        for job in self.client.get("/v1/jobs").body:
            self.client.delete(f"/v1/jobs/{job['name']}")
        until(lambda: not self.runtime.left(self.id), timeout=30, what="the end of all workloads")

    def wait_quiet(self, *, still: float = 2, within: float = 30) -> int:
        """Wait until nothing more is decided or reported: the log stands still. Return its head."""
        return history.wait_quiet(self.postgres.dsn(), still=still, within=within)

    def observe(self, job: str) -> Observer:
        """Follow the number of a job's healthy allocations, as a user of the API sees it."""
        client = Client(self.client.urls, self.client.token)
        return Observer(client, job, lambda allocs: sum(map(healthy, allocs)))

    def fewest_healthy(self, job: str, after: int) -> int:
        """Return the least number of healthy allocations of a job at any index of the log after this one."""
        return min(history.replay(self.postgres.dsn(), lambda state: history.healthy(state, job), after=after))

    def logs(self) -> str:
        """Return the end of every part's log."""
        return "\n".join(f"── {name}\n{part.tail()}" for name, part in self.parts.items())

    # ── its parts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def add_agent(self, number: int) -> Part:
        """Join another node and start its agent."""
        token = self.client.post("/v1/cluster/join-tokens", {}).body["token"]
        part = self._add(self._agent(number, token))
        part.start()
        return part

    def _add(self, part: Part) -> Part:
        self.parts[part.name] = part
        return part

    def _ready(self) -> None:
        until(self._alive, timeout=30, what="a ready api")
        self.client.login(ADMIN, self.password)

    def _alive(self) -> bool:
        for part in self.parts.values():
            assert part.runs, f"{part.name} ended while starting:\n{part.tail()}"
        return self.client.ready()

    def _api(self, number: int) -> Part:
        flags = ["--listen", f"{self.host}:{self._api_ports[number - 1]}", "--admin-password-file", str(self._secret)]
        if self.network is not None:
            flags += ["--behind-proxy", "--redis-advertise", self.redis.url.replace("127.0.0.1", self.host)]
        environ = {**self._stores, **_PLENTY, **self.images, **_SEALED, **self.environ}
        return Part(f"api-{number}", self._module("api"), tuple(flags), self.folder, environ)

    def _reconciler(self, number: int) -> Part:
        name = f"reconciler-{number}"
        environ = {**self._stores, **_SEALED, **self.environ}
        return Part(name, self._module("reconciler"), ("--advertise", name), self.folder, environ)

    def _agent(self, number: int, token: str) -> Part:
        name, first = f"agent-{number}", _first_port() + PORTS_EACH * number
        flags = ["--name", f"node-{number}", "--join-token", token, "--data", str(self.folder / name)]
        flags += [word for url in self.client.urls for word in ("--api", url)]
        flags += ["--runtime", self.runtime.name, "--ports", f"{first}-{first + PORTS_EACH - 1}"]
        flags += ["--address", self.host, "--publish", self.host, "--cpu", "2", "--memory", "4GB", "--disk", "10GB"]
        if isinstance(self.runtime, Containers) and self.runtime.url:
            flags += ["--docker", self.runtime.url]
        within = self.network.join(name) if self.network else ()
        return Part(name, self._module("agents"), tuple(flags), self.folder, self.environ, within)

    def _module(self, name: str) -> str:
        return self.modules.get(name, name)

    @property
    def _stores(self) -> dict[str, str]:
        dsn = self.postgres.dsn() if self.address is None else self.address.dsn
        stores = {"HEROCTL_DSN": dsn, "HEROCTL_REDIS_URL": self.redis.url}
        if self.pooler is not None:
            stores |= {"HEROCTL_DSN": self.pooler.dsn, "HEROCTL_DIRECT_DSN": self.pooler.direct}
        return stores

    @property
    def _secret(self) -> Path:
        return self.folder / "password"


def healthy(alloc: dict[str, Any], version: int | None = None) -> bool:
    """Tell whether an allocation is wanted, runs and is healthy (and of a version)."""
    seen = (alloc["wanted"], alloc["status"], alloc["health"])
    return seen == ("run", "running", "healthy") and version in (None, alloc["version"])


def _first_port() -> int:
    """Return the first of the ports that agents of this process's clusters give out: workers share the machine."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return DYNAMIC_PORTS.start + int(worker) % 4 * 3000


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextlib.contextmanager
def cluster(
    runtime: Runtime,
    size: Size | None = None,
    modules: dict[str, str] | None = None,
    *,
    images: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    address: Address | None = None,
    pooler: Pooler | None = None,
    network: Network | None = None,
    tidy: bool = True,
) -> Iterator[Cluster]:
    """Run a cluster; `modules` says what to run instead of a part. Whatever happens, nothing of it stays.

    `images`: what its apis are told of registries; `environ`: variables of every part.
    `address`, `pooler`: its parts reach Postgres through there. `network`: in which its agents each have a place.
    `tidy`: what the test leaves behind makes it fail.
    """
    folder = Path(tempfile.mkdtemp(prefix="heroctl-e2e-"))
    watcher = leftovers.watch(folder)
    made = Cluster(folder, runtime, size or Size(), modules=modules or {}, images=images or {})
    made.address, made.pooler, made.network = address, pooler, network
    made.environ = environ or {}
    try:
        made.start()
        yield made
    finally:
        complaints = made.close()
        watcher.kill()
        watcher.wait()
        shutil.rmtree(folder, ignore_errors=True)
    assert not (tidy and complaints), complaints
