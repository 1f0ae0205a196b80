"""`python -m agents`, `heroctl agent`: one agent, until SIGTERM or until the control plane dismisses it.

Exit codes: 0 ended as asked, or the node was removed; 1 a bug; 2 settings or join refused; 3 a newer agent speaks for
the node; 4 the node is in use by another machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from agents import node as machine
from agents.agent import Agent
from agents.client import Away, Client, Refused
from agents.clock import RealClock
from agents.container import Container, Node
from agents.counters import Machine
from agents.disk import Disk
from agents.docker_images import Images
from agents.docker_runtime import DEFAULT_URL, DockerRuntime
from agents.fake_runtime import FakeRuntime
from agents.ground import Ground
from agents.health import Probe, Prober
from agents.host_files import HostFiles
from agents.journal import Identity, Journal, Unreadable
from agents.log_forward import forward
from agents.logs import Bounds, Ways
from agents.memory import Memory
from agents.node import About
from agents.ports import Ports
from agents.process_runtime import ProcessRuntime
from agents.runtime import Runtime
from agents.settings import Settings
from agents.sync import Dismissed
from agents.volumes import Volumes
from heroctl import logs
from heroctl.domain.allowance import Allowance
from heroctl.domain.settings import Ended, begin
from heroctl.domain.spec import Task
from heroctl.otlp.target import Unusable
from heroctl.otlp.tracing import named, traced, wanted

JOIN_AGAIN: Final = (0.5, 10.0)  # seconds between two attempts to join, first and at most
CODES: Final = {"node_removed": 0, "session_replaced": 3, "node_in_use": 4}
_log = structlog.get_logger("agent")


def main(argv: list[str]) -> int:
    """Read the settings and run."""
    settings = begin(
        Settings, argv, os.environ, lambda name: Path(name).read_text(), program="heroctl agent", section="agent"
    )
    if isinstance(settings, Ended):
        sys.stdout.write(settings.out)
        sys.stderr.write(settings.err)
        return settings.code
    logs.configure(settings.log_level, settings.log_format, sys.stderr)
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    folder, clock = Path(settings.data), RealClock()
    journal = Journal(folder, machine.boot_id(), clock.now)
    client = Client(settings.api, ca_cert=settings.ca_cert)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    try:
        to = wanted(settings.traces_otlp, os.environ)
        journal.open()
        identity = await _identity(settings, journal, client, asked)
        if identity is not None:
            client.token = identity.token
            agent = _assemble(settings, identity, journal, client, clock=clock)
            async with traced(to, _named(identity)):
                await agent.run(asked, halt=settings.stop_workloads_on_exit)
    except Dismissed as error:
        _log.error("dismissed", code=error.code, message=str(error))
        return CODES[error.code]
    except (Refused, Unreadable, OSError, Unusable) as error:
        _log.error("cannot_run", error=str(error))
        return 2
    finally:
        await client.close()
        journal.close()
    return 0


def _named(identity: Identity) -> dict[str, str]:
    return named("agent", identity.name) | {"host.name": identity.name, "host.id": identity.id}


async def _identity(settings: Settings, journal: Journal, client: Client, asked: asyncio.Event) -> Identity | None:
    """Return who this node is, and join if it is nobody yet. None: asked to end before an answer came."""
    known = journal.identity()
    if known is not None:
        return known
    if not settings.join_token:
        raise Refused(0, "no_join_token", "this server has not joined yet: give --join-token")
    least, most = JOIN_AGAIN
    while not asked.is_set():
        try:
            identity = await client.join(settings.join_token, settings.name or machine.name())
        except Away as error:
            _log.info("join_not_answered", error=str(error))
        else:
            journal.join(identity)
            _log.info("joined", node=identity.name, id=identity.id, cluster=identity.cluster)
            return identity
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), least * random.uniform(0.5, 1.0))  # noqa: S311 - spreads, hides nothing
        least = min(most, least * 2)
    return None


def _assemble(settings: Settings, identity: Identity, journal: Journal, client: Client, *, clock: RealClock) -> Agent:
    folder = Path(settings.data)
    address = settings.address or machine.address(settings.api)
    allowance = _allowance(settings)
    disk = Disk(folder, crowded=settings.disk_crowded, low=settings.disk_low)
    attributes = machine.attributes() | allowance.attributes()
    about = About(
        boot_id=machine.boot_id(),
        capacity=machine.capacity(
            folder,
            cpu=settings.cpu,
            memory=settings.memory.bytes if settings.memory else None,
            disk=settings.disk.bytes if settings.disk else None,
        ),
        version=machine.version(),
        labels=settings.labels,
        attributes=attributes,
    )
    runtimes = _runtimes(settings, identity, clock, allowance, disk)
    docker = runtimes["docker"][0] if "docker" in runtimes else None
    node = Node(identity.id, identity.name, identity.cluster, address, settings.labels, attributes, allowance)
    given = forward(settings, node, os.environ)
    return Agent(
        node,
        about,
        journal=journal,
        ports=Ports(settings.ports),
        runtimes=runtimes,
        bridge=docker.bridge if isinstance(docker, DockerRuntime) else None,
        disk=disk,
        client=client,
        clock=clock,
        whole=Machine(folder, own=given.counts if given else dict),
        ca_cert=settings.ca_cert,
        log_ways=Ways(Bounds(settings.log_size.bytes, settings.log_lines, settings.log_rate.bytes), given),
    )


def _allowance(settings: Settings) -> Allowance:
    """Read what containers may reach; the agent's own folder, where its token is, and its engine stay closed."""
    kept = (str(Path(settings.data).resolve()), urlsplit(_engine(settings)).path)
    return Allowance(
        settings.allow_privileged,
        settings.allow_host_network,
        settings.allow_host_namespaces,
        settings.allow_devices,
        settings.allow_capabilities,
        settings.allow_host_paths,
        tuple(path for path in kept if path not in ("", "/")),
    )


