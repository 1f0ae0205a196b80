"""The nodes of a dev cluster: they share the machine, join once, and go when a later start wants fewer."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from heroctl.dev import machine, parts
from heroctl.dev.child import Child, Recipe
from heroctl.dev.client import Client
from heroctl.dev.folder import Folder, Trouble
from heroctl.dev.screen import Screen
from heroctl.dev.settings import Settings

READY_S: Final = 60.0
_LEAVE_S: Final = 30.0  # for the workloads of a node that goes


@dataclass(frozen=True, slots=True)
class Nodes:
    """Starts them. `run` starts a child and keeps it alive."""

    settings: Settings
    folder: Folder
    screen: Screen
    first_port: int
    run: Callable[[str, Recipe], Child]

    async def start(self, client: Client, url: str) -> None:
        """Start an agent for each node; return when all are ready, and no other is left."""
        docker = await self._docker()
        cores, memory = machine.cores(), machine.memory()
        wanted = range(1, self.settings.agents + 1)
        more = [number for number in parts.numbers(self.folder.place) if number not in wanted]
        shares = dict(zip(wanted, machine.shares(len(wanted), cores, memory, self.first_port), strict=True))
        agents = {number: await self._agent(client, url, shares[number], number, docker=docker) for number in wanted}
        for number, share in zip(more, machine.shares(len(more), cores, memory, machine.FIRST_PORT), strict=True):
            await self._let_go(client, await self._agent(client, url, share, number, docker=docker), number)
        deadline = time.monotonic() + READY_S
        while missing := await self._missing(client, agents):
            for number in missing:
                if agents[number].over:  # its node was removed meanwhile: it joins as a new one
                    agents[number] = await self._agent(client, url, shares[number], number, docker=docker)
            if time.monotonic() > deadline:
                names = ", ".join(parts.node(number) for number in missing)
                raise Trouble(f"{names} did not become ready within {READY_S:.0f} s")

    async def _agent(self, client: Client, url: str, share: machine.Share, number: int, *, docker: bool) -> Child:
        name = parts.node(number)
        room = self.folder.room(name)
        token = "" if parts.has_joined(room) else await client.join_token()
        return self.run(f"agent-{number}", parts.agent(name, url, room, share, docker=docker, token=token))

    async def _missing(self, client: Client, agents: dict[int, Child]) -> list[int]:
        """Return whose nodes are not ready yet. Trouble where an agent is beyond hope."""
        for agent in agents.values():
            agent.check()
        status = await client.nodes()
        return [number for number in agents if status.get(parts.node(number)) != "ready"]

    async def _let_go(self, client: Client, agent: Child, number: int) -> None:
        """Remove the node of an earlier start; its agent hears of it, stops all that it runs, and ends."""
        name = parts.node(number)
        self.screen.say(f"{name} is of an earlier start with more nodes: removing it")
        await client.remove_node(name)
        deadline = time.monotonic() + _LEAVE_S
        while not agent.over:
            agent.check()
            if time.monotonic() > deadline:
                raise Trouble(f"{name} did not stop what it runs within {_LEAVE_S:.0f} s")
            await asyncio.sleep(0.05)
        shutil.rmtree(self.folder.place / name)

    async def _docker(self) -> bool:
        """Decide whether the nodes run containers, too."""
        wanted = self.settings.runtime
        if wanted == "process":
            return False
        answers = await machine.docker_answers(os.environ.get("DOCKER_HOST", ""))
        if wanted == "docker" and not answers:
            raise Trouble("no Docker engine answers: start it, or take --runtime process")
        return answers
