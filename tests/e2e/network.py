"""A network of the test's own: a namespace for each agent, all on one bridge, and ways to cut one of them off.

Needs root. The control plane listens at the bridge's own address; what a cut drops it drops within a namespace, so that
no rule of the machine is touched.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

Way = Literal["both", "in", "out"]

_CHAINS: Final[dict[Way, tuple[str, ...]]] = {"both": ("INPUT", "OUTPUT"), "in": ("INPUT",), "out": ("OUTPUT",)}


@dataclass(slots=True)
class Network:
    """Made by `network()`. Agents are known by their names."""

    bridge: str
    prefix: str  # of addresses: "10.214.7"
    _ends: dict[str, str] = field(default_factory=dict)  # an agent's namespace

    @property
    def address(self) -> str:
        """Where the control plane is, for agents."""
        return f"{self.prefix}.1"

    def join(self, agent: str) -> tuple[str, ...]:
        """Make a namespace for an agent, unless it has one; return the words before a command that is to run in it."""
        if agent not in self._ends:
            self._make(agent)
        return ("nsenter", f"--net=/run/netns/{self._ends[agent]}", "--")

    @contextlib.contextmanager
    def cut(self, *agents: str, way: Way = "both") -> Iterator[None]:
        """Cut some off until the block ends: they hear nobody (`in`), nobody hears them (`out`), or both."""
        rules = [(agent, chain) for agent in agents for chain in _CHAINS[way]]
        try:
            for agent, chain in rules:
                self._drop(agent, "--append", chain)
            yield
        finally:
            for agent, chain in rules:
                self._drop(agent, "--delete", chain)

    def close(self) -> None:
        """Take everything away: a namespace's own end of a link goes only some time after it."""
        for number, namespace in enumerate(self._ends.values(), 1):
            _ip("link", "delete", self._outer(number))
            _ip("netns", "delete", namespace)
        self._ends.clear()

    def _make(self, agent: str) -> None:
        number = len(self._ends) + 1
        namespace, outer, inner = f"{self.bridge}-{number}", self._outer(number), f"{self.bridge}w{number}"
        _ip("netns", "add", namespace)
        self._ends[agent] = namespace
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        _ip("link", "set", outer, "master", self.bridge, "up")
        _ip("link", "set", inner, "netns", namespace)
        _ip("-n", namespace, "address", "add", f"{self.prefix}.{number + 1}/24", "dev", inner)
        for link in (inner, "lo"):
            _ip("-n", namespace, "link", "set", link, "up")

    def _outer(self, number: int) -> str:
        return f"{self.bridge}v{number}"

    def _drop(self, agent: str, how: str, chain: str) -> None:
        words = ("iptables", "--wait", how, chain, "--jump", "DROP")
        subprocess.run([*self.join(agent), *words], check=True, capture_output=True)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make a bridge; leave no namespace, link or rule."""
    pid = os.getpid()
    made = Network(f"hcn{pid}", f"10.214.{pid % 250}")
    _ip("link", "add", "name", made.bridge, "type", "bridge")
    try:
        _ip("address", "add", f"{made.address}/24", "dev", made.bridge)
        _ip("link", "set", made.bridge, "up")
        yield made
    finally:
        made.close()
        _ip("link", "delete", made.bridge)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
