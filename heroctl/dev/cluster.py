"""The whole cluster as children of one process: started in order, kept alive, stopped in order."""

from __future__ import annotations

import asyncio
import os
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from heroctl.dev import parts
from heroctl.dev.child import Child, Recipe, environment
from heroctl.dev.client import Client
from heroctl.dev.folder import Folder, Report, Trouble
from heroctl.dev.leftovers import clear
from heroctl.dev.nodes import Nodes
from heroctl.dev.postgres import APPLICATION, Postgres
from heroctl.dev.processes import identity
from heroctl.dev.screen import Screen
from heroctl.dev.settings import USUAL_PORT, Settings
from heroctl.dev.valkey import Valkey, free_port

SERVERS_S: Final = 60.0  # recovery of a crashed Postgres included
READY_S: Final = 60.0
END_S: Final = 9.0  # for all of it; who is killed takes a moment more
AGENTS_END_S: Final = 7.0  # they stop their workloads meanwhile
CONTROL_END_S: Final = 2.0
SERVERS_END_S: Final = 2.0


class Cluster:
    """One cluster on one folder."""

    def __init__(self, settings: Settings, folder: Folder, screen: Screen) -> None:
        self._settings = settings
        self._folder = folder
        self._screen = screen
        self._kept = folder.kept()
        self._children: dict[str, Child] = {}
        self._report: Report | None = None

    async def start(self) -> Report:
        """Start everything; return when the api and every node are ready."""
        folder = self._folder
        clear(folder, self._screen)
        postgres, valkey = Postgres(folder, self._screen), Valkey(folder, self._kept.valkey_password)
        await asyncio.to_thread(postgres.prepare)
        self._run("postgres", postgres.recipe())
        self._run("valkey", valkey.recipe())
        await self._ready(("postgres", "valkey"), SERVERS_S)
        await _done(parts.migration(postgres.owning, APPLICATION))
        stores, port = parts.Stores(postgres.dsn, valkey.url), self._port()
        url = f"http://{parts.HOST}:{port}"
        async with Client(url) as client:
            asked, key = self._settings.registries, folder.secrets_key()
            api = parts.api(
                stores, port, self._password_file(), postgres.data, client.ready, registries=asked, secrets_key=key
            )
            self._run("api", api)
            self._run("reconciler", parts.reconciler(stores, key))
            await self._ready(("api",), READY_S)
            token = await client.become(self._kept.token, self._kept.admin_password)
            self._kept = folder.keep(msgspec.structs.replace(self._kept, token=token, port=port))
            await Nodes(self._settings, folder, self._screen, self._kept.first_port, self._run).start(client, url)
        for child in self._children.values():
            child.settle()
        self._report = Report(url, token, self._kept.admin_password, {})
        self._tell()
        return self._report

    async def stop(self) -> None:
        """Stop everything it started, workloads included, in order, within ten seconds."""
        self._folder.report.unlink(missing_ok=True)
        self._report = None
        deadline = time.monotonic() + END_S
        agents = [name for name in self._children if name.startswith("agent-")]
        for names, most in (
            (agents, AGENTS_END_S),
            (("reconciler", "api"), CONTROL_END_S),
            (("valkey", "postgres"), SERVERS_END_S),
        ):
            patience = max(0.2, min(most, deadline - time.monotonic()))
            there = [self._children[name] for name in names if name in self._children]
            ended = await asyncio.gather(*(child.stop(patience) for child in there))
            for child, in_order in zip(there, ended, strict=True):
                if not in_order:
                    self._screen.say(f"{child.name} did not end within {patience:.1f} s, and was killed")

    def _run(self, name: str, recipe: Recipe) -> Child:
        child = self._children[name] = Child(name, recipe, self._screen, self._folder.room("logs"), self._tell)
        child.start()
        return child

    async def _ready(self, names: Iterable[str], timeout: float) -> None:
        await asyncio.gather(*(self._children[name].until_ready(timeout) for name in names))

    def _port(self) -> int:
        """Choose the API's port: as asked, else as the last time, else the usual one, else any that is free."""
        asked = self._settings.port
        wanted = [asked] if asked else [port for port in (self._kept.port, USUAL_PORT) if port]
        port = free_port(*wanted)
        if port != wanted[0]:
            self._screen.say(f"port {wanted[0]} is taken: the API gets {port}")
        return port

    def _password_file(self) -> Path:
        place = self._folder.place / "admin-password"
        place.touch(mode=0o600)
        place.write_text(self._kept.admin_password + "\n")
        return place

    def _tell(self) -> None:
        """Write down who runs; and, once all is ready, tell others."""
        pids = {name: child.pid for name, child in self._children.items() if child.pid}
        known = {name: one for name, pid in pids.items() if (one := identity(pid))}
        self._folder.write("children.json", known)
        if self._report is not None:
            self._report = msgspec.structs.replace(self._report, pids={"dev": os.getpid(), **pids})
            self._folder.write("dev.json", self._report)


async def _done(recipe: Recipe) -> None:
    """Run what ends by itself. Trouble when it does not do what it shall."""
    process = await asyncio.create_subprocess_exec(
        *recipe.command, env=environment(recipe), stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Trouble(f"{' '.join(recipe.command[2:])} failed:\n{said.decode(errors='replace').strip()}")
