"""Folding what concerns secrets."""

from __future__ import annotations

from typing import Final

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.pinned import pinned_versions
from heroctl.domain.records import Secret, SecretVersion
from heroctl.domain.state import State
from heroctl.domain.topics import SECRETS, secret_topic

KEPT_VERSIONS: Final = 10


def _written(state: State, event: e.SecretWritten, touch: Touch) -> None:
    key = event.namespace, event.name
    newest = SecretVersion(event.version, event.row, touch.time, touch.index, event.action, event.of, event.by)
    old = state.secrets.get(key)
    versions = (*old.versions, newest) if old is not None else (newest,)
    pinned = pinned_versions(state, event.namespace, event.name) if len(versions) > KEPT_VERSIONS else frozenset()
    kept = tuple(each for each in versions[:-KEPT_VERSIONS] if each.version in pinned) + versions[-KEPT_VERSIONS:]
    born = (old.created_at, old.create_index) if old is not None else (touch.time, touch.index)
    state.secrets[key] = Secret(event.namespace, event.name, kept, *born, touch.index)
    _touch(state, event.namespace, event.name, touch)


def _deleted(state: State, event: e.SecretDeleted, touch: Touch) -> None:
    if state.secrets.pop((event.namespace, event.name), None) is not None:
        _touch(state, event.namespace, event.name, touch)


def _touch(state: State, namespace: str, name: str, touch: Touch) -> None:
    """The jobs that use it are looked at anew: for some it is a new version, for others what they waited for."""
    touch.add(SECRETS, secret_topic(namespace, name))
    for job in state.jobs.values():
        if job.namespace == namespace and any(name in task.named for task in job.current.tasks):
            touch.job(job)


def _told(state: State, event: e.SecretRead | e.SecretsRekeyed, touch: Touch) -> None:
    """Change nothing: these stand in the log for whoever asks who did what."""


FOLDS: Final[dict[type[Event], Fold]] = {
    e.SecretWritten: _written,
    e.SecretDeleted: _deleted,
    e.SecretRead: _told,
    e.SecretsRekeyed: _told,
}
