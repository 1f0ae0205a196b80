"""A child of dev mode: started tied to us, its output shown and kept, started again when it ends unasked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from heroctl.dev import tether
from heroctl.dev.folder import Trouble
from heroctl.dev.processes import heeds
from heroctl.dev.screen import Screen

BACKOFF_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_S: Final = 60.0  # after so long a life an end counts as the first one
HOPELESS: Final = 4  # ends in a row before the cluster was ready, after which dev mode gives up
_LONGEST_LINE: Final = 16_384
_LAST_WORDS: Final = 12  # lines of output that are repeated when a child makes us give up
_LOG_BYTES: Final = 16 << 20  # a child's file, before it begins anew (the one before is kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to start a child and how to end it.

    `orphaned` is the signal it gets when dev mode dies; `ending`, `hastening` are those of an orderly and a hasty end.
    After an exit code among `final` it stays ended. `dutiful`: it has something to do at its end, so it must be up to
    hear of it, even if it has to be started for that.
    `ready` is asked with its pid. Lines of output in which `noise` is found are kept, but not shown.
    """

    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    user: str = "-"
    ending: signal.Signals = signal.SIGTERM
    hastening: signal.Signals = signal.SIGKILL
    orphaned: signal.Signals = signal.SIGTERM
    ready: Callable[[int], Awaitable[bool]] | None = None
    noise: re.Pattern[str] | None = None
    final: frozenset[int] = frozenset()
    dutiful: bool = False


class Child:
    """One child and all its lives. `changed` is called after each start, with the pid in place."""

    def __init__(
        self, name: str, recipe: Recipe, screen: Screen, logs: Path, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.name = name
        self.pid = 0
        self._recipe = recipe
        self._screen = screen
        self._log = logs / f"{name}.log"
        self._changed = changed
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()  # no pauses before it is started again
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._steady = asyncio.Event()  # set once the cluster is ready: from then on nobody gives up

    @property
    def runs(self) -> bool:
        """Whether it lives just now."""
        return self._process is not None and self._process.returncode is None

    @property
    def over(self) -> bool:
        """Whether it ended, and stays ended."""
        return self._keeper is not None and self._keeper.done()

    def start(self) -> asyncio.Task[None]:
        """Start it and keep it alive; the task ends when it was stopped, or with Trouble when there is no hope."""
        self._keeper = asyncio.create_task(self._keep(), name=self.name)
        return self._keeper

    def settle(self) -> None:
        """Never give up from now on."""
        self._steady.set()

    async def until_ready(self, timeout: float) -> None:
        """Wait until it answers. Trouble when it ends for good or takes too long."""
        ready = self._recipe.ready
        deadline = time.monotonic() + timeout
        while ready is not None and not (self.runs and await ready(self.pid)):
            self.check()
            if time.monotonic() > deadline:
                raise Trouble(self._hopeless(f"did not answer within {timeout:.0f} s"))
            await asyncio.sleep(0.03)

    def check(self) -> None:
        """Raise the Trouble that this child is in, if it was given up."""
        if self._keeper is not None and self.over:
            self._keeper.result()

    async def stop(self, patience: float) -> bool:
        """End it, in order for `patience` seconds, then hastily; tell whether it ended in order."""
        if self._recipe.dutiful:
            began = time.monotonic()
            await self._until_it_heeds(patience / 2)
            patience -= time.monotonic() - began
        self._stopping.set()
        in_order = True
        if self.runs:
            self._signal(self._recipe.ending)
            in_order = await self._ended(patience)
            for how in () if in_order else (self._recipe.hastening, signal.SIGKILL):
                self._signal(how)
                if await self._ended(0.5):
                    break
            if self._keeper is not None:  # its last words
                await asyncio.wait([self._keeper], timeout=0.6)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError, Trouble):
                await self._keeper
        return in_order

    async def _until_it_heeds(self, patience: float) -> None:
        self._hurrying.set()
        deadline = time.monotonic() + patience
        while not self.over and time.monotonic() < deadline:
            if self.runs and heeds(self.pid, self._recipe.ending):
                return
            await asyncio.sleep(0.02)

    async def _keep(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                return
            if code in self._recipe.final:
                self._screen.say(f"{self.name} ended for good, {_end(code)}")
                return
            lived = time.monotonic() - began
            failures = 1 if lived > STEADY_S else failures + 1
            if failures >= HOPELESS and not self._steady.is_set():
                raise Trouble(self._hopeless(f"ended {failures} times, the last time {_end(code)}"))
            pause = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
            self._screen.say(f"{self.name} ended {_end(code)} after {lived:.1f} s; starting it again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurrying.wait(), pause)

    async def _live(self) -> int:
        """Run it once; return how it ended."""
        recipe = self._recipe
        tied = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(recipe.orphaned.value), recipe.user)
        self._process = process = await asyncio.create_subprocess_exec(
            *tied,
            *recipe.command,
            env=environment(recipe),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for dev mode, which ends its children in order
        )
        self.pid = process.pid
        self._changed()
        assert process.stdout is not None  # noqa: S101 - asked for above
        showing = asyncio.create_task(self._show(process.stdout))
        code = await process.wait()
        # What it started may hold the pipe open for longer than it lived.
        await asyncio.wait([showing], timeout=0.5)
        showing.cancel()
        return code

    async def _show(self, output: asyncio.StreamReader) -> None:
        rest, noise = b"", self._recipe.noise
        with _Kept(self._log) as kept:
            while part := await output.read(65_536):
                kept.write(part)
                *whole, rest = (rest + part).split(b"\n")
                if len(rest) > _LONGEST_LINE:
                    whole, rest = [*whole, rest], b""
                for line in whole:
                    text = line.decode(errors="replace").rstrip("\r")
                    self._words.append(text)
                    if noise is None or not noise.search(text):
                        self._screen.child(self.name, text)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _ended(self, patience: float) -> bool:
        assert self._process is not None  # noqa: S101 - only asked of a child that runs
        try:
            async with asyncio.timeout(patience):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    def _hopeless(self, what: str) -> str:
        words = "".join(f"\n    {word}" for word in self._words)
        return f"{self.name} {what}; its output is in {self._log}{', and ends so:' if words else ''}{words}"


class _Kept:
    """A child's file, appended to; begun anew when it is too long."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, part: bytes) -> None:
        if self._file.tell() > _LOG_BYTES:
            self._file.close()
            self._path.replace(self._path.with_suffix(".log.1"))
            self._file = self._path.open("ab")
        self._file.write(part)
        self._file.flush()


def environment(recipe: Recipe) -> dict[str, str]:
    """Return the environment of a child: ours, but for our own settings, which are not its, and what it is told."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEROCTL_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **recipe.environ}


def _end(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
