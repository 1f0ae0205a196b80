"""Folding what concerns secrets."""

from __future__ import annotations

from typing import Final

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.records import Secret, SecretVersion
from heroctl.domain.state import State
from heroctl.domain.topics import SECRETS, secret_topic

KEPT_VERSIONS: Final = 10


def _written(state: State, event: e.SecretWritten, touch: Touch) -> None:
    key = event.namespace, event.name
    newest = SecretVersion(event.version, event.row, touch.time, touch.index, event.action, event.of)
    old = state.secrets.get(key)
    versions = (*old.versions, newest) if old is not None else (newest,)
    pinned = _pinned(state, event.namespace, event.name) if len(versions) > KEPT_VERSIONS else frozenset()
    kept = tuple(each for each in versions[:-KEPT_VERSIONS] if each.version in pinned) + versions[-KEPT_VERSIONS:]
    created = old.create_index if old is not None else touch.index
    state.secrets[key] = Secret(event.namespace, event.name, kept, created, touch.index)
    _touch(state, event.namespace, event.name, touch)


def _deleted(state: State, event: e.SecretDeleted, touch: Touch) -> None:
    if state.secrets.pop((event.namespace, event.name), None) is not None:
        _touch(state, event.namespace, event.name, touch)


def _pinned(state: State, namespace: str, name: str) -> frozenset[int]:
    """Name the versions of a secret that a kept version of a job was made with."""
    tasks = (
        task
        for job in state.jobs.values()
        if job.namespace == namespace
        for version in job.versions
        for task in version.tasks
    )
    return frozenset(number for task in tasks for secret, number in task.pins if secret == name)


def _touch(state: State, namespace: str, name: str, touch: Touch) -> None:
    """The jobs that use it are looked at anew: for some it is a new version, for others what they waited for."""
    touch.add(SECRETS, secret_topic(namespace, name))
    for job in state.jobs.values():
        if job.namespace == namespace and any(name == secret for task in job.current.tasks for secret, _ in task.pins):
            touch.job(job)


FOLDS: Final[dict[type[Event], Fold]] = {e.SecretWritten: _written, e.SecretDeleted: _deleted}
