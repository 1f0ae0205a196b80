"""Processes are known by pid and start time, and ended for sure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heroctl.dev import tether
from heroctl.dev.processes import Identity, boot, end, heeds, identity, inside
from tests.waiting import until

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def known(pid: int) -> Identity:
    found = identity(pid)
    assert found is not None
    return found


def test_a_process_lives_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    one = known(sleeper.pid)
    assert end([one], signal.SIGTERM, 5) == []
    assert not one.lives  # a zombie of ours until it is waited for, and dead all the same
    assert identity(sleeper.pid) is None


def test_another_process_with_the_same_pid_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    one = known(sleeper.pid)
    for other in (Identity(one.pid, one.born - 1, one.boot), Identity(one.pid, one.born, "another boot")):
        assert not other.lives
        assert end([other], signal.SIGKILL, 5) == []
    assert sleeper.poll() is None
    assert one.boot == boot()


def test_who_does_not_end_is_returned() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        one = known(process.pid)
        assert end([one], signal.SIGTERM, 0.2) == [one]
        assert end([one], signal.SIGKILL, 5) == []


def test_who_made_itself_ready_for_a_signal_is_known(sleeper: subprocess.Popen[bytes]) -> None:
    handler = "import signal; signal.signal(signal.SIGTERM, lambda *_: None); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", handler], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert heeds(process.pid, signal.SIGTERM)
        assert not heeds(process.pid, signal.SIGUSR1)
        process.kill()
    assert not heeds(sleeper.pid, signal.SIGTERM)
    assert not heeds(2**22 - 1, signal.SIGTERM)


def test_ending_nobody_is_fine() -> None:
    assert end([Identity(2**22 - 1, 1, boot())], signal.SIGKILL, 5) == []
    assert identity(2**22 - 1) is None


def test_who_stands_in_a_folder_is_found(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], cwd=tmp_path) as process:
        assert [one.pid for one in inside(tmp_path)] == [process.pid]
        process.kill()


def test_a_tethered_program_ends_with_its_parent(tmp_path: Path) -> None:
    program = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    parent = f"""
import os, subprocess, sys
subprocess.Popen([sys.executable, {tether.__file__!r}, str(os.getpid()), "{signal.SIGTERM.value}", "-",
                  sys.executable, "-c", {program!r}])
sys.stdin.read()
"""
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = known(int(process.stdout.readline()))
        assert child.lives
        process.kill()
    until(lambda: not child.lives, what="the end of the child")


def test_a_tether_to_nobody_starts_nothing() -> None:
    command = [sys.executable, tether.__file__, str(os.getpid() + 1), "15", "-", "/bin/echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, "has ended already" in done.stderr) == (1, "", True)
