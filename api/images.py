"""What the tags in a spec stand for at the moment: asked of their registries, all at a time, before it is decided on.

A registry that says nothing holds nothing up: the images it has are told by the agent that first runs them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from api import registry
from api.registry import Listed
from heroctl.domain import spec as specs
from heroctl.domain.diff import Difference
from heroctl.domain.errors import Problem
from heroctl.domain.image import Reference, parse, read
from heroctl.domain.records import Job
from heroctl.outside import Outside, Unanswered

PATIENCE: Final = 3.0  # seconds for all images of a spec
SPARED: Final = 10.0  # seconds for which a registry that was waited for in vain is not asked again
_AT_ONCE: Final = 32  # images asked for at a time, by all who submit here


class Looked(Struct, frozen=True):
    """What was found: a digest by task, and what a submitter should know of the others."""

    digests: dict[str, str] = {}
    doubts: tuple[Problem, ...] = ()


class Images:
    """Asks the registries that are listed, and no others."""

    def __init__(
        self,
        listed: tuple[Listed, ...] = (),
        outside: Outside | None = None,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listed = listed
        self._outside = outside or Outside()
        self._patience = patience
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._spared: dict[str, float] = {}  # host -> until when

    async def look(self, job: specs.Job) -> Looked:
        """Find what the tags of a job's images stand for. Never raises, never takes longer than patience."""
        wanted = {task.name: found for task in job.tasks if (found := self._askable(task)) is not None}
        if not wanted:
            return Looked()
        lookups = {image: asyncio.create_task(self._digest(image)) for image in dict.fromkeys(wanted.values())}
        try:
            await asyncio.wait(lookups.values(), timeout=self._patience)
        finally:
            for lookup in lookups.values():
                lookup.cancel()
        await asyncio.gather(*lookups.values(), return_exceptions=True)
        said = {image: self._outcome(image, lookup) for image, lookup in lookups.items()}
        outcomes = {task: said[image] for task, image in wanted.items()}
        digests = {task: digest for task, digest in outcomes.items() if isinstance(digest, str)}
        return Looked(digests, tuple(_doubts(job, outcomes)))

    async def close(self) -> None:
        """End."""
        await self._outside.close()

    def _askable(self, task: specs.Task) -> Reference | None:
        image = read(task.image or "")
        listed = image is not None and not image.digest and registry.find(self._listed, image.host) is not None
        return image if listed else None

    async def _digest(self, image: Reference) -> str:
        listed = registry.find(self._listed, image.host)
        assert listed is not None  # noqa: S101 - it was askable
        if self._spared.get(image.host, 0.0) > self._clock():
            raise Unanswered("did not answer a moment ago")
        async with self._turns:
            return await registry.digest(self._outside, listed, image)

    def _outcome(self, image: Reference, lookup: asyncio.Task[str]) -> str | Unanswered:
        error = Unanswered("does not answer in time", slow=True) if lookup.cancelled() else lookup.exception()
        if error is None:
            return lookup.result()
        if not isinstance(error, Unanswered):
            raise error
        if error.slow:
            self._spared = {host: until for host, until in self._spared.items() if until > self._clock()}
            self._spared[image.host] = self._clock() + SPARED
        return error


def moved(job: Job | None, looked: Looked) -> list[Difference]:
    """Tell which tags stand for something else than in a job's present version, as rows of a diff."""
    known = {task.name: task.image for task in job.current.tasks} if job is not None else {}
    return [
        Difference(f"tasks[{task}].digest", "changed", known[task] or None, digest)
        for task, digest in looked.digests.items()
        if task in known and known[task] != digest
    ]


def _doubts(job: specs.Job, found: dict[str, str | Unanswered]) -> list[Problem]:
    return [
        Problem(f"tasks[{number}].image", "image_unresolved", _doubt(task.image or "", why))
        for number, task in enumerate(job.tasks)
        if isinstance(why := found.get(task.name), Unanswered)
    ]


def _doubt(image: str, why: Unanswered) -> str:
    return f"{parse(image).host} {why}: what '{image}' stands for is settled by the first node that runs it"
