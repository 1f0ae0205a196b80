"""Follows the outputs of an engine's containers to their ends, however often the engine goes away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

import structlog
from aiodocker.exceptions import DockerError

from agents.docker_engine import CALL, Engine, calling
from agents.docker_logs import Frames, since
from agents.log_lines import Position, Said
from agents.runtime import Gone, Unavailable

AGAIN = 1.0  # seconds between two attempts
_log = structlog.get_logger("logs")


async def follow(
    engine: Engine, container: str, position: Position, spare: Callable[[], bool]
) -> AsyncGenerator[Said, None]:
    """Give what the container writes after a position; end where it has ended, or is gone.

    While `spare` says no, lines are only counted.
    """
    while True:
        try:
            ended = not await _runs(engine, container)
            async with contextlib.aclosing(_once(engine, container, position, spare)) as pieces:
                async for said in pieces:
                    position = said.position
                    yield said
            if ended:
                return
        except Gone:
            return
        except (Unavailable, DockerError) as error:
            _log.info("output_not_read", container=container[:12], error=str(error))
            await asyncio.sleep(AGAIN)


async def _runs(engine: Engine, container: str) -> bool:
    async with calling(CALL):
        found = await engine.docker.containers.get(container)
    return bool(found["State"]["Running"])


async def _once(
    engine: Engine, container: str, position: Position, spare: Callable[[], bool]
) -> AsyncGenerator[Said, None]:
    asked = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1"}
    if begin := since(position):
        asked["since"] = begin
    frames = Frames(position)
    async with calling(None), engine.asked(f"containers/{container}/logs", "GET", asked) as response:
        while part := await response.content.readany():
            if spare():
                yield Said(frames.take(part), 0, frames.position)
            else:
                count = frames.skip(part)
                yield Said([], count, frames.position)
            await asyncio.sleep(0)  # what is there already is read without a pause, and others have work to do
