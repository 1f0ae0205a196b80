"""Containers in a Docker engine; the only file that speaks to one.

Two calls start a container (create, start): host ports are chosen before, names are unique per attempt, and the image
is asked for only when the engine says that it has none. Pulls happen only for images that are not there, whatever the
tag (as Kubernetes' IfNotPresent); what a tag stood for is told of, and from then on the image is named by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
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

from agents import descendants
from agents.container import ALLOC, CLUSTER, NODE, PORTS, Container, Description, State, identified
from agents.docker_config import config
from agents.docker_streams import heard, unframed
from agents.gate import Gate
from agents.host_paths import grounded
from agents.output import LINES, last_lines
from agents.runtime import (
    Gone,
    ImageAbsent,
    ImageMissing,
    NotAllowed,
    PortInUse,
    PullFailed,
    Ran,
    StartFailed,
    StartFault,
    Unavailable,
)
from heroctl.domain.allowance import NOTHING, Allowance
from heroctl.domain.assignment import Driver
from heroctl.domain.image import digest_of, tagged

DEFAULT_URL: Final = "unix:///var/run/docker.sock"
_LOCAL: Final = "unix://"
AT_ONCE: Final = 8  # containers started, or looked at, or removed, side by side
PATIENCE: Final = 10.0  # seconds after which a hanging call no longer holds its place
CALL: Final = 15.0  # seconds for a quick call
LONG_CALL: Final = 60.0  # for one that makes, starts or removes something
PULL: Final = 300.0  # for a whole pull
PULL_PROGRESS: Final = 120.0  # between two signs of life of a pull
RECONNECT: Final = 1.0
LAST_WORDS: Final = 2.0  # seconds that the last lines of a container may take, or a look at its image
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
_NOWHERE: Final = re.compile(
    r"not found|no such image|does not exist|manifest unknown|access (?:to the resource is )?denied|unauthorized",
    re.IGNORECASE,
)


class DockerRuntime:
    """The containers of one cluster and node in the engine at `url`.

    `publish`: the address host ports listen on; `allowance`: the paths of this machine that containers may have.
    """

    name: Final = "docker"

    def __init__(
        self, cluster: str, node: str, *, url: str = "", publish: str = "", allowance: Allowance = NOTHING
    ) -> None:
        self._url = url or os.environ.get("DOCKER_HOST") or DEFAULT_URL
        self._labels = {CLUSTER: cluster, NODE: node}
        self._publish = publish
        self._allowance = allowance
        self._starts = Gate(AT_ONCE, PATIENCE)
        self._others = Gate(AT_ONCE, PATIENCE)
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, Container] = {}  # as started or inspected; what does not change is not asked again
        self._connector: aiohttp.BaseConnector | None = None
        self._docker: aiodocker.Docker

    async def open(self) -> None:
        """Begin; the engine may be away. Commands and pulls that hang keep no connection from others."""
        forever = aiohttp.ClientTimeout(total=None)
        if self._local:
            self._connector = aiohttp.UnixConnector(self._url.removeprefix(_LOCAL), limit=0)
            self._docker = aiodocker.Docker(f"{_LOCAL}localhost", connector=self._connector, timeout=forever)
        else:
            self._docker = aiodocker.Docker(self._url, timeout=forever)

    async def close(self) -> None:
        """End; containers go on."""
        for pull in self._pulls.values():
            pull.cancel()
        await asyncio.gather(*self._pulls.values(), return_exceptions=True)
        await self._docker.close()
        if self._connector is not None:
            await self._connector.close()

    async def health(self) -> Driver:
        """Ask for the engine's version."""
        try:
            async with _calling(CALL):
                version = await self._docker.version()
        except Unavailable:
            return Driver(healthy=False)
        return Driver(healthy=True, version=str(version.get("Version", "")))

    async def list(self, alloc: str = "") -> list[Container]:
        """One call, and one for each container that is not known to run.

        Of one allocation every container is asked for: lists say `running` until the engine has dealt with an end, of
        which its events tell before; a single one is answered after it.
        """
        labels = self._labels | ({ALLOC: alloc} if alloc else {})
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        async with _calling(CALL):
            listed = await self._docker.containers.list(all=True, filters=filters)
        runs = set() if alloc else {one.id for one in listed if one["State"] == "running"}
        known = {one.id: self._running.get(one.id) if one.id in runs else None for one in listed}
        if not alloc:
            self._running = {key: one for key, one in known.items() if one is not None}
        shown = [one if one is not None else await self._inspect(key) for key, one in known.items()]
        return [one for one in shown if one is not None]

    async def _inspect(self, container: str) -> Container | None:
        try:
            async with self._others.through(), _calling(CALL):
                found = _shown(await self._docker.containers.get(container))
        except Gone:
            return None
        if found is not None and found.state == "running":
            self._running[container] = found
        return found

    async def pull(self, image: str) -> None:
        """Bring an image here, once however many ask for it at a time."""
        pull = self._pulls.get(image)
        if pull is None:
            pull = self._pulls[image] = asyncio.create_task(self._pull(image))
            pull.add_done_callback(lambda _: self._pulls.pop(image, None))
        await asyncio.shield(pull)

    async def _pull(self, image: str) -> None:
        tag = {} if ":" in image.rpartition("/")[2] or "@" in image else {"tag": "latest"}
        lines = self._stream("images/create", "POST", {"fromImage": image, **tag}, PULL_PROGRESS)
        try:
            async with asyncio.timeout(PULL), _calling(None), contextlib.aclosing(lines):
                async for line in lines:
                    _complain(line)
        except TimeoutError as error:
            raise PullFailed(f"{image} could not be pulled: it took too long") from error
        except (DockerError, Gone) as error:
            nowhere = isinstance(error, Gone) or _NOWHERE.search(error.message)
            raise (ImageMissing if nowhere else PullFailed)(f"{image} could not be pulled: {error}") from error

    async def start(self, description: Description) -> Container:
        """Create, start, look at the image: three calls, the first two for at most eight containers side by side."""
        async with self._starts.through():
            container = await self._create(await self._grounded(description))
            try:
                async with _calling(LONG_CALL):
                    await container.start()
            except (DockerError, Gone) as error:
                await self.remove(container.id)
                raise _not_started(error) from error
        now, image = time.monotonic(), await self._stands_for(description.image)
        made = identified(description.labels, id=container.id, state="running", started_at=now, image=image)
        if made is None:
            raise ValueError(f"{description.name} has labels that do not identify it")
        self._running[container.id] = made
        return made

    async def _stands_for(self, image: str) -> str:
        """One call, where a tag names the image: what it was pulled as. Made here, or pulled as several: not known."""
        if not tagged(image):
            return ""
        with contextlib.suppress(Unavailable, Gone, DockerError):
            async with _calling(LAST_WORDS):
                shown = await self._docker.images.inspect(image)
            return digest_of(image, shown.get("RepoDigests") or ())
        return ""

    async def _grounded(self, description: Description) -> Description:
        """Find what paths of the host really are; a file system that does not answer costs a thread, not the agent."""
        if not (description.devices or description.volumes):
            return description
        if not self._local:
            raise NotAllowed("paths of the host where the engine is on another machine")
        async with _calling(CALL):
            return await asyncio.to_thread(grounded, description, self._allowance)

    @property
    def _local(self) -> bool:
        return self._url.startswith(_LOCAL)

    async def _create(self, description: Description) -> DockerContainer:
        try:
            async with _calling(LONG_CALL):
                return await self._docker.containers.create(config(description, self._publish), name=description.name)
        except Gone as error:
            raise ImageAbsent(description.image) from error
        except DockerError as error:
            if error.status == 409:
                raise await self._taken(description.name, error.message) from error
            raise StartFailed(error.message) from error

    async def _taken(self, name: str, message: str) -> StartFault | Unavailable:
        """Judge a name that is there already: a dead container keeps it, and the next attempt has another one."""
        with contextlib.suppress(Gone):
            async with _calling(CALL):
                found = await self._docker.containers.get(name)
            if found["State"]["Status"] == "dead":
                return StartFailed(f"a container that cannot be removed has the name: {message}")
        return Unavailable(f"a container of this name is there already: {message}")

    async def signal(self, container: str, signal: str) -> None:
        """One call."""
        try:
            async with _calling(CALL):
                await self._docker.containers.container(container).kill(signal=signal)
        except DockerError as error:
            raise (Gone if error.status == 409 else Unavailable)(error.message) from error

    async def remove(self, container: str) -> None:
        """One call; with its anonymous volumes."""
        async with self._others.through():
            try:
                async with _calling(LONG_CALL):
                    await self._docker.containers.container(container).delete(v=True)
            except DockerError as error:
                raise Unavailable(error.message) from error
            except Gone:
                pass
        self._running.pop(container, None)

    async def exec(self, container: str, command: tuple[str, ...], timeout: float) -> Ran:
        """Four calls; what runs on after the time is killed, where the engine is on this machine."""
        try:
            async with _calling(CALL):
                running = await self._docker.containers.container(container).exec(list(command))
            try:
                async with asyncio.timeout(timeout), _calling(None):
                    output = await heard(running)
            except TimeoutError:
                async with _calling(CALL):
                    descendants.end_inside(container, int((await running.inspect()).get("Pid") or 0))
                raise
            async with _calling(CALL):
                ended = await running.inspect()
        except DockerError as error:
            raise (Gone if error.status == 409 else Unavailable)(error.message) from error
        return Ran(int(ended["ExitCode"] or 0), output)

    async def output(self, container: str) -> str:
        """One call."""
        asked = {"stdout": "1", "stderr": "1", "tail": str(4 * LINES)}  # some may be empty
        with contextlib.suppress(Unavailable, Gone, DockerError):
            async with _calling(LAST_WORDS), self._asked(f"containers/{container}/logs", "GET", asked) as response:
                return last_lines(await unframed(response.content))
        return ""

    async def endpoint(self, container: str, port: str) -> tuple[str, int]:
        """Return the container's own address where the engine is on this machine: its proxy says yes for everyone."""
        try:
            async with _calling(CALL):
                found = await self._docker.containers.get(container)
        except DockerError as error:
            raise Unavailable(error.message) from error
        pairs = dict(pair.partition("=")[::2] for pair in found["Config"]["Labels"].get(PORTS, "").split(","))
        host = pairs.get(port, "")
        if host and found["HostConfig"]["NetworkMode"] == "host" and found["State"]["Running"]:
            return self._machine, int(host)
        inside = {
            bound["HostPort"]: int(name.partition("/")[0])
            for name, bindings in found["HostConfig"]["PortBindings"].items()
            for bound in bindings
        }
        if host not in inside or not found["State"]["Running"]:
            raise Gone(f"nothing is reached by port {port}")
        address = str(found["NetworkSettings"]["IPAddress"])
        return (address, inside[host]) if self._local and address else (self._machine, int(host))

    @property
    def _machine(self) -> str:
        return urlsplit(self._url).hostname or "127.0.0.1"

    async def exits(self) -> AsyncIterator[str]:
        """Listen to the engine's events; after each connection some may have been missed."""
        labels = [f"{name}={value}" for name, value in self._labels.items()]
        filters = json.dumps({"type": ["container"], "event": ["die", "destroy"], "label": labels})
        while True:
            lines = self._stream("events", "GET", {"filters": filters}, None)
            with contextlib.suppress(Unavailable, DockerError):
                async with _calling(None), contextlib.aclosing(lines):
                    async for line in lines:
                        yield str(line.get("Actor", {}).get("Attributes", {}).get(ALLOC, ""))
            await asyncio.sleep(RECONNECT)

    async def _stream(
        self, path: str, method: str, params: dict[str, str], progress: float | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the objects of a stream, first an empty one; TimeoutError when none comes for `progress` seconds."""
        async with contextlib.AsyncExitStack() as stack:
            asking = self._asked(path, method, params)
            response = await asyncio.wait_for(stack.enter_async_context(asking), progress)
            yield {}
            while (line := await asyncio.wait_for(response.content.readline(), progress)).endswith(b"\n"):
                yield json.loads(line)

    @contextlib.asynccontextmanager
    async def _asked(self, path: str, method: str, params: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Read an answer piece by piece; cut short, its connection is closed, as the library's own streams do not."""
        forever = aiohttp.ClientTimeout(total=None)
        asking = self._docker._query(path, method, params=params, timeout=forever)  # noqa: SLF001 - see above
        async with asking as response:
            try:
                yield response
            finally:
                response.close()


@contextlib.asynccontextmanager
async def _calling(timeout: float | None) -> AsyncIterator[None]:
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


def _shown(found: DockerContainer) -> Container | None:
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


def _not_started(error: Exception) -> StartFault | Unavailable:
    if isinstance(error, Gone):
        return Unavailable(str(error))
    message = error.message if isinstance(error, DockerError) else str(error)
    if _ENDING.search(message):
        return Unavailable(message)
    if _TAKEN.search(message):
        port = _PORT.search(message)
        return PortInUse(int(port[1]) if port else 0, message)
    return StartFailed(message)


def _complain(line: dict[str, Any]) -> None:
    if "error" in line:
        raise DockerStreamError(str(line["error"]))
