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
    """Remove a namespace without jobs, secrets and webhooks. Raises `namespace_not_empty`.

    One may still come into it at the same time: then the event changes nothing, and whoever appended it looks again.
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
        raise Conflict(
            "namespace_not_empty",
            f"namespace '{name}' holds jobs ({_some(jobs)}): delete them, and wait until they are gone",
        )
    secrets = sorted(secret for namespace, secret in state.secrets if namespace == name)
    if secrets:
        raise Conflict("namespace_not_empty", f"namespace '{name}' holds secrets ({_some(secrets)}): delete them first")
    webhooks = sorted(hook.id for hook in state.webhooks.values() if hook.namespace == name)
    if webhooks:
        raise Conflict(
            "namespace_not_empty", f"namespace '{name}' holds webhooks ({_some(webhooks)}): delete them first"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
