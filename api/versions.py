"""The versions of a job: what each was, and what is different between two."""

from __future__ import annotations

from typing import Any

import msgspec

from api.contract import tells
from api.jobs import of_one
from api.query import number
from api.reads import Query, Reading
from api.wire import VersionItem, VersionsDiff, encode, stamp
from api.world import Sight
from heroctl.domain import spec as specs
from heroctl.domain.diff import diff, document
from heroctl.domain.errors import not_found
from heroctl.domain.intents.jobs import find_job
from heroctl.domain.records import Job, Version


@tells(list[VersionItem], "job_not_found")
def listing(world: Sight, query: Query) -> Reading:
    """The kept versions of a job, newest first."""

    def show(namespace: str, name: str) -> bytes:
        job = find_job(world.state, namespace, name)
        return encode([_item(version) for version in reversed(job.versions)])

    return of_one(query, show)


def _item(version: Version) -> VersionItem:
    return VersionItem(
        version=version.version,
        kind=version.kind,
        of=version.of,
        images={task.name: task.image for task in version.tasks if task.image},
        secrets={task.name: task.secrets for task in version.tasks if task.pins},
        spec=msgspec.Raw(version.spec),
        meta=specs.decode(version.spec).meta,
        by=version.by,
        created_at=stamp(version.created_at),
        stable=version.stable,
        index=version.index,
    )


@tells(VersionsDiff, "job_not_found", "version_not_found", "invalid_from", "invalid_to")
def compare(world: Sight, query: Query) -> Reading:
    """What is different between two versions: `?from=`, unless given the one before `?to=`, which is the present one.

    Tasks are compared by name. The oldest one that is kept is compared with nothing.
    """
    old, new = number(query.args, "from"), number(query.args, "to")

    def show(namespace: str, name: str) -> bytes:
        job = find_job(world.state, namespace, name)
        to = job.current if new is None else _need(job, new)
        since = _before(job, to) if old is None else _need(job, old)
        rows = diff(_document(since) if since else {}, _document(to))
        return encode(VersionsDiff(since.version if since else None, to.version, rows))

    return of_one(query, show)


def _need(job: Job, version: int) -> Version:
    found = job.version(version)
    if found is None:
        raise not_found("version", f"{version} of {job.name}")
    return found


def _before(job: Job, version: Version) -> Version | None:
    return next((each for each in reversed(job.versions) if each.version < version.version), None)


def _document(version: Version) -> Any:  # noqa: ANN401 - any JSON
    return document(specs.decode(version.spec), version.tasks)
