"""The agent as a process of its own, as `heroctl agent` starts it: joining, ending, coming back."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import secrets
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from agents.clock import RealClock
from agents.node import boot_id
from agents.process_runtime import ProcessRuntime
from heroctl.domain.assignment import Assigned
from heroctl.domain.duration import Duration
from heroctl.domain.spec import Port, Task
from tests.agents.control import ControlPlane, refusal
from tests.agents.kits import SCRIPTS, clear
from tests.agents.rig import alloc, stopped
from tests.agents.served import served
from tests.house import ROOT
from tests.waiting import eventually

SPEC: Final = Task(
    name="web",
    driver="process",
    command=("/bin/sh", "-c", SCRIPTS["stays"]),
    ports={"http": Port(8080)},
    kill_timeout=Duration.of(2),
)


@dataclass
class Server:
    """A machine with an agent on it."""

    folder: Path
    url: str
    control: ControlPlane
    flags: tuple[str, ...] = ()
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def start(self, *flags: str, joins: bool = True) -> asyncio.subprocess.Process:
        given = {"--api": self.url, "--name": "alpha", "--data": str(self.data), "--runtime": "process"}
        if joins:
            given["--join-token"] = "hj_x"
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agents", *(word for pair in given.items() for word in pair), *flags),
            cwd=ROOT,
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.processes.append(started)
        return started

    def pids(self) -> set[int]:
        found = set()
        for file in self.data.glob("processes/*/pid.json"):
            with contextlib.suppress(OSError, ValueError):
                found.add(int(json.loads(file.read_bytes())["pid"]))
        return {pid for pid in found if Path(f"/proc/{pid}").exists()}

    async def close(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()
        runtime = ProcessRuntime(self.control.cluster, "n1", self.data / "processes", boot_id())
        await clear(runtime)
        await runtime.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    control = ControlPlane(RealClock(), cluster=f"test-{secrets.token_hex(4)}", every=0.5)
    async with served(control) as url:
        made = Server(tmp_path, url, control)
        try:
            yield made
        finally:
            await made.close()


def wanted(*names: str) -> list[Assigned]:
    return [alloc(f"{name}{secrets.token_hex(4)}", SPEC) for name in names]


async def running(server: Server, *asked: Assigned) -> set[int]:
    await eventually(
        lambda: all(server.control.is_phase(one.id, "running")() for one in asked), timeout=20, what="what is wanted"
    )
    return server.pids()


async def test_it_joins_once_and_runs_what_is_wanted(server: Server) -> None:
    asked = wanted("a", "b")
    server.control.want(*asked)
    await server.start()
    assert len(await running(server, *asked)) == 2
    assert server.control.joined == [{"token": "hj_x", "name": "alpha"}]
    session = server.control.sessions[0]
    assert (session.address, session.drivers["process"].healthy) in (("127.0.0.1", True), ("::1", True))
    assert server.control.seen[asked[0].id].health == "healthy"


async def test_asked_to_end_it_does_so_quickly_and_the_next_one_adopts(server: Server) -> None:
    asked = wanted("a")
    server.control.want(*asked)
    first = await server.start()
    pids = await running(server, *asked)
    first.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(first.wait(), 5) == 0
    assert server.pids() == pids
    await server.start(joins=False)
    await eventually(lambda: len(server.control.sessions) == 2, what="the next agent")
    server.control.want(stopped(asked[0]))
    await eventually(server.control.is_phase(asked[0].id, "complete"), what="the stop")
    assert server.pids() == set()
    assert server.control.seen[asked[0].id].attempt == 1
    assert len(server.control.joined) == 1


async def test_killed_again_and_again_it_restarts_nothing(server: Server) -> None:
    asked = wanted("a", "b", "c")
    server.control.want(*asked)
    for _ in range(4):
        server.control.sessions.clear()
        agent = await server.start()
        await eventually(lambda: server.control.sessions, what="a session")
        pids = await running(server, *asked)
        agent.kill()
        await agent.wait()
        assert server.pids() == pids
    assert {server.control.seen[one.id].attempt for one in asked} == {1}


async def test_in_dev_mode_it_takes_its_workloads_along(server: Server) -> None:
    asked = wanted("a", "b")
    server.control.want(*asked, replace(alloc("deaf", SPEC), spec=replace(SPEC, command=("sh", "-c", SCRIPTS["deaf"]))))
    agent = await server.start("--stop-workloads-on-exit")
    assert len(await running(server, *asked)) >= 2
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(agent.wait(), 10) == 0
    assert server.pids() == set()


async def test_a_removed_node_ends_with_everything(server: Server) -> None:
    asked = wanted("a")
    server.control.want(*asked)
    agent = await server.start()
    await running(server, *asked)
    server.control.fault = lambda _: refusal(410, "node_removed")
    assert await asyncio.wait_for(agent.wait(), 15) == 0
    assert server.pids() == set()
    assert not (server.data / "identity.json").exists()


@pytest.mark.parametrize(("code", "status"), [("session_replaced", 3), ("node_in_use", 4)])
async def test_an_agent_that_is_not_the_one_says_so(server: Server, code: str, status: int) -> None:
    agent = await server.start()
    await eventually(lambda: server.control.syncs, what="a beat")
    server.control.fault = lambda _: refusal(409, code)
    _, said = await asyncio.wait_for(agent.communicate(), 10)
    assert agent.returncode == status
    assert f"because of {code}" in said.decode()


async def test_a_join_that_is_refused_ends_it(server: Server) -> None:
    server.control.fault = lambda _: refusal(401, "join_token_invalid")
    agent = await server.start()
    _, said = await asyncio.wait_for(agent.communicate(), 10)
    assert agent.returncode == 2
    assert "join_token_invalid" in said.decode()
    assert "hj_x" not in said.decode()


async def test_it_waits_for_an_api_to_join(server: Server) -> None:
    left = 3

    def starting(_: str) -> object:
        nonlocal left
        left -= 1
        return refusal(503, "starting") if left >= 0 else None

    server.control.fault = starting  # type: ignore[assignment] # the same
    await server.start()
    await eventually(lambda: server.control.syncs, timeout=20, what="a beat")


async def test_without_a_token_it_cannot_join(server: Server) -> None:
    agent = await server.start(joins=False)
    _, said = await asyncio.wait_for(agent.communicate(), 10)
    assert agent.returncode == 2
    assert "--join-token" in said.decode()


async def test_two_agents_cannot_have_one_folder(server: Server) -> None:
    await server.start()
    await eventually(lambda: server.control.syncs, what="a beat")
    second = await server.start()
    _, said = await asyncio.wait_for(second.communicate(), 10)
    assert second.returncode == 2
    assert "another agent" in said.decode()


async def test_the_api_is_checked_by_the_certificates_given(tmp_path: Path) -> None:
    certificate, tls = _certificate(tmp_path)
    control = ControlPlane(RealClock(), every=0.5)
    async with served(control, tls) as url:
        server = Server(tmp_path, url, control)
        try:
            agent = await server.start()
            assert agent.stderr is not None
            said = (await asyncio.wait_for(agent.stderr.readline(), 10)).decode()
            assert "CERTIFICATE_VERIFY_FAILED" in said
            agent.kill()
            await server.start("--ca-cert", str(certificate))
            await eventually(lambda: control.syncs, what="a beat")
        finally:
            await server.close()


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return certificate, context
