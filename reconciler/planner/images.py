"""What the images of a job's versions are: told by the first replica that was started, where no registry was asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from heroctl.domain.events import ImagePinned
from heroctl.domain.records import Alloc, Job

_AT_ONCE: Final = 100  # the rest in the next pass: a piece has room for more than this


def pins(job: Job, allocs: Iterable[Alloc]) -> list[ImagePinned]:
    """Pin what versions are made from whose image is not known, as far as replicas of the same content tell.

    Of several that tell different things the oldest is right: the others follow when they are started again.
    """
    tellers = [alloc for alloc in allocs if alloc.image]
    if not tellers:
        return []
    unknown = [(version, task) for version in job.versions for task in version.tasks if not task.image]
    told: dict[tuple[str, str], str] = {}
    for alloc in sorted(tellers if unknown else (), key=lambda alloc: alloc.n):
        told.setdefault((alloc.task, alloc.content), alloc.image)
    found = [
        ImagePinned(job.uid, job.namespace, job.name, version.version, task.name, told[task.name, task.content])
        for version, task in unknown
        if (task.name, task.content) in told
    ]
    return found[:_AT_ONCE]
