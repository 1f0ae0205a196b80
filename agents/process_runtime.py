"""Plain processes as containers: no image, no isolation; for nodes that allow it.

Each attempt has a folder: `labels.json`, `run.json` (what runs; a link into memory where that is secret), `pid.json`,
`exit.json`, its output and `work`, where it starts. A waiter process of its own (`waiter.py`) outlives this one. A
process is known by its pid, its start time and the boot; its waiter by the lock it holds.

Enforced: memory and cores by control groups where this process may make them; elsewhere memory is measured once a
second and cores are not limited. Where to listen is told by HEROCTL_PORT_<NAME>.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal as signals
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from agents import cgroup, process_files, process_logs, waiter
from agents.attached import Attached
from agents.command import OUTPUT
from agents.command import run as run_command
from agents.container import CLUSTER, NODE, PORTS, Container, Description, identified
from agents.counters import Counters, of_process
from agents.gate import Gate
from agents.ground import Ground
from agents.log_lines import Position, Said
from agents.login import Login
from agents.output import ENOUGH, last_lines
from agents.ports import listens
from agents.process_exec import attached
from agents.runtime import Gone, PortInUse, Ran, StartFailed, StartFault, Unavailable
from heroctl import traces
from heroctl.domain.assignment import Driver
from heroctl.domain.execs import Start

AT_ONCE: Final = 8
PATIENCE: Final = 10.0
LAUNCH: Final = 15.0  # seconds until a process must run
ENDING: Final = 3.0  # seconds a waiter may take to write down the end
FOLLOW: Final = 0.25  # seconds between two looks for more output
_LOOK: Final = 0.01
_UNFINISHED: Final = "new-"
_RUN: Final = ".run"  # the end of the name of what is in memory beside the files: what runs, where that is secret
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")


class ProcessRuntime:
    """The processes of one cluster and node, in `folder`. `boot` tells one boot of the machine from another."""

    name: Final = "process"

    def __init__(self, cluster: str, node: str, folder: Path, boot: str, ground: Ground | None = None) -> None:
        self._folder = folder
        self._ground = ground
        self._boot = boot
        self._labels = {CLUSTER: cluster, NODE: node}
        self._starts = Gate(AT_ONCE, PATIENCE)
        self._ends: asyncio.Queue[str] = asyncio.Queue()
        self._watched: dict[str, int] = {}  # container -> pidfd of its waiter, or of what it left

    async def open(self) -> None:
        """Make the folder, and clear what an agent left half made."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in self._folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(unfinished)

    async def close(self) -> None:
        """Stop watching."""
        for descriptor in self._watched.values():
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()

    async def health(self) -> Driver:
        """Say yes: there is nothing that could be away."""
        return Driver(healthy=True, version=sys.version.split()[0])

    async def list(self, alloc: str = "") -> list[Container]:
        """Read the folders; those of other clusters and nodes are passed over."""
        if not alloc and self._ground is not None:
            await asyncio.to_thread(self._sweep, self._ground)
        folders = sorted(self._folder.glob(f"{alloc or '*'}.*"))
        seen = [await self._look(folder) for folder in folders if not folder.name.startswith(_UNFINISHED)]
        return [one for one in seen if one is not None]

    def _sweep(self, ground: Ground) -> None:
        """Remove what is in memory for attempts that have no folder any more."""
        before = ground.files.keys()
        ground.sweep(before, {key for key in before if (self._folder / key.removesuffix(_RUN)).is_dir()})

    async def _look(self, folder: Path) -> Container | None:
        labels = _read(folder / "labels.json")
        if not self._labels.items() <= labels.items():
            return None
        deadline = time.monotonic() + ENDING
        while (state := self._state(folder)) is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"the waiter of {folder.name} does not come to an end")
            await asyncio.sleep(_LOOK)
        container = identified(labels, id=folder.name, **state)
        if container is not None and container.state == "running":
            self._watch(container)
        return container

    def _state(self, folder: Path) -> dict[str, Any] | None:
        """Return what Container wants to know; None while a waiter is at work on it."""
        waited = _locked(folder)
        ended = _read(folder / "exit.json")
        if ended:
            return {"state": "exited", "exit_code": ended["code"], "oom": ended["oom"]}
        runs = _read(folder / "pid.json")
        if runs and self._lives(runs):
            return {"state": "running", "started_at": _monotonic(runs["start"])}
        if waited:
            return None
        return {"state": "exited"} if runs else {"state": "created"}

    def _lives(self, runs: dict[str, Any]) -> bool:
        if runs["boot"] != self._boot:
            return False
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, start = _stat(runs["pid"])
            return state != "Z" and start == runs["start"]
        return False

    async def pull(self, image: str, login: Login | None = None) -> None:
        """Do nothing: processes have no image."""

    async def tidy(self, used: Collection[str]) -> None:
        """Do nothing: nothing is brought here."""

    async def start(self, description: Description) -> Container:
        """Make the folder, start the waiter, and return when the process runs."""
        name = f"{description.alloc}.{description.labels['heroctl.attempt']}"
        folder = self._folder / name
        for port in description.ports:
            if listens(port.host):  # the process itself would only say so in its output
                raise PortInUse(port.host, f"port {port.host} is in use on this node")
        async with self._starts.through():
            if folder.exists():
                raise Unavailable(f"{name} is there already")
            group = cgroup.make(name, description.cpu, description.memory)
            with self._held(name):
                try:
                    with traces.span("create"):
                        await asyncio.to_thread(self._prepare, folder, description, group)
                except StartFault:
                    await self.remove(name)
                    raise
                except OSError as error:
                    await self.remove(name)
                    raise StartFailed(f"its folder cannot be made: {error.strerror}") from error
                with traces.span("start"):
                    message = await self._launch(folder)
        if message:
            await self.remove(name)
            raise StartFailed(message)
        container = identified(description.labels, id=name, state="running", started_at=time.monotonic())
        if container is None:
            raise ValueError(f"{name} has labels that do not identify it")
        self._watch(container)
        return container

    def _prepare(self, folder: Path, description: Description, group: cgroup.Group) -> None:
        """Fill the folder under another name, so that it is there whole or not at all."""
        fresh = folder.with_name(_UNFINISHED + folder.name)
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "work").mkdir(mode=0o700, parents=True)
        fresh.chmod(0o700)
        with traces.span("volumes and files"):
            process_files.fill(fresh / "work", description, self._ground)
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        run = {
            "argv": [*description.command, *description.args],
            "env": inherited | description.env,
            "memory": description.memory,
            "groups": group.folders,
            "oom": group.oom,
            "log_bytes": description.log_bytes,
            "log_files": description.log_files,
            "boot": self._boot,
        }
        if description.secret:
            hidden = process_files.hide(_RUN, msgspec.json.encode(run), description, self._ground)
            (fresh / "run.json").symlink_to(hidden)
        else:
            (fresh / "run.json").write_bytes(msgspec.json.encode(run))
            (fresh / "run.json").chmod(0o600)
        (fresh / "labels.json").write_bytes(msgspec.json.encode(description.labels))
        (fresh / "lock").touch()
        fresh.rename(folder)

    @contextlib.contextmanager
    def _held(self, name: str) -> Iterator[None]:
        """Keep what is in memory for an attempt until it has its folder."""
        if self._ground is None:
            yield
            return
        with self._ground.held(name), self._ground.held(f"{name}{_RUN}"):
            yield

    async def _launch(self, folder: Path) -> str:
        """Start the waiter, which inherits the lock; return why the process does not run, or nothing."""
        lock = os.open(folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            launcher = await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", waiter.__file__, str(folder), str(lock)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(lock,),
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"no process can be started: {error.strerror}") from error
        finally:
            os.close(lock)
        try:
            async with asyncio.timeout(LAUNCH):
                said, _ = await launcher.communicate()
        except TimeoutError as error:
            raise Unavailable(f"{folder.name} did not start within {LAUNCH:g} s") from error
        return said.decode(errors="replace")[-OUTPUT:] if launcher.returncode else ""

    async def signal(self, container: str, signal: str) -> None:
        """Send it to the process; SIGKILL to all that it started, too."""
        runs = _read(self._folder / container / "pid.json")
        if not runs or not self._lives(runs):
            raise Gone(f"{container} does not run")
        with contextlib.suppress(ProcessLookupError):
            number = signals.Signals[signal]
            (os.killpg if number is signals.SIGKILL else os.kill)(runs["pid"], number)

    async def remove(self, container: str) -> None:
        """Remove the folder, output included."""
        folder = self._folder / container
        if folder.exists():
            seen = await self._look(folder)
            if seen is not None and seen.state == "running":
                raise Unavailable(f"{container} runs")
        await asyncio.to_thread(self._cleared, folder)
        cgroup.remove(container)

    def _cleared(self, folder: Path) -> None:
        for each in (folder, folder.with_name(_UNFINISHED + folder.name)):
            shutil.rmtree(each, ignore_errors=True)
        if self._ground is not None:
            for key in (folder.name, f"{folder.name}{_RUN}"):
                self._ground.remove(key)

    async def exec(self, container: str, command: tuple[str, ...], timeout: float) -> Ran:
        """Run a command where the process was started, with its environment."""
        folder = self._folder / container
        run, runs = _read(folder / "run.json"), _read(folder / "pid.json")
        if not run or not runs or not self._lives(runs):
            raise Gone(f"{container} does not run")
        try:
            code, said = await run_command(command, folder / "work", run["env"], timeout)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            return Ran(127, f"{command[0]}: {error.strerror}")
        return Ran(code, said.decode(errors="replace"))

    @contextlib.asynccontextmanager
    async def attach(self, container: str, start: Start) -> AsyncIterator[Attached]:
        """Run a command where the process was started, with its environment and within its limits."""
        folder = self._folder / container
        run, runs = _read(folder / "run.json"), _read(folder / "pid.json")
        if not run or not runs or not self._lives(runs):
            raise Gone(f"{container} does not run")
        async with attached(start, folder / "work", run["env"], run.get("groups", ())) as command:
            yield command

    async def output(self, container: str) -> str:
        """Return the end of what stands in its files: of stdout and, after that, of stderr."""
        folder = self._folder / container
        said = [_end_of(folder / name) for name in ("stdout.log", "stderr.log")]
        return last_lines(b"\n".join(said))

    async def follow(self, container: str, position: Position, spare: Callable[[], bool]) -> AsyncGenerator[Said, None]:
        """Read on in its files, as often as there may be more."""
        folder, ended = self._folder / container, False
        while True:
            now, count = round(time.time() * 1000), not spare()
            said = await asyncio.to_thread(process_logs.read, folder, position, now, count=count, ended=ended)
            if said.position != position:
                position = said.position
                yield said
            elif ended or not folder.exists():
                return
            else:
                ended = (self._state(folder) or {}).get("state") == "exited"
                if not ended:
                    await asyncio.sleep(FOLLOW)

    async def usage(self, container: str) -> Counters:
        """Read what the kernel counts of its groups, or of each of its processes."""
        folder = self._folder / container
        run, runs = _read(folder / "run.json"), _read(folder / "pid.json")
        if not runs or not self._lives(runs):
            return Counters()
        return await asyncio.to_thread(of_process, runs["pid"], run.get("groups", ()))

    async def endpoint(self, container: str, port: str) -> tuple[str, int]:
        """Return the host port on this machine."""
        labels = _read(self._folder / container / "labels.json")
        pairs = dict(pair.partition("=")[::2] for pair in labels.get(PORTS, "").split(","))
        if port not in pairs:
            raise Gone(f"nothing is reached by port {port}")
        return "127.0.0.1", int(pairs[port])

    async def exits(self) -> AsyncIterator[str]:
        """Hear of ends from the kernel, by descriptors of the waiters."""
        yield ""
        while True:
            yield await self._ends.get()

    def _watch(self, container: Container) -> None:
        """Hear when the waiter has ended, which is after the process; or the process, where the waiter was killed."""
        if container.id in self._watched:
            return
        runs = _read(self._folder / container.id / "pid.json")
        pid = runs.get("waiter" if _locked(self._folder / container.id) else "pid", 0)
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self._ends.put_nowait(container.alloc)
            return
        self._watched[container.id] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._ended, container, descriptor)

    def _ended(self, container: Container, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._watched.pop(container.id, None)
        self._ends.put_nowait(container.alloc)


def _read(path: Path) -> dict[str, Any]:
    """Read a file of the waiter's or ours; nothing where it is not there or not whole."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _end_of(path: Path) -> bytes:
    """Read the end of an output."""
    with contextlib.suppress(OSError), path.open("rb") as output:
        output.seek(max(0, output.seek(0, os.SEEK_END) - ENOUGH // 2))
        return output.read(ENOUGH // 2)
    return b""


def _locked(folder: Path) -> bool:
    """Tell whether a waiter lives: it holds the lock as long."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _stat(pid: int) -> tuple[str, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _monotonic(ticks: int) -> float:
    """Bring a start time of the kernel's (ticks since boot, suspension included) to the monotonic clock."""
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return ticks / os.sysconf("SC_CLK_TCK") - asleep
