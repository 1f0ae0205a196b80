"""Intents on namespaces."""

from __future__ import annotations

from typing import Final

from heroctl.domain.errors import Conflict, not_found
from heroctl.domain.events import NamespaceCreated, NamespaceDeleted, NamespaceUpdated
from heroctl.domain.holders import Namespace
from heroctl.domain.intents.change import NOTHING, Change, claim_stream
from heroctl.domain.state import State

DEFAULT: Final = "default"


def find_namespace(state: State, name: str) -> Namespace:
    """Return a namespace, or refuse with `namespace_not_found`."""
    found = state.namespaces.get(name)
    if found is None:
        raise not_found("namespace", name)
    return found


def create_namespace(state: State, name: str, description: str = "") -> Change:
    """Make a namespace."""
    if name in state.namespaces:
        raise Conflict("namespace_exists", f"namespace '{name}' exists already")
    return Change((NamespaceCreated(name, description),), (claim_stream("namespace", name),))


def update_namespace(state: State, name: str, description: str) -> Change:
    """Describe a namespace anew; so already: nothing."""
    if find_namespace(state, name).description == description:
        return NOTHING
    return Change((NamespaceUpdated(name, description),), (claim_stream("namespace", name),))


def delete_namespace(state: State, name: str) -> Change:
    """Remove a namespace without jobs. Raises `namespace_not_empty`.

    A job may still come into it at the same time: then the event changes nothing, and whoever appended it looks again.
    """
    find_namespace(state, name)
    if name == DEFAULT:
        raise Conflict("default_namespace", "the namespace 'default' is always there")
    refuse_occupied(state, name)
    return Change((NamespaceDeleted(name),), (claim_stream("namespace", name),))


def refuse_occupied(state: State, name: str) -> None:
    """Refuse with `namespace_not_empty` where a namespace holds anything."""
    jobs = sorted(job.name for job in state.jobs.values() if job.namespace == name)
    if jobs:
        some = ", ".join(jobs[:10]) + (f" and {len(jobs) - 10} more" if len(jobs) > 10 else "")
        raise Conflict(
            "namespace_not_empty", f"namespace '{name}' holds jobs ({some}): delete them, and wait until they are gone"
        )
