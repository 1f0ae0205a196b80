"""The snapshotter: has made what is due, when it is this process's turn, and neither in a hurry nor twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore.database import Database
from eventstore.log import LogUnavailable
from eventstore.migrate import migrate
from eventstore.postgres import open_log
from eventstore.shelf import PostgresShelf
from eventstore.snapshots import Snapshots
from reconciler import snapshotter
from reconciler.snapshotter import LOOK, Snapshotter, child
from tests.eventstore.fastloop import run
from tests.eventstore.samples import intent
from tests.reconciler.test_process import running
from tests.waiting import eventually


class Shelf:
    """Something is due until it was made."""

    def __init__(self, *outcomes: bool) -> None:
        self.outcomes = list(outcomes)
        self.begun: list[float] = []
        self.looks = 0
        self.away = False

    async def due(self) -> list[int]:
        self.looks += 1
        if self.away:
            raise LogUnavailable("away")
        return [20] if self.outcomes else []

    async def child(self) -> bool:
        self.begun.append(asyncio.get_running_loop().time())
        return self.outcomes.pop(0)


def let(shelf: Shelf, seconds: float, mine: Callable[[], bool] = lambda: True) -> None:
    """Let it run for so long."""

    async def main() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await Snapshotter(shelf, mine, shelf.child).run()

    run(main)


def test_has_made_what_is_due_and_then_looks_on() -> None:
    shelf = Shelf(True)
    let(shelf, 10 * LOOK)
    assert len(shelf.begun) == 1
    assert shelf.begun[0] <= 1.2 * LOOK
    assert shelf.looks >= 7


def test_leaves_it_to_the_coordinator() -> None:
    shelf = Shelf(True)
    let(shelf, 10 * LOOK, lambda: False)
    assert shelf.looks == 0


def test_waits_longer_after_each_failure_and_forgets_them_after_a_success() -> None:
    shelf = Shelf(*[False] * 12, True, True)
    let(shelf, 40 * 3600)
    pauses = [after - before for before, after in zip(shelf.begun, shelf.begun[1:], strict=False)]
    for pause, expected in zip(pauses, [60, 120, 240, 480, 960, 1920, *[3600] * 6, LOOK], strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected + 0.01


def test_a_log_that_is_away_is_no_failure() -> None:
    shelf = Shelf(True)
    shelf.away = True
    let(shelf, 10 * LOOK)
    assert shelf.looks >= 7
    assert shelf.begun == []


# ── the child ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the child's pid is written; it sleeps, as a fold that hangs."""
    place = tmp_path / "pid"
    monkeypatch.setattr(snapshotter, "_COMMAND", ("/bin/sh", "-c", f"echo $$ > {place}; exec sleep 600"))
    return place


def gone(script: Path) -> bool:
    try:
        os.kill(int(script.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_child_does_not_outlive_its_time(script: Path) -> None:
    began = time.monotonic()
    assert not await child("", longest=0.5)
    assert time.monotonic() - began < 30
    assert gone(script)


async def test_a_child_does_not_outlive_whoever_waits_for_it(script: Path) -> None:
    waiting = asyncio.ensure_future(child(""))
    await eventually(lambda: script.exists() and script.read_text().strip())
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert gone(script)


async def test_a_child_that_cannot_begin_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshotter, "_COMMAND", ("/nowhere/python",))
    assert not await child("")


async def test_a_child_that_cannot_reach_the_database_has_failed() -> None:
    assert not await child("postgresql://127.0.0.1:1/none?connect_timeout=1")


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_coordinator_has_one_made_and_goes_on_coordinating(tmp_path: Path, postgres_dsn: str) -> None:
    """A partition passes while it coordinates: the child's line stands in its log, and its epoch stays its own."""
    migrate(postgres_dsn, partition=10)
    with running(tmp_path, postgres_dsn, "first", "second") as processes:
        await eventually(lambda: any(process.coordinates for process in processes), timeout=30)
        async with Database(postgres_dsn) as database, open_log(database, partition=10) as log:
            for number in range(10):
                await log.append(intent(number))
            snapshots = Snapshots(PostgresShelf(database), log)
            await eventually(snapshots.listed, timeout=60)
            assert (await log.head()).epoch == 1
        [coordinator] = [process for process in processes if process.coordinates]
        made = await eventually(lambda: coordinator.said("snapshot_made"), timeout=10)
        assert made[0]["index"] >= 10
        assert [process.end()[0] for process in processes] == [0, 0]
