"""Pins: which version of which secret a version of a job was made with. Nobody is given anything else.

What does no more than pull an image is not pinned, since an older password is of no use: its newest version is given.
A pin stays true for as long as its job's version is kept: the secret's version is kept with it, and no other one ever
gets its number, not even after the secret was deleted and made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from heroctl.domain.events import TaskSummary
from heroctl.domain.records import Alloc, Job, SecretVersion
from heroctl.domain.state import State

Withheld = Literal["foreign", "unknown", "over", "missing"]  # see SecretsReply


class Use(NamedTuple):
    """A job whose replicas are made with a secret: its present version, and which version of the secret; 0: none."""

    job: Job
    version: int


def users(state: State, namespace: str, name: str) -> list[Use]:
    """Give the jobs that are wanted and whose present version uses a secret, by name."""
    jobs = sorted((job for job in state.jobs.values() if job.namespace == namespace), key=lambda job: job.name)
    secret = state.secrets.get((namespace, name))
    newest = secret.current.version if secret is not None else 0
    found = ((job, list(_used(job.current.tasks, name, newest))) for job in jobs if job.wanted)
    return [Use(job, max(numbers)) for job, numbers in found if numbers]


def pinned_versions(state: State, namespace: str, name: str) -> frozenset[int]:
    """Name the versions of a secret that a kept version of a job was made with."""
    versions = (version for job in state.jobs.values() if job.namespace == namespace for version in job.versions)
    return frozenset(number for version in versions for number in _numbers(version.tasks, name))


def pins_of(state: State, node: str, alloc: str) -> dict[str, SecretVersion] | Withheld:
    """Give what an allocation on a node is to be given, by the secrets' names, or say why it gets nothing."""
    found = state.allocs.get(alloc)
    if found is None:
        return "unknown"
    if found.node != node:
        return "foreign"
    if not found.live:
        return "over"
    task = _task(state, found)
    if task is None:
        return "missing"
    pins = {name: _kept(state, found, name, number) for name, number in task.pins}
    if task.pull:
        secret = state.secrets.get((found.namespace, task.pull))
        pins[task.pull] = secret.current if secret is not None else None
    given = {name: version for name, version in pins.items() if version is not None}
    return given if len(given) == len(pins) else "missing"


def _task(state: State, alloc: Alloc) -> TaskSummary | None:
    """Find what an allocation is of: in the present version, if that is made from the same, else in its own.

    The two may differ in what only pulls the image.
    """
    job = state.jobs.get(alloc.uid)
    if job is None:
        return None
    now, own = job.current.task(alloc.task), job.version(alloc.version)
    if now is not None and now.content == alloc.content:
        return now
    return own.task(alloc.task) if own is not None else None


def _kept(state: State, alloc: Alloc, name: str, number: int) -> SecretVersion | None:
    secret = state.secrets.get((alloc.namespace, name))
    return secret.version(number) if secret is not None else None


def _used(tasks: tuple[TaskSummary, ...], name: str, newest: int) -> Iterator[int]:
    yield from _numbers(tasks, name)
    yield from (newest for task in tasks if task.pull == name)


def _numbers(tasks: tuple[TaskSummary, ...], name: str) -> Iterator[int]:
    return (number for task in tasks for secret, number in task.pins if secret == name)
