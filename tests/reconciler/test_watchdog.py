"""A process whose loop stands still is ended; one that works, or was paused, is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from reconciler.watchdog import STUCK
from tests.waiting import until

_PROCESS = """
import asyncio, sys
from reconciler import watchdog
watchdog.NAP, watchdog.NAPS = 0.05, 6

async def main():
    with watchdog.watched(asyncio.get_running_loop()):
        for line in iter(sys.stdin.readline, ""):
            while line == "stuck\\n":
                pass
            for _ in range(10):
                await asyncio.sleep(0.02)
            print("lives", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _PROCESS], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as made:
        yield made
        made.kill()


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def lives(process: subprocess.Popen[str]) -> bool:
    say(process, "go on")
    assert process.stdout is not None
    return process.stdout.readline() == "lives\n"


def test_a_loop_that_stands_still_ends_its_process(process: subprocess.Popen[str]) -> None:
    assert lives(process)
    say(process, "stuck")
    assert process.wait(10) == STUCK
    assert process.stderr is not None
    assert "in main" in process.stderr.read(), "where it stood is told"


def test_a_process_that_was_paused_lives_on(process: subprocess.Popen[str]) -> None:
    assert lives(process)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGCONT)
    assert all(lives(process) for _ in range(5))


def test_it_ends_with_what_it_watches(process: subprocess.Popen[str]) -> None:
    assert lives(process)
    assert process.stdin is not None
    process.stdin.close()
    assert until(lambda: process.poll() is not None)
    assert process.returncode == 0
