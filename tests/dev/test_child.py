"""A child is kept alive, ended in order, and given up where there is no hope."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heroctl.dev import child as module
from heroctl.dev.child import Child, Recipe
from heroctl.dev.folder import Trouble
from heroctl.dev.processes import identity
from heroctl.dev.screen import Screen
from tests.waiting import eventually

SLEEP = "import signal, sys; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile 1: signal.pause()"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (0.01, 0.02))


@asynccontextmanager
async def running(code: str, logs: Path, **recipe: str) -> AsyncIterator[Child]:
    child = Child("it", Recipe(command=(sys.executable, "-c", code), environ=recipe), Screen(), logs)
    child.start()
    try:
        yield child
    finally:
        await child.stop(5)


async def up(child: Child, logs: Path, times: int = 1) -> None:
    await eventually(lambda: (logs / "it.log").exists() and (logs / "it.log").read_text().count("up\n") >= times)


async def test_it_is_ended_in_order(tmp_path: Path) -> None:
    async with running(SLEEP, tmp_path) as child:
        await up(child, tmp_path)
        one = identity(child.pid)
        assert one is not None
        assert await child.stop(5)
        assert not one.lives


async def test_who_does_not_end_in_order_is_ended_hastily(tmp_path: Path) -> None:
    async with running(STUBBORN, tmp_path) as child:
        await up(child, tmp_path)
        one = identity(child.pid)
        assert not await child.stop(0.2)
        assert one is not None
        assert not one.lives


async def test_who_ends_unasked_is_started_again_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pids: list[int] = []
    recipe = Recipe(command=(sys.executable, "-c", SLEEP))
    child = Child("it", recipe, Screen(), tmp_path, lambda: pids.append(child.pid))
    child.start()
    await up(child, tmp_path)
    first = child.pid
    child.settle()
    identity_before = identity(first)
    assert identity_before is not None
    os.kill(first, signal.SIGKILL)
    await up(child, tmp_path, 2)
    assert pids == [first, child.pid]
    assert "it ended by SIGKILL after" in capsys.readouterr().err
    await child.stop(5)


async def test_who_fails_again_and_again_before_all_is_ready_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    async with running("print('no such flag'); raise SystemExit(2)", tmp_path) as child:
        with pytest.raises(Trouble, match=r"it ended 4 times, the last time with exit code 2(?s:.*)no such flag"):
            await eventually(child.check)


async def test_once_all_is_ready_nobody_is_given_up(tmp_path: Path) -> None:
    async with running("print('up')", tmp_path) as child:
        child.settle()
        await up(child, tmp_path, 8)
        child.check()


async def test_one_that_never_answers_is_in_trouble(tmp_path: Path) -> None:
    async def never(_pid: int) -> bool:
        return False

    child = Child("it", Recipe(command=("/bin/sleep", "600"), ready=never), Screen(), tmp_path)
    child.start()
    with pytest.raises(Trouble, match="did not answer within 0 s"):
        await child.until_ready(0.1)
    await child.stop(5)


async def test_our_own_settings_do_not_leak_into_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEROCTL_LISTEN", "leaked")
    code = "import os; print(sorted(v for k, v in os.environ.items() if k.startswith('HEROCTL'))); print('up')"
    async with running(code, tmp_path, HEROCTL_DSN="given") as child:
        child.settle()
        await up(child, tmp_path)
    assert (tmp_path / "it.log").read_text().startswith("['given']\n")


async def test_long_lines_and_broken_text_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff' + b'x' * 100_000 + b'\nup\n'); sys.stdout.flush()"
    shown: list[str] = []

    def all_shown() -> bool:
        shown.append(capsys.readouterr().err)
        return "│ up\n" in "".join(shown)

    async with running(f"{code}; import signal; signal.pause()", tmp_path):
        await eventually(all_shown)
    assert "".join(shown).count("x") >= 100_000
    assert (tmp_path / "it.log").read_bytes() == b"\xff" + b"x" * 100_000 + b"\nup\n"


async def test_ending_while_it_waits_to_start_again_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (60.0,))
    async with running("print('up')", tmp_path) as child:
        await up(child, tmp_path)
        await eventually(lambda: not child.runs)
        async with asyncio.timeout(5):
            assert await child.stop(5)


DUTIFUL = """
import pathlib, signal, sys, time
print("up", flush=True)
time.sleep(0.3)
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({done!r}).write_text("done"), sys.exit(0)))
while True:
    signal.pause()
"""


def dutiful(tmp_path: Path, first: str = "") -> Child:
    code = first + DUTIFUL.format(done=str(tmp_path / "done"))
    return Child("it", Recipe(command=(sys.executable, "-c", code), dutiful=True), Screen(), tmp_path)


async def test_one_with_a_last_duty_is_ended_only_when_it_can_hear_of_it(tmp_path: Path) -> None:
    child = dutiful(tmp_path)
    child.start()
    await up(child, tmp_path)
    assert await child.stop(10)
    assert (tmp_path / "done").exists()


async def test_one_with_a_last_duty_is_started_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (60.0,))
    crashed = tmp_path / "crashed"
    child = dutiful(
        tmp_path, f"import pathlib\np = pathlib.Path({str(crashed)!r})\nif not p.exists(): p.touch(); 1 / 0\n"
    )
    child.start()
    child.settle()
    await eventually(lambda: crashed.exists() and not child.runs)
    assert await child.stop(10)
    assert (tmp_path / "done").exists()
