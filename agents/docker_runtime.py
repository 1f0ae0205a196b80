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
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from typing import Final

import aiodocker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from agents import container_user, descendants
from agents.attached import Attached
from agents.bridge import Bridge, bridge_of
from agents.container import ALLOC, CLUSTER, NODE, PORTS, Container, Description, identified
from agents.container_user import NoSuchUser, User
from agents.counters import Counters
from agents.docker_config import config
from agents.docker_engine import CALL, LONG_CALL, Engine, calling, not_started, shown
from agents.docker_exec import attached
from agents.docker_follow import follow
from agents.docker_images import Images
from agents.docker_streams import heard, unframed, unpacked
from agents.docker_usage import DockerUsage
from agents.gate import Gate
from agents.ground import Ground, Laid
from agents.host_paths import grounded
from agents.log_lines import Position, Said
from agents.login import Login
from agents.output import LINES, last_lines
from agents.runtime import Gone, ImageAbsent, NotAllowed, Ran, StartFailed, StartFault, Unavailable
from heroctl import traces
from heroctl.domain.allowance import NOTHING, Allowance
from heroctl.domain.assignment import Driver
from heroctl.domain.execs import Start
from heroctl.domain.image import digest_of, tagged

DEFAULT_URL: Final = "unix:///var/run/docker.sock"
AT_ONCE: Final = 8  # containers started, or looked at, or removed, side by side
PATIENCE: Final = 10.0  # seconds after which a hanging call no longer holds its place
RECONNECT: Final = 1.0
LAST_WORDS: Final = 2.0  # seconds that the last lines of a container may take, or a look at its image


