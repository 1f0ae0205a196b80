"""A command beside a workload, run to its end or to the end of its time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from agents import descendants

OUTPUT: Final = 1024  # bytes kept of what a command says
_LAST: Final = 0.1  # seconds to hear what was said before the end
_PART: Final = 64 * 1024


async def run(command: tuple[str, ...], folder: Path, env: dict[str, str], timeout: float) -> tuple[int, bytes]:
    """Return its exit code and the end of what it said. OSError where it cannot be started.

    Its own end counts, not that of something that it left behind with our pipe in hand. TimeoutError after `timeout`
    seconds: it is ended then, with all that it started.
    """
    hear, say = os.pipe()
    with os.fdopen(hear, "rb", 0) as ours, os.fdopen(say, "wb", 0) as its:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        listening, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), ours)
        try:
            running = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=its,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
            its.close()
            return await _ended(running, reader, timeout)
        finally:
            listening.close()


async def _ended(
    running: asyncio.subprocess.Process, reader: asyncio.StreamReader, timeout: float
) -> tuple[int, bytes]:
    said = bytearray()
    hearing = asyncio.create_task(_heard(reader, said))
    try:
        async with asyncio.timeout(timeout):
            await running.wait()
        await asyncio.wait([hearing], timeout=_LAST)
    finally:
        descendants.end(running.pid, reaped=running.returncode is not None)
        await running.wait()
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    return running.returncode or 0, bytes(said)


async def _heard(reader: asyncio.StreamReader, said: bytearray) -> None:
    """Hear all of it, however much, and keep the end."""
    while part := await reader.read(_PART):
        said += part
        del said[:-OUTPUT]
