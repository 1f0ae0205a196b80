"""A command that somebody is attached to, beside a plain process: by pipes, or in a terminal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from agents import beside, descendants
from agents.attached import Attached
from heroctl.domain.execs import PART, STDERR, STDOUT, Start

_QUIET: Final = 1.0  # seconds of silence after its end, where something that it left behind still has its output
_SIZE: Final = struct.Struct("HHHH")


@contextlib.asynccontextmanager
async def attached(start: Start, folder: Path, env: dict[str, str], groups: Sequence[str]) -> AsyncIterator[Attached]:
    """Run it in a folder, in control groups. OSError where nothing can be started at all."""
    async with contextlib.AsyncExitStack() as stack:
        opened = await (_terminal(start, stack) if start.tty else _pipes(stack))
        launcher = sys.executable, "-S", "-E", beside.__file__, "1" if start.tty else "0", ":".join(groups)
        running = await asyncio.create_subprocess_exec(
            *launcher,
            *start.command,
            cwd=folder,
            env={"TERM": "xterm", **env} if start.tty else env,
            stdin=opened.its[0],
            stdout=opened.its[1],
            stderr=opened.its[2],
            start_new_session=True,
        )
        _close(opened.its)
        command = _Command(running, opened)
        try:
            yield command
        finally:
            await command.close()
            descendants.end(running.pid, reaped=running.returncode is not None)
            await running.wait()


class _Opened:
    """Our ends of what it reads and writes, and its own, until it has them."""

    def __init__(self, its: list[int], readers: dict[int, asyncio.StreamReader], writer: asyncio.StreamWriter) -> None:
        self.its = its
        self.readers = readers
        self.writer = writer
        self.terminal = -1


async def _pipes(stack: contextlib.AsyncExitStack) -> _Opened:
    (stdin, ours), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
    its = [stdin, stdout, stderr]
    stack.callback(_close, its)
    readers = {STDOUT: await _reader(out, stack), STDERR: await _reader(err, stack)}
    return _Opened(its, readers, await _writer(ours, stack))


async def _terminal(start: Start, stack: contextlib.AsyncExitStack) -> _Opened:
    master, slave = os.openpty()
    its = [slave] * 3
    stack.callback(_close, its)
    _resize(master, start.width, start.height)
    opened = _Opened(its, {STDOUT: await _reader(master, stack)}, await _writer(os.dup(master), stack))
    opened.terminal = master
    return opened


async def _reader(descriptor: int, stack: contextlib.AsyncExitStack) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=PART)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    stack.callback(transport.close)
    return reader


async def _writer(descriptor: int, stack: contextlib.AsyncExitStack) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(descriptor, "wb", 0)
    )
    stack.callback(_abort, transport)
    return asyncio.StreamWriter(transport, protocol, None, loop)


def _abort(transport: asyncio.WriteTransport) -> None:
    if not transport.is_closing():
        transport.abort()


def _close(descriptors: list[int]) -> None:
    """Close what has not been closed."""
    for descriptor in set(descriptors):
        os.close(descriptor)
    descriptors.clear()


def _resize(terminal: int, width: int, height: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, _SIZE.pack(height, width, 0, 0))


class _Command:
    """See Attached."""

    def __init__(self, running: asyncio.subprocess.Process, opened: _Opened) -> None:
        self._running = running
        self._opened = opened
        self._open = set(opened.readers)
        self._reading: dict[asyncio.Task[bytes], int] = {}

    async def write(self, part: bytes) -> None:
        """See Attached.write."""
        with contextlib.suppress(OSError):
            self._opened.writer.write(part)
            await self._opened.writer.drain()

    async def end_input(self) -> None:
        """See Attached.end_input."""
        if self._opened.terminal < 0:
            self._opened.writer.close()

    async def resize(self, width: int, height: int) -> None:
        """See Attached.resize."""
        if self._opened.terminal >= 0:
            with contextlib.suppress(OSError):
                _resize(self._opened.terminal, width, height)

    async def read(self) -> tuple[int, bytes] | None:
        """See Attached.read."""
        while self._open:
            for channel in self._open - set(self._reading.values()):
                self._reading[asyncio.create_task(_part(self._opened.readers[channel]))] = channel
            ending = asyncio.create_task(self._running.wait())
            ended = self._running.returncode is not None
            waiting: set[asyncio.Task[Any]] = set(self._reading) if ended else {*self._reading, ending}
            await asyncio.wait(waiting, timeout=_QUIET if ended else None, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            heard = next((task for task in self._reading if task.done()), None)
            if heard is None and ended:
                break
            if heard is not None:
                channel = self._reading.pop(heard)
                if part := heard.result():
                    return channel, part
                self._open.discard(channel)
        return None

    async def close(self) -> None:
        """Read nothing more."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    async def wait(self) -> int:
        """See Attached.wait."""
        code = await self._running.wait()
        return 128 - code if code < 0 else code


async def _part(reader: asyncio.StreamReader) -> bytes:
    """Read some; nothing at the end, which a terminal tells by an error."""
    try:
        return await reader.read(PART)
    except OSError:
        return b""
