"""`heroctl doctor`: looks everything over that a cluster needs, from here, and says what to mend.

What the API knows is asked of it. On a server, which is told by its settings, the database and Redis are looked at
from there; where Docker is, so is Docker. Nothing is changed anywhere.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from heroctl.cli import config, output, processes
from heroctl.cli.client import Client, decode, path, trust
from heroctl.cli.faults import FAILED, HEALTHY, Fault, Refused
from heroctl.cli.options import ACCESS, Access, Target, is_loopback, resolve
from heroctl.cli.session import Session
from heroctl.cli.shapes import Cluster
from heroctl.domain.finding import Finding, fail, ok, skip, warn

SKEW_S: Final = 5.0
CERTIFICATE_DAYS: Final = 14
BEHIND: Final = 1_000  # events
SILENT_S: Final = 10
_TIMEOUT_S: Final = 5.0
_LOCAL_S: Final = 60.0
_DOCKER: Final = "/var/run/docker.sock"
_MEND: Final = {
    "log": "look at Postgres; on a server: heroctl doctor --config FILE",
    "events": "finish the upgrade: every process of the newest release",
    "level": "upgrade those, too: heroctl cluster peers",
    "coordinator": "start a reconciler: heroctl serve reconciler",
    "redis": "start Redis, or check --redis-url of the api",
    "clocks": "let NTP set the clocks of these machines; where all are off alike, the database's",
    "disk": "make room on the database's disk, or shorten what is kept",
    "nodes": "heroctl node list; remove those that will not come back",
    "brake": "bring nodes back, or remove those that are gone for good",
}


class Peer(Struct, frozen=True):
    """A process of the control plane."""

    id: str
    role: str = ""
    version: str = ""
    outdated: bool = False
    lag: int = 0
    last_seen_s: int = 0


def doctor(
    *,
    settings: Annotated[
        str | None,
        Parameter(name="--config", metavar="FILE", help="Settings of this server's api. [env: HEROCTL_CONFIG]"),
    ] = None,
    access: Access = ACCESS,
) -> int:
    """Look a cluster over: address, TLS, clock, versions, api, coordinator, Postgres, Redis, Docker.

    Postgres and Redis are looked at where settings lead to them (`--config`, HEROCTL_DSN, HEROCTL_REDIS_URL), Docker
    where it runs. The exit code is 2 if something does not work.
    """
    server = bool(settings or os.environ.get("HEROCTL_CONFIG") or os.environ.get("HEROCTL_DSN"))
    found = [*_cluster(access, server=server), *(_server(settings) if server else ()), *_node()]
    if access.output in ("json", "yaml"):
        output.dump(msgspec.json.encode(found), access.output)
    elif access.output == "name":
        output.lines([each.name for each in found if each.state in ("warn", "fail")])
    else:
        rows = [(each.name, each.state, each.message, each.mend) for each in found]
        output.show([output.Grid(("CHECK", "STATE", "FOUND", "MEND"), rows)])
    failed, doubtful = (sum(each.state == state for each in found) for state in ("fail", "warn"))
    output.note(f"{len(found)} looked at, {failed} failed, {doubtful} to be thought about")
    return FAILED if failed else HEALTHY


# ── through the API ──────────────────────────────────────────────────────────────────────────────────────────────────


def _cluster(access: Access, *, server: bool) -> Iterator[Finding]:
    try:
        target = resolve(access, os.environ, config.load(config.place(os.environ)))
    except Fault as fault:
        if not server:
            raise
        yield skip("address", fault.message)
        return
    with Session(access) as session:
        began = time.monotonic()
        try:
            answer = session.client.get(path("health", "live"))
        except Fault as fault:
            yield _failed("address", fault)
            return
        yield ok("address", f"{target.address} answered in {(time.monotonic() - began) * 1000:.0f} ms")
        yield _tls(target)
        yield clock(answer.date, datetime.now(UTC))
        yield _ready(session.client)
        yield from _within(session.client, target)


def _failed(name: str, fault: Fault) -> Finding:
    return fail(name, fault.message, fault.hints[0] if fault.hints else "")


def _tls(target: Target) -> Finding:
    scheme, _, place = target.address.partition("://")
    host, _, port = place.rpartition(":") if not place.endswith("]") and ":" in place else (place, "", "")
    if scheme == "http":
        if is_loopback(place):
            return ok("tls", "none is needed on loopback")
        return warn("tls", "plain HTTP: tokens travel in the clear", "use https://")
    try:
        return certificate(_expiry(host.strip("[]"), int(port or 443), target.ca_cert), time.time())
    except (OSError, ValueError) as error:
        return fail("tls", str(error), "check the certificate of the api, or of the proxy in front of it")


def _expiry(host: str, port: int, ca_cert: str | None) -> float:
    context = trust(ca_cert)
    with (
        socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        given = connection.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(given["notAfter"])))


def certificate(expires: float, now: float) -> Finding:
    """Judge when a certificate that is trusted will be no more."""
    days = int((expires - now) // 86_400)
    if days < CERTIFICATE_DAYS:
        return warn("tls", f"the certificate ends in {days} days", "renew it: the api reads the file again by itself")
    return ok("tls", f"the certificate is trusted for {days} days")


def clock(date: str, now: datetime) -> Finding:
    """Judge this machine's clock by the API's, which tells whole seconds."""
    try:
        skew = (now - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return skip("clock", "the API, or a proxy, tells no time")
    if abs(skew) > SKEW_S:
        ahead = "ahead of" if skew > 0 else "behind"
        return warn("clock", f"this machine is {abs(skew):.0f} s {ahead} the API", "let NTP set both clocks")
    return ok("clock", "within seconds of the API's")


def _ready(client: Client) -> Finding:
    try:
        answer = client.ask("GET", path("health", "ready"), patience=0)
    except Fault as fault:
        return _failed("api", fault)
    word = msgspec.json.decode(answer.raw, type=dict[str, str]).get("status", "")
    if word == "ok":
        return ok("api", "ready")
    return warn("api", f"{word}: it answers without its log", "look at Postgres")


def _within(client: Client, target: Target) -> Iterator[Finding]:
    """Ask what takes a token."""
    if not target.token:
        yield warn("login", "no token: what the cluster knows of itself cannot be asked", "heroctl login")
        return
    try:
        cluster = decode(client.get(path("cluster", "status")), Cluster, target.caller)
        peers = decode(client.get(path("cluster", "peers")), tuple[Peer, ...], target.caller)
    except Refused as fault:
        yield _failed("login", fault)
        return
    yield ok("login", f"with the token of {target.origin}")
    yield from versions(processes.version(), cluster.version, peers)
    yield from _checks(cluster)
    yield from lagging(peers)


def versions(own: str, api: str, peers: Sequence[Peer]) -> Iterator[Finding]:
    """Judge who is of which release."""
    if own != api:
        yield warn("version", f"this command line is {own}, the API {api}", f"install heroctl {api} here")
    else:
        yield ok("version", own)
    there = sorted({peer.version for peer in peers})
    if outdated := [peer.id for peer in peers if peer.outdated]:
        why = f"too old for the log: {', '.join(outdated)}"
        yield fail("releases", why, "upgrade these: they serve what they know, and write nothing")
    elif len(there) > 1:
        yield warn("releases", f"the control plane is of {', '.join(there)}", "finish the upgrade")
    else:
        yield ok("releases", f"{len(peers)} processes of {', '.join(there)}")


def _checks(cluster: Cluster) -> Iterator[Finding]:
    said = {
        "log": f"answers, at index {cluster.index}",
        "events": "all of them are understood",
        "level": "every process can read what is in the log",
        "coordinator": f"{cluster.coordinator}, epoch {cluster.epoch}",
        "redis": "answers the api",
        "clocks": "within seconds of the database's",
        "disk": "has room",
        "nodes": f"{cluster.nodes.ready} ready, {cluster.nodes.draining} draining",
        "brake": "off",
    }
    for check in cluster.checks:
        if not check.ok:
            made = warn if check.name in ("redis", "clocks", "nodes", "brake", "disk") else fail
            yield made(check.name, check.message, _MEND.get(check.name, "heroctl status"))
        else:
            yield ok(check.name, said.get(check.name, ""))


def lagging(peers: Sequence[Peer]) -> Iterator[Finding]:
    """Judge who lags behind, or says nothing."""
    slow = [f"{peer.id} by {peer.lag} events" for peer in peers if peer.lag > BEHIND]
    silent = [f"{peer.id} for {peer.last_seen_s} s" for peer in peers if peer.last_seen_s > SILENT_S]
    if slow:
        yield warn("lag", f"behind the log: {', '.join(slow)}", "look at the load of these processes")
    if silent:
        yield warn("silence", f"not heard of: {', '.join(silent)}", "look whether these processes still run")


# ── on this machine ──────────────────────────────────────────────────────────────────────────────────────────────────


def _server(settings: str | None) -> Iterator[Finding]:
    words = ("--config", settings) if settings else ()
    yield from _told("settings", "api.doctor", *words)


def _node() -> Iterator[Finding]:
    if not (os.environ.get("DOCKER_HOST") or os.environ.get("HEROCTL_DOCKER") or Path(_DOCKER).exists()):
        yield skip("docker", "not on this machine")
        return
    yield from _told("docker", "agents.doctor")


def _told(name: str, module: str, *words: str) -> Iterator[Finding]:
    """Let a program of ours look that may import what this one may not."""
    command = [sys.executable, "-P", "-m", module, *words]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_LOCAL_S, check=False)
        yield from [msgspec.json.decode(line, type=Finding) for line in ended.stdout.splitlines()]
    except (subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        yield fail(name, f"{module} said nothing of use: {error}")
        return
    if ended.stderr and not ended.stdout:
        problems = "; ".join(ended.stderr.strip().splitlines()[-5:])
        yield fail(name, problems, "the api would not start with these settings either")
