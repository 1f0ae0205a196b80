"""A runtime that runs nothing and fails as told: for tests, and for trying out a control plane without workloads.

What a container does is the script of its image. Time is the clock's, so that hours pass in a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agents.attached import Attached
from agents.clock import Clock
from agents.container import Container, Description, identified
from agents.counters import Counters
from agents.log_lines import Place, Position, Said, Written
from agents.login import Login
from agents.output import last_lines
from agents.runtime import Gone, ImageAbsent, ImageAuthFailed, ImageMissing, PortInUse, Ran, StartFailed, Unavailable
from heroctl.domain.assignment import Driver
from heroctl.domain.execs import STDOUT, Start
from heroctl.domain.image import tagged

_HEARD_ONLY: Final = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")


class Script(Struct, frozen=True):
    """What containers of an image do. Times are seconds."""

    start_takes: float = 0.0
    pull_takes: float = 0.0
    exits_after: float | None = None
    exit_code: int = 0
    oom: bool = False
    stop_takes: float | None = 0.0  # None: it does not listen to signals
    hung_up: int | None = None  # the exit code that SIGHUP ends it with; None: it goes on
    healthy: bool = True
    here: bool = True  # whether the image is on the node from the beginning
    digest: str = ""  # what its tag stands for
    missing: bool = False  # whether no registry has it
    private: bool = False  # whether its registry gives it to those it knows only
    refused: str = ""  # why a container of it cannot be started
    says: str = ""  # its output


class FakeRuntime:
    """Containers in memory. `scripts` by image; `away`: nothing answers; `taken`: host ports that others hold."""

    def __init__(self, clock: Clock, name: str = "docker") -> None:
        self.name: Final = name
        self.scripts: dict[str, Script] = {}
        self.away = False
        self.hanging: set[str] = set()  # allocations whose start never returns
        self.taken: set[int] = set()
        self.crowded = False  # whether room is short
        self.logins: dict[str, Login | None] = {}  # by image: as whom it was pulled last
        self.started: dict[str, Description] = {}  # by container: what it was made from
        self.containers: dict[str, Container] = {}
        self.calls: deque[str] = deque(maxlen=10_000)
        self._images: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._pulled: set[str] = set()
        self._clock = clock
        self._ends: asyncio.Queue[str] = asyncio.Queue()
        self._timers: set[asyncio.Task[None]] = set()
        self._made = 0

    async def open(self) -> None:
        """Begin."""

    async def close(self) -> None:
        """End; containers stay as they are."""
        for timer in self._timers:
            timer.cancel()
        await asyncio.gather(*self._timers, return_exceptions=True)

    async def health(self) -> Driver:
        """Say whether it is away."""
        return Driver(healthy=not self.away, version="fake")

    async def list(self, alloc: str = "") -> list[Container]:
        """Return what there is."""
        self._asked("list")
        return [one for one in self.containers.values() if alloc in ("", one.alloc)]

    async def pull(self, image: str, login: Login | None = None) -> None:
        """Take as long as the script says."""
        self._asked(f"pull {image}")
        script = self._script(image)
        await self._clock.sleep(script.pull_takes)
        self.logins[image] = login
        if script.private and login is None:
            raise ImageAuthFailed(f"{image} could not be pulled: unauthorized")
        if script.missing:
            raise ImageMissing(f"{image} could not be pulled: not found")
        self._pulled.add(image)

    async def tidy(self, used: Collection[str]) -> None:
        """Forget what was pulled and is not used, where room is short."""
        if self.crowded:
            self._pulled &= set(used)

    async def start(self, description: Description) -> Container:
        """Take as long, and fail in the way, that the script says."""
        self._asked(f"start {description.name}")
        script = self._script(description.image)
        if (script.missing or not script.here) and description.image not in self._pulled:
            raise ImageAbsent(description.image)
        if description.alloc in self.hanging:
            await asyncio.Event().wait()
        await self._clock.sleep(script.start_takes)
        if description.name in self._names.values():
            raise Unavailable(f"{description.name} is there already")
        if script.refused:
            raise StartFailed(script.refused)
        mine = {port for one in self.containers.values() if one.state == "running" for port in one.ports.values()}
        for port in description.ports:
            if port.host in self.taken | mine:
                raise PortInUse(port.host, f"port {port.host} is in use")
        return self._run(description, script)

    def _run(self, description: Description, script: Script) -> Container:
        self._made += 1
        labels, now = description.labels, self._clock.now()
        digest = script.digest if tagged(description.image) else ""
        made = identified(labels, id=f"fake{self._made:08}", state="running", started_at=now, image=digest)
        if made is None:
            raise ValueError(f"{description.name} has labels that do not identify it")
        self.containers[made.id] = made
        self._images[made.id] = description.image
        self._names[made.id] = description.name
        self.started[made.id] = description
        if script.exits_after is not None:
            self._later(script.exits_after, made.id, script.exit_code, oom=script.oom)
        return made

    def end(self, container: str, code: int, *, oom: bool = False) -> None:
        """Let a container end, as if by itself."""
        found = self.containers.get(container)
        if found is not None and found.state == "running":
            self.containers[container] = replace(found, state="exited", exit_code=code, oom=oom, started_at=None)
            self._ends.put_nowait(found.alloc)

    async def signal(self, container: str, signal: str) -> None:
        """End it, after the time it takes to listen; SIGKILL ends it at once; what asks for no end is heard only."""
        self._asked(f"signal {container} {signal}")
        if self._running(container) is None:
            raise Gone(container)
        hung_up = self._script(self._images[container]).hung_up
        if signal == "SIGHUP" and hung_up is not None:
            self.end(container, hung_up)
        if signal in _HEARD_ONLY:
            return
        takes = self._script(self._images[container]).stop_takes
        if signal == "SIGKILL":
            self.end(container, 137)
        elif takes is not None:
            self._later(takes, container, 143)

    async def remove(self, container: str) -> None:
        """Forget it."""
        self._asked(f"remove {container}")
        if self._running(container) is not None:
            raise Unavailable(f"{container} runs")
        for table in (self.containers, self._images, self._names, self.started):
            table.pop(container, None)

    async def exec(self, container: str, command: tuple[str, ...], timeout: float) -> Ran:
        """Answer as the script's health says: 0 or 1; `sleep` takes its time, `cat` shows one of its files."""
        self._asked(f"exec {container}")
        if self._running(container) is None:
            raise Gone(container)
        if command[0] == "cat":
            content = {file.path: file.content for file in self.started[container].files}.get(command[1])
            return Ran(1, "no such file") if content is None else Ran(0, content.decode())
        if command[0] == "sleep" and float(command[1]) > timeout:
            await self._clock.sleep(timeout)
            raise TimeoutError
        healthy = self._script(self._images[container]).healthy
        return Ran(0, "ok") if healthy else Ran(1, "not healthy")

    @contextlib.asynccontextmanager
    async def attach(self, container: str, start: Start) -> AsyncIterator[Attached]:
        """Say back what it is given, until its end; `exit N` ends at once, `sleep` never."""
        self._asked(f"attach {container}")
        if self._running(container) is None:
            raise Gone(container)
        yield _Echo(start)

    async def output(self, container: str) -> str:
        """Return what the script says."""
        known = container in self._images and not self.away
        return last_lines(self._script(self._images[container]).says.encode()) if known else ""

    async def follow(self, container: str, position: Position, spare: Callable[[], bool]) -> AsyncGenerator[Said, None]:
        """Give the lines of its script, once, and end with it."""
        lines = self._script(self._images.get(container, "")).says.encode().splitlines()
        fresh = lines[position.stdout.seen :]
        read = position.moved("stdout", Place(seen=len(lines)))
        if fresh and spare():
            yield Said([Written(round(self._clock.now() * 1000), "stdout", line) for line in fresh], 0, read)
        elif fresh:
            yield Said([], len(fresh), read)
        while self._running(container) is not None:
            await self._clock.sleep(1.0)

    async def usage(self, container: str) -> Counters:
        """Say what a workload has used that is at a tenth of what it may, all the time."""
        description, made = self.started.get(container), self.containers.get(container)
        if description is None or made is None or made.state != "running" or made.started_at is None:
            return Counters()
        ran = max(0.0, self._clock.now() - made.started_at)
        return Counters(ran * description.cpu / 10, description.memory / 10, ran * 1e3, ran * 2e3, 0.0, ran * 1e2)

    async def endpoint(self, container: str, port: str) -> tuple[str, int]:
        """Return the host port."""
        found = self._running(container)
        if found is None or port not in found.ports:
            raise Gone(f"nothing is reached by port {port}")
        return "127.0.0.1", found.ports[port]

    async def exits(self) -> AsyncIterator[str]:
        """Tell of ends."""
        yield ""
        while True:
            yield await self._ends.get()

    def healthy(self, container: str) -> bool:
        """Tell what a check of any kind would hear."""
        return self._running(container) is not None and self._script(self._images[container]).healthy

    def _running(self, container: str) -> Container | None:
        found = self.containers.get(container)
        return found if found is not None and found.state == "running" else None

    def _script(self, image: str) -> Script:
        return self.scripts.get(image, Script())

    def _asked(self, what: str) -> None:
        if self.away:
            raise Unavailable("the fake is away")
        self.calls.append(what)

    def _later(self, seconds: float, container: str, code: int, *, oom: bool = False) -> None:
        async def end() -> None:
            await self._clock.sleep(seconds)
            self.end(container, code, oom=oom)

        if seconds <= 0:
            self.end(container, code, oom=oom)
            return
        timer = asyncio.create_task(end())
        self._timers.add(timer)
        timer.add_done_callback(self._timers.discard)


class _Echo:
    """See Attached."""

    def __init__(self, start: Start) -> None:
        self._command = start.command
        self._given: asyncio.Queue[bytes] = asyncio.Queue(4)
        if start.command[0] == "exit":
            self._given.put_nowait(b"")

    async def write(self, part: bytes) -> None:
        """Hear it."""
        if self._command[0] != "sleep":
            await self._given.put(part)

    async def end_input(self) -> None:
        """Hear the end."""
        await self.write(b"")

    async def resize(self, width: int, height: int) -> None:
        """Say how large it is."""
        await self._given.put(f"{width}x{height}".encode())

    async def read(self) -> tuple[int, bytes] | None:
        """Say it back."""
        part = await self._given.get()
        return (STDOUT, part) if part else None

    async def wait(self) -> int:
        """End as told."""
        return int(self._command[1]) if self._command[0] == "exit" else 0