class DockerRuntime:
    """The containers of one cluster and node in the engine at `url`.

    `publish`: the address host ports listen on; `allowance`: the paths of this machine that containers may have.
    """

    name: Final = "docker"

    def __init__(
        self,
        cluster: str,
        node: str,
        *,
        url: str = "",
        publish: str = "",
        allowance: Allowance = NOTHING,
        ground: Ground | None = None,
        images: Callable[[Engine], Images] = Images,
    ) -> None:
        self._engine = Engine(url or os.environ.get("DOCKER_HOST") or DEFAULT_URL)
        self._images = images(self._engine)
        self._usage = DockerUsage(self._engine)
        self._labels = {CLUSTER: cluster, NODE: node}
        self._publish = publish
        self._allowance = allowance
        self._ground = ground
        self._starts = Gate(AT_ONCE, PATIENCE)
        self._others = Gate(AT_ONCE, PATIENCE)
        self._running: dict[str, Container] = {}  # as started or inspected; what does not change is not asked again
        self._keys: dict[str, str] = {}  # container -> where its files are

    async def bridge(self) -> Bridge | None:
        """Say where containers stand on this machine; None: they stand on another. Unavailable."""
        if not self._engine.local:
            return None
        async with calling(CALL):
            network = await self._docker.networks.get("bridge")
            return bridge_of(await network.show())

    async def open(self) -> None:
        """Begin; the engine may be away."""
        await self._engine.open()

    async def close(self) -> None:
        """End; containers go on."""
        await self._images.close()
        await self._engine.close()

    @property
    def _docker(self) -> aiodocker.Docker:
        return self._engine.docker

    async def health(self) -> Driver:
        """Ask for the engine's version."""
        try:
            async with calling(CALL):
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
        before = {} if alloc or self._ground is None else await asyncio.to_thread(self._ground.files.keys)
        async with calling(CALL):
            listed = await self._docker.containers.list(all=True, filters=filters)
        runs = set() if alloc else {one.id for one in listed if one["State"] == "running"}
        known = {one.id: self._running.get(one.id) if one.id in runs else None for one in listed}
        if not alloc:
            self._running = {key: one for key, one in known.items() if one is not None}
        looked = [one if one is not None else await self._inspect(key) for key, one in known.items()]
        found = [one for one in looked if one is not None]
        self._keys |= {one.id: f"{one.alloc}.{one.attempt}" for one in found}
        if before and self._ground is not None:
            await asyncio.to_thread(self._ground.sweep, before, {self._keys[one.id] for one in found})
        return found

    async def _inspect(self, container: str) -> Container | None:
        try:
            async with self._others.through(), calling(CALL):
                found = shown(await self._docker.containers.get(container))
        except Gone:
            return None
        if found is not None and found.state == "running":
            self._running[container] = found
        return found

    async def pull(self, image: str, login: Login | None = None) -> None:
        """Bring an image here, once however many ask for it at a time."""
        await self._images.pull(image, login)

    async def tidy(self, used: Collection[str]) -> None:
        """Remove images as far as room is needed."""
        await self._images.tidy(used)

    async def start(self, description: Description) -> Container:
        """Create, start, look at the image: three calls, the first two for at most eight containers side by side.

        Two or three more in between where it has files or new volumes: they are given to whoever it runs as.
        """
        async with self._starts.through():
            with self._held(description.key):
                container = await self._started(description)
        now, image = time.monotonic(), await self._stands_for(description.image)
        made = identified(description.labels, id=container.id, state="running", started_at=now, image=image)
        if made is None:
            raise ValueError(f"{description.name} has labels that do not identify it")
        self._running[made.id] = made
        return made

    async def _started(self, description: Description) -> DockerContainer:
        with traces.span("volumes and files"):
            laid = await self._laid(description)
        try:
            with traces.span("create"):
                container = await self._create(laid.description)
        except (StartFault, Unavailable):
            await self._cleared(description.key)
            raise
        self._keys[container.id] = description.key
        try:
            await self._give(laid, container)
            with traces.span("start"):
                async with calling(LONG_CALL):
                    await container.start()
        except (DockerError, Gone, StartFault) as error:
            await self.remove(container.id)
            raise not_started(error) from error
        return container

    async def _stands_for(self, image: str) -> str:
        """One call, where a tag names the image: what it was pulled as. Made here, or pulled as several: not known."""
        if not tagged(image):
            return ""
        with contextlib.suppress(Unavailable, Gone, DockerError):
            async with calling(LAST_WORDS):
                shown = await self._docker.images.inspect(image)
            return digest_of(image, shown.get("RepoDigests") or ())
        return ""

    # ── what it gets of this machine ─────────────────────────────────────────────────────────────────────────────────

    def _held(self, key: str) -> contextlib.AbstractContextManager[None]:
        return self._ground.held(key) if self._ground is not None else contextlib.nullcontext()

    async def _laid(self, description: Description) -> Laid:
        """Put it in place; a file system that does not answer costs a thread, not the agent."""
        if not (description.devices or description.volumes or description.files):
            return Laid(description, (), ())
        if not self._engine.local:
            raise NotAllowed("files, volumes and paths of the host where the engine is on another machine")
        async with calling(CALL):
            if self._ground is not None:
                return await asyncio.to_thread(self._ground.lay, description, self._allowance)
            if description.files or any(volume.named for volume in description.volumes):
                raise NotAllowed("files and named volumes")
            return Laid(await asyncio.to_thread(grounded, description, self._allowance), (), ())

    async def _give(self, laid: Laid, container: DockerContainer) -> None:
        """Give what was put there to whoever the container runs as: two or three calls, where there is something."""
        if self._ground is None or not laid.wants_owner:
            return
        async with calling(CALL):
            said = str((await container.show())["Config"].get("User") or "")
            user = container_user.plain(said) or await self._named(said, container.id)
            await asyncio.to_thread(self._ground.give, laid, user)

    async def _named(self, said: str, container: str) -> User:
        passwd, group = [await self._text(container, path) for path in ("/etc/passwd", "/etc/group")]
        try:
            return container_user.named(said, passwd, group)
        except NoSuchUser as error:
            raise StartFailed(str(error)) from error

    async def _text(self, container: str, path: str) -> str:
        """Read a small file in a container; "" where there is none."""
        with contextlib.suppress(Gone, DockerError):
            async with self._engine.asked(f"containers/{container}/archive", "GET", {"path": path}) as response:
                return await unpacked(response.content)
        return ""

    async def _cleared(self, key: str) -> None:
        if self._ground is not None and key:
            await asyncio.to_thread(self._ground.remove, key)

    async def _create(self, description: Description) -> DockerContainer:
        try:
            async with calling(LONG_CALL):
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
            async with calling(CALL):
                found = await self._docker.containers.get(name)
            if found["State"]["Status"] == "dead":
                return StartFailed(f"a container that cannot be removed has the name: {message}")
        return Unavailable(f"a container of this name is there already: {message}")

    async def signal(self, container: str, signal: str) -> None:
        """One call."""
        try:
            async with calling(CALL):
                await self._docker.containers.container(container).kill(signal=signal)
        except DockerError as error:
            raise (Gone if error.status == 409 else Unavailable)(error.message) from error

    async def remove(self, container: str) -> None:
        """One call; with its anonymous volumes."""
        async with self._others.through():
            try:
                async with calling(LONG_CALL):
                    await self._docker.containers.container(container).delete(v=True)
            except DockerError as error:
                raise Unavailable(error.message) from error
            except Gone:
                pass
        self._running.pop(container, None)
        self._usage.forget(container)
        await self._cleared(self._keys.pop(container, ""))

    async def exec(self, container: str, command: tuple[str, ...], timeout: float) -> Ran:
        """Four calls; what runs on after the time is killed, where the engine is on this machine."""
        try:
            async with calling(CALL):
                running = await self._docker.containers.container(container).exec(list(command))
            try:
                async with asyncio.timeout(timeout), calling(None):
                    output = await heard(running)
            except TimeoutError:
                async with calling(CALL):
                    descendants.end_inside(container, int((await running.inspect()).get("Pid") or 0))
                raise
            async with calling(CALL):
                ended = await running.inspect()
        except DockerError as error:
            raise (Gone if error.status == 409 else Unavailable)(error.message) from error
        return Ran(int(ended["ExitCode"] or 0), output)

    def attach(self, container: str, start: Start) -> contextlib.AbstractAsyncContextManager[Attached]:
        """Run a command with somebody attached; see docker_exec."""
        return attached(self._docker, container, start)

    async def output(self, container: str) -> str:
        """One call."""
        asked = {"stdout": "1", "stderr": "1", "tail": str(4 * LINES)}  # some may be empty
        with contextlib.suppress(Unavailable, Gone, DockerError):
            async with (
                calling(LAST_WORDS),
                self._engine.asked(f"containers/{container}/logs", "GET", asked) as response,
            ):
                return last_lines(await unframed(response.content))
        return ""

    def follow(self, container: str, position: Position, spare: Callable[[], bool]) -> AsyncGenerator[Said, None]:
        """Read its stream; see docker_follow."""
        return follow(self._engine, container, position, spare)

    async def usage(self, container: str) -> Counters:
        """Read what the kernel counts; see DockerUsage."""
        return await self._usage.of(container)

    async def endpoint(self, container: str, port: str) -> tuple[str, int]:
        """Return the container's own address where the engine is on this machine: its proxy says yes for everyone."""
        try:
            async with calling(CALL):
                found = await self._docker.containers.get(container)
        except DockerError as error:
            raise Unavailable(error.message) from error
        pairs = dict(pair.partition("=")[::2] for pair in found["Config"]["Labels"].get(PORTS, "").split(","))
        host = pairs.get(port, "")
        if host and found["HostConfig"]["NetworkMode"] == "host" and found["State"]["Running"]:
            return self._engine.machine, int(host)
        inside = {
            bound["HostPort"]: int(name.partition("/")[0])
            for name, bindings in found["HostConfig"]["PortBindings"].items()
            for bound in bindings
        }
        if host not in inside or not found["State"]["Running"]:
            raise Gone(f"nothing is reached by port {port}")
        address = str(found["NetworkSettings"]["IPAddress"])
        return (address, inside[host]) if self._engine.local and address else (self._engine.machine, int(host))

    async def exits(self) -> AsyncIterator[str]:
        """Listen to the engine's events; after each connection some may have been missed."""
        labels = [f"{name}={value}" for name, value in self._labels.items()]
        filters = json.dumps({"type": ["container"], "event": ["die", "destroy"], "label": labels})
        while True:
            lines = self._engine.stream("events", "GET", {"filters": filters}, None)
            with contextlib.suppress(Unavailable, DockerError):
                async with calling(None), contextlib.aclosing(lines):
                    async for line in lines:
                        yield str(line.get("Actor", {}).get("Attributes", {}).get(ALLOC, ""))
            await asyncio.sleep(RECONNECT)
