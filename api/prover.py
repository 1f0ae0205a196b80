"""The proof of the log, by a child process: `python -m eventstore verify`, whose lines are handed on as they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, Protocol

from heroctl.domain.settings import PREFIX

_LINE: Final = 1 << 20


class Prover(Protocol):
    """Who checks the log. One check at a time: it reads everything there is."""

    @property
    def busy(self) -> bool:
        """Whether a check is under way."""
        ...

    def lines(self) -> AsyncGenerator[bytes]:
        """Check, and give a line of JSON for each step, the verdict last; ends the check when it is closed."""
        ...


class ProverProcess:
    """Checks the log of a database in a process of its own; see Prover."""

    def __init__(self, dsn: str) -> None:
        self.busy = False
        self._dsn = dsn

    async def lines(self) -> AsyncGenerator[bytes]:
        """See Prover.lines."""
        self.busy = True
        try:
            async with self._running() as process:
                assert process.stdout is not None  # noqa: S101 - it is a pipe
                while line := await process.stdout.readline():
                    yield line
        finally:
            self.busy = False

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        # Where the log is holds a password: only this user reads a process's environment.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "eventstore", "verify",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=_LINE,
            env={**environ, f"{PREFIX}DSN": self._dsn}, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
