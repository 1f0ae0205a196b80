"""What a process tells of itself, from when it knows the time."""

from __future__ import annotations

import asyncio

from eventstore.memory_samples import MemorySamples
from eventstore.telling import EVERY, tell
from tests.eventstore.fastloop import elapse, run


def test_a_process_that_does_not_know_the_time_yet_waits_and_tells_later() -> None:
    """The database may take long to answer for the first time: nobody may end of that."""

    async def scenario() -> None:
        samples, time = MemorySamples(), None

        def now() -> float | None:
            return time

        telling = asyncio.create_task(tell(samples, "reconciler-1", now))
        await elapse(EVERY / 2)
        assert await samples.exposed(0) == []
        time = 1_790_035_200.5
        await elapse(EVERY)
        assert [(told.name, told.at) for told in await samples.exposed(0)] == [("reconciler-1", 1_790_035_200)]
        telling.cancel()

    run(scenario)
