"""One process of a cluster: started from a command, its output in a file, ended by its pid in every way there is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.house import ROOT

_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "DOCKER_HOST")


@dataclass(slots=True)
class Part:
    """`python -m module flags`, with an environment of its own: nothing of the tests' HEROCTL_* variables leaks in."""

    name: str
    module: str
    flags: tuple[str, ...]
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()  # the words before the command, which become it: its pid stays the one known here
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id. It must have been started."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """The file with its output, of all its lives."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it; it may not be ready yet."""
        assert not self.runs, f"{self.name} runs already"
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.within, sys.executable, "-m", self.module, *self.flags],
                cwd=ROOT,
                env={**kept, "PYTHONUNBUFFERED": "1", "HEROCTL_E2E": str(self.folder), **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill9(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL, timeout=10)

    def stop(self, timeout: float = 10) -> int:
        """Ask it to end, and return its exit code; AssertionError, and kill it, when it takes longer."""
        return self._end(signal.SIGTERM, timeout=timeout)

    def lives_for(self, seconds: float) -> bool:
        """Give it so much time; tell whether it still runs after it."""
        assert self._process is not None, f"{self.name} was not started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=seconds)
        return self.runs

    def sigstop(self) -> None:
        """Freeze it."""
        os.kill(self.pid, signal.SIGSTOP)

    def sigcont(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = 60) -> str:
        """Return the last lines of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _end(self, how: signal.Signals, timeout: float) -> int:
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(how)
        try:
            return self._process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
            raise AssertionError(f"{self.name} did not end within {timeout:g} s of {how.name}") from None
