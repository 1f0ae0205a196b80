"""Samples are rolled up by who coordinates, and what goes wrong is tried again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from eventstore.log import LogUnavailable
from eventstore.memory_samples import MemorySamples
from reconciler import rollup
from reconciler.rollup import Rollup
from tests.waiting import eventually


class Counted(MemorySamples):
    """Counts, and fails as told."""

    def __init__(self) -> None:
        super().__init__()
        self.rolled_at: list[int] = []
        self.away = False

    async def roll(self, now: int) -> int:
        """Count."""
        self.rolled_at.append(now)
        if self.away:
            raise LogUnavailable("away")
        return 1


async def during(work: Rollup, condition: Callable[[], bool]) -> None:
    running = asyncio.create_task(work.run())
    try:
        await eventually(condition)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_it_rolls_again_and_again_while_it_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "EVERY", 0.01)
    samples, asked = Counted(), 0

    def coordinates() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    samples.away = True
    await during(Rollup(samples, coordinates, lambda: 7.5), lambda: len(samples.rolled_at) >= 3)
    assert asked >= 6
    assert set(samples.rolled_at) == {7}
