"""The way to a Docker engine: calls with an end, streams, and what its answers mean to an agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError, DockerStreamError

from agents.container import Container, State, identified
from agents.runtime import Gone, PortInUse, StartFailed, StartFault, Unavailable

CALL: Final = 15.0  # seconds for a quick call
LONG_CALL: Final = 60.0  # for one that makes, starts or removes something
_LOCAL: Final = "unix://"
_STATES: Final[dict[str, State]] = {
    "created": "created",
    "running": "running",
    "paused": "running",
    "restarting": "running",
}
_NEVER: Final = "0001-"  # the year in which nothing happened
_TAKEN: Final = re.compile(r"port is already allocated|address already in use", re.IGNORECASE)
# The engine is asked to end and has closed its networks, but answers still: no fault of the workload.
_ENDING: Final = re.compile("failed to update store for object type")
_PORT: Final = re.compile(r":(\d+)(?::| failed)")


class Engine:
    """One engine at `url`, which may be away."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connector: aiohttp.BaseConnector | None = None
        self.docker: aiodocker.Docker

    async def open(self) -> None:
        """Begin. Commands and pulls that hang keep no connection from others."""
        forever = aiohttp.ClientTimeout(total=None)
        if self.local:
            self._connector = aiohttp.UnixConnector(self.url.removeprefix(_LOCAL), limit=0)
            self.docker = aiodocker.Docker(f"{_LOCAL}localhost", connector=self._connector, timeout=forever)
        else:
            self.docker = aiodocker.Docker(self.url, timeout=forever)

    async def close(self) -> None:
        """End."""
        await self.docker.close()
        if self._connector is not None:
            await self._connector.close()

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return self.url.startswith(_LOCAL)

    @property
    def machine(self) -> str:
        """Where it publishes ports."""
        return urlsplit(self.url).hostname or "127.0.0.1"

    async def stream(
        self,
        path: str,
        method: str,
        params: dict[str, str],
        progress: float | None,
        headers: dict[str, str] | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the objects of a stream, first an empty one; TimeoutError when none comes for `progress` seconds."""
        async with contextlib.AsyncExitStack() as stack:
            asking = self.asked(path, method, params, headers)
            response = await asyncio.wait_for(stack.enter_async_context(asking), progress)
            yield {}
            while (line := await asyncio.wait_for(response.content.readline(), progress)).endswith(b"\n"):
                yield json.loads(line)

    @contextlib.asynccontextmanager
    async def asked(
        self, path: str, method: str, params: dict[str, str], headers: dict[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Read an answer piece by piece; cut short, its connection is closed, as the library's own streams do not."""
        forever = aiohttp.ClientTimeout(total=None)
        asking = self.docker._query(path, method, params=params, headers=headers, timeout=forever)  # noqa: SLF001 - see above
        async with asking as response:
            try:
                yield response
            finally:
                response.close()


@contextlib.asynccontextmanager
async def calling(timeout: float | None) -> AsyncIterator[None]:
    """Turn the engine's silence into Unavailable and its 404 into Gone; its other answers stay DockerError."""
    patience = asyncio.timeout(timeout)
    try:
        async with patience:
            yield
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise Unavailable(f"the engine did not answer within {timeout:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"the engine is away: {error}") from error
    except DockerStreamError:
        raise
    except DockerError as error:
        if error.status == 404:
            raise Gone(error.message) from error
        if error.status >= 900 or error.status == 503:
            raise Unavailable(error.message) from error
        raise


def shown(found: DockerContainer) -> Container | None:
    """Read what an engine shows of a container; None: it is not ours, or never runs again."""
    state, labels = found["State"], found["Config"]["Labels"] or {}
    if state["Status"] == "dead":
        return None  # its removal failed half-way: it never runs again, and the engine tries anew when it is restarted
    ended = _STATES.get(state["Status"], "exited") == "exited"
    return identified(
        labels,
        id=found.id,
        state=_STATES.get(state["Status"], "exited"),
        started_at=_monotonic(state["StartedAt"]) if state["Running"] else None,
        run="" if ended or state["FinishedAt"].startswith(_NEVER) else state["FinishedAt"],
        exit_code=int(state["ExitCode"]) if ended else None,
        oom=ended and bool(state["OOMKilled"]),
        message=str(state["Error"]) if ended else "",
    )


def _monotonic(text: str) -> float:
    """Bring the engine's time (nanoseconds, UTC) to this machine's monotonic clock."""
    then = datetime.fromisoformat(text[:19] + "+00:00").timestamp()
    return time.monotonic() - max(0.0, time.time() - then)


def not_started(error: Exception) -> StartFault | Unavailable:
    """Say what it means that a container could not be started."""
    if isinstance(error, StartFault):
        return error
    if isinstance(error, Gone):
        return Unavailable(str(error))
    message = error.message if isinstance(error, DockerError) else str(error)
    if _ENDING.search(message):
        return Unavailable(message)
    if _TAKEN.search(message):
        port = _PORT.search(message)
        return PortInUse(int(port[1]) if port else 0, message)
    return StartFailed(message)
