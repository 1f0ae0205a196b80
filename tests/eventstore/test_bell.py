"""The bell, and how often those who tail look when nobody rings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventstore.bell import Bell
from eventstore.listener import Listener
from tests.eventstore.fastloop import elapse, run


async def _times(wakes: AsyncIterator[int], count: int) -> list[tuple[int, float]]:
    seen = []
    async for index in wakes:
        seen.append((index, asyncio.get_running_loop().time()))
        if len(seen) == count:
            break
    return seen


def test_looks_at_every_interval() -> None:
    """At once, then unasked, as often as is said."""

    async def main() -> list[tuple[int, float]]:
        return await _times(Bell(lambda: 2.0).wakes(), 4)

    assert run(main) == [(0, 0.0), (0, 2.0), (0, 4.0), (0, 6.0)]


def test_rings_come_at_once_and_put_no_look_off() -> None:
    """However often it rings, the look comes in its time."""

    async def main() -> list[tuple[int, float]]:
        bell = Bell(lambda: 2.0)
        seen = asyncio.ensure_future(_times(bell.wakes(), 6))
        for index in range(1, 5):
            await elapse(0.6)
            bell.ring(index)
        return await seen

    assert [(index, round(at, 1)) for index, at in run(main)] == [
        (0, 0.0),
        (1, 0.6),
        (2, 1.2),
        (3, 1.8),
        (0, 2.0),
        (4, 2.4),
    ]


async def test_unheard_rings_become_one() -> None:
    bell = Bell()
    wakes = bell.wakes()
    assert await anext(wakes) == 0
    for index in (5, 7, 6):
        bell.ring(index)
    assert await anext(wakes) == 7
    bell.ring(8)
    bell.ring()
    assert await anext(wakes) == 0


@pytest.mark.parametrize(("proven", "shortest", "longest"), [(False, 0.25, 0.25), (True, 1.6, 2.4)])
def test_interval_depends_on_the_proof(*, proven: bool, shortest: float, longest: float) -> None:
    """Notifications that are known to arrive: two seconds, give or take a fifth; else four times a second."""

    async def never() -> None:
        raise AssertionError

    for chance, expected in ((min, shortest), (max, longest)):
        listener = Listener(never, lambda _: never(), lambda _: never(), chance=chance)  # type: ignore[arg-type] # never called
        listener.proven = proven
        assert listener.interval() == pytest.approx(expected)
