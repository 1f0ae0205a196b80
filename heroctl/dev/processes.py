"""Processes by pid *and* start time, so that a number that was given anew is never taken for the old one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Identity(Struct, frozen=True):
    """One process there ever was: its pid, its start in ticks since boot, and which boot."""

    pid: int
    born: int
    boot: str

    @property
    def lives(self) -> bool:
        """Whether it runs still; a zombie does not."""
        return self.boot == boot() and _born(self.pid) == self.born


def identity(pid: int) -> Identity | None:
    """Take down who has this pid now; None: nobody."""
    born = _born(pid)
    return None if born is None else Identity(pid, born, boot())


def boot() -> str:
    """Tell one boot of this machine from another."""
    return _BOOT_ID.read_text().strip()


def inside(folder: Path) -> list[Identity]:
    """Find who stands in a folder, as every process of a Postgres server stands in its data."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == folder and (one := identity(int(entry.name))):
                    found.append(one)
    return found


def heeds(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has made itself ready for a signal, which would else just end it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def end(who: Iterable[Identity], how: signal.Signals, patience: float) -> list[Identity]:
    """Send them a signal and wait for their end; return who is left after `patience` seconds."""
    asked = [one for one in who if _send(one, how)]
    deadline = time.monotonic() + patience
    for one in asked:
        with contextlib.suppress(ProcessLookupError), _opened(one.pid) as descriptor:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            while one.lives and (left := deadline - time.monotonic()) > 0:
                # A zombie of another parent is readable but not gone: look again shortly.
                poll.poll(min(left, 0.05) * 1000)
    return [one for one in asked if one.lives]


def _send(one: Identity, how: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError), _opened(one.pid) as descriptor:
        # Only now is it certain that the descriptor is of the one we mean.
        if one.lives:
            signal.pidfd_send_signal(descriptor, how)
            return True
    return False


@contextlib.contextmanager
def _opened(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _born(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
