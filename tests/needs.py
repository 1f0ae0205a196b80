"""What some tests need of the machine, and how loudly they say so when it is not there.

Mark a test, a class or (`pytestmark = needs("docker")`) a file. Without the thing the test is skipped, and the summary
has one line a thing: what is missing, how many tests did not run and what would bring it. `HEROCTL_REQUIRE=all` (or
`HEROCTL_REQUIRE=docker,netns`) makes such a skip a failure: CI runs everything or fails.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import docker
import pytest
from docker.errors import DockerException

_MARK: Final = re.compile(r"needs (\w+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Need:
    """A thing of the machine: `missing` says what is wrong, or nothing; `install` says what would bring it."""

    missing: Callable[[], str]
    install: str


def _tool(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else f"no {name} in PATH"


def _docker() -> str:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    nobody = f"no daemon answers at {host}"
    if host.startswith("unix://") and not _listens(host.removeprefix("unix://")):
        return nobody  # the library would leave an open socket behind
    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return nobody
    client.close()
    return _tool("busybox")()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _netns() -> str:
    if os.geteuid() != 0:
        return "not root"
    if absent := _tool("ip")() or _tool("iptables")():
        return absent
    # A namespace that lives as long as this one command: no name, nothing left behind.
    attempt = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return attempt.stderr.strip()


def _tmpfs() -> str:
    if os.geteuid() != 0:
        return "not root"
    # In a mount namespace that lives as long as this one command.
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1M", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()


def _browser() -> str:
    return "" if Path("/usr/bin/chromium").exists() else "no /usr/bin/chromium"


NEEDS: Final[dict[str, Need]] = {
    "browser": Need(_browser, "apt-get install chromium"),
    "curl": Need(_tool("curl"), "apt-get install curl"),
    "docker": Need(_docker, "apt-get install docker.io busybox-static, and start dockerd"),
    "jq": Need(_tool("jq"), "apt-get install jq"),
    "netns": Need(_netns, "run as root; apt-get install iproute2 iptables"),
    "node": Need(_tool("node"), "apt-get install nodejs"),
    "pgbouncer": Need(_tool("pgbouncer"), "apt-get install pgbouncer"),
    "registry": Need(_tool("docker-registry"), "apt-get install docker-registry"),
    "tmpfs": Need(_tmpfs, "run as root, where mounting is allowed"),
}


def needs(name: str) -> pytest.MarkDecorator:
    """Mark what needs this thing of the machine; the names are those of NEEDS."""
    if name not in NEEDS:
        raise ValueError(f"unknown need {name!r}: one of {', '.join(NEEDS)}")
    return pytest.mark.needs(name)


@cache
def missing(name: str) -> str:
    """Say what keeps this thing from tests here, looked up once a process; empty when it is there."""
    return NEEDS[name].missing()


def required(name: str) -> bool:
    """Tell whether HEROCTL_REQUIRE makes the absence of this thing a failure."""
    wanted = os.environ.get("HEROCTL_REQUIRE", "").replace(",", " ").split()
    return "all" in wanted or name in wanted


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, before any fixture starts something for a test that cannot run."""
    for mark in item.iter_markers("needs"):
        name = mark.args[0]
        if reason := missing(name):
            text = f"needs {name}: {reason}"
            if required(name):
                pytest.fail(f"{text} (required by HEROCTL_REQUIRE; {NEEDS[name].install})", pytrace=False)
            pytest.skip(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each thing that was missing."""
    counts: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple) and (found := _MARK.search(report.longrepr[2])):
            counts[found[1], found[2]] += 1
    for (name, reason), count in sorted(counts.items()):
        tests = "1 test" if count == 1 else f"{count} tests"
        line = f"SKIPPED {name}: {reason} — {tests} did not run; {NEEDS[name].install}"
        terminalreporter.write_line(line, yellow=True, bold=True)