def _engine(settings: Settings) -> str:
    return settings.docker or os.environ.get("DOCKER_HOST") or DEFAULT_URL


def _runtimes(
    settings: Settings, identity: Identity, clock: RealClock, allowance: Allowance, disk: Disk
) -> dict[str, tuple[Runtime, Probe]]:
    """Make the runtimes that this node offers, by driver."""
    if settings.runtime == "fake":
        return {name: _fake(name, clock) for name in ("docker", "process")}
    made: dict[str, tuple[Runtime, Probe]] = {}
    data, memory = Path(settings.data).resolve(), Memory(f"{identity.cluster}.{identity.id}", settings.tmpfs)
    if settings.runtime != "process":
        docker = DockerRuntime(
            identity.cluster,
            identity.id,
            url=_engine(settings),
            publish=settings.publish,
            allowance=allowance,
            ground=_ground(data, memory, "docker"),
            images=partial(Images, disk=disk, record=data / "images.json", keep=settings.keep_images.seconds),
        )
        made["docker"] = docker, Prober(docker)
    if settings.runtime == "process" or settings.allow_process:  # without isolation, so never unasked
        ground = _ground(data, memory, "process")
        process = ProcessRuntime(identity.cluster, identity.id, data / "processes", machine.boot_id(), ground)
        made["process"] = process, Prober(process)
    return made


def _ground(data: Path, memory: Memory, driver: str) -> Ground:
    return Ground(Volumes(data / "volumes"), HostFiles(data / "files" / driver, memory, driver))


def _fake(name: str, clock: RealClock) -> tuple[Runtime, Probe]:
    fake = FakeRuntime(clock, name)

    async def probe(_: Task, container: Container) -> str:
        return "" if fake.healthy(container.id) else "the fake is not healthy"

    return fake, probe


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
