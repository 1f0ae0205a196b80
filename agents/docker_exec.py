"""A command in a container that somebody is attached to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import aiodocker
from aiodocker.exceptions import DockerError

from agents import descendants
from agents.attached import Attached
from agents.docker_engine import CALL, calling
from agents.runtime import Gone, Unavailable
from heroctl.domain.execs import STDERR, STDOUT, Start

# The engine would let go of a command at «ctrl-p,ctrl-q», and holds each ctrl-p back: nobody types these by chance.
_KEYS: Final = "ctrl-^,ctrl-@,ctrl-^,ctrl-@"
_LOOK: Final = 0.02  # seconds between two looks whether it has ended, at first
_ENDING: Final = 5.0  # seconds that the engine may take to know how it ended


@contextlib.asynccontextmanager
async def attached(docker: aiodocker.Docker, container: str, start: Start) -> AsyncIterator[Attached]:
    """Run it. Gone where nothing runs, Unavailable. Where the engine is on this machine, what runs on is killed."""
    try:
        async with calling(CALL):
            running = await docker.containers.container(container).exec(
                start.command,
                stdin=True,
                tty=start.tty,
                environment={"TERM": "xterm"} if start.tty else None,
                detach_keys=_KEYS,
            )
            stream = running.start(detach=False)
            await stream.__aenter__()
    except DockerError as error:
        raise (Gone if error.status == 409 else Unavailable)(error.message) from error
    command = _Command(running, stream, start)
    try:
        if start.tty:
            await command.resize(start.width, start.height)
        yield command
    finally:
        await stream.close()
        await _end(running, container)


async def _end(running: Any, container: str) -> None:  # noqa: ANN401 - the library's type has no name of its own
    """Kill what runs on; where the engine cannot be asked, it runs on until its container ends."""
    with contextlib.suppress(Unavailable, Gone, DockerError):
        async with calling(CALL):
            while (found := await running.inspect()).get("Running"):
                if pid := int(found.get("Pid") or 0):
                    descendants.end_inside(container, pid)
                    return
                await asyncio.sleep(_LOOK)  # it has only just begun: the engine does not know it yet


class _Command:
    """See Attached."""

    def __init__(self, running: Any, stream: Any, start: Start) -> None:  # noqa: ANN401 - as above
        self._running = running
        self._stream = stream
        self._tty = start.tty

    async def write(self, part: bytes) -> None:
        """See Attached.write."""
        with contextlib.suppress(OSError, RuntimeError, AssertionError):  # the library's words for: it has ended
            await self._stream.write_in(part)

    async def end_input(self) -> None:
        """See Attached.end_input."""
        if not self._tty and (connection := self._stream._resp.connection) is not None:  # noqa: SLF001 - it closes both ways or none
            with contextlib.suppress(OSError):
                connection.transport.write_eof()

    async def resize(self, width: int, height: int) -> None:
        """See Attached.resize."""
        if self._tty:
            with contextlib.suppress(Unavailable, Gone, DockerError):  # it has ended, or is about to begin
                async with calling(CALL):
                    await self._running.resize(w=width, h=height)

    async def read(self) -> tuple[int, bytes] | None:
        """See Attached.read."""
        try:
            message = await self._stream.read_out()
        except OSError:
            return None
        if message is None:
            return None
        return (STDERR if message.stream == STDERR else STDOUT), bytes(message.data)

    async def wait(self) -> int:
        """See Attached.wait. Unavailable where the engine does not say."""
        pause, deadline = _LOOK, asyncio.get_running_loop().time() + _ENDING
        while True:
            async with calling(CALL):
                found = await self._running.inspect()
            if not found.get("Running") and found.get("ExitCode") is not None:
                return int(found["ExitCode"])
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("the engine does not say how it ended")
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)
