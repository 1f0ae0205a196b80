"""Intents on secrets. What is decided here are names and numbers: values are sealed before, and lie in the vault."""

from __future__ import annotations

from heroctl.domain.errors import Conflict, not_found
from heroctl.domain.events import SecretDeleted, SecretWritten
from heroctl.domain.intents.change import Change, claim_stream
from heroctl.domain.intents.namespaces import find_namespace
from heroctl.domain.pinned import pinned_versions, users
from heroctl.domain.records import Secret, SecretVersion
from heroctl.domain.state import State


class Overtaken(Exception):  # noqa: N818 - nothing failed
    """Somebody else has written meanwhile: what was sealed for this version has to be sealed for the next one."""


def secret_stream(namespace: str, name: str) -> str:
    """Name the stream of a secret: whoever goes by which version is its newest stands on it."""
    return claim_stream("secret", f"{namespace}/{name}")


def find_secret(state: State, namespace: str, name: str) -> Secret:
    """Return a secret, or refuse with `secret_not_found`."""
    found = state.secrets.get((namespace, name))
    if found is None:
        raise not_found("secret", name)
    return found


def find_version(secret: Secret, number: int | None) -> SecretVersion:
    """Return a version of a secret, the present one unless it is named. Refuses with `version_not_found`."""
    found = secret.current if number is None else secret.version(number)
    if found is None:
        raise not_found("version", f"{number} of {secret.name}")
    return found


def earlier_version(secret: Secret, number: int | None) -> SecretVersion:
    """Return the version to go back to: the one before the present one unless it is named."""
    if number is None and len(secret.versions) < 2:
        raise not_found("version", f"before {secret.current.version} of {secret.name}")
    return secret.versions[-2] if number is None else find_version(secret, number)


def next_version(state: State, namespace: str, name: str) -> int:
    """Number what comes next. A number that a version of a job was made with is never another value's."""
    secret = state.secrets.get((namespace, name))
    newest = secret.current.version if secret is not None else 0
    return max(newest, *pinned_versions(state, namespace, name), 0) + 1


def check_guard(secret: Secret | None, name: str, check_index: int | None) -> None:
    """Hold a client's guard: the secret's `modify_index` must be it, 0: there must be none of this name."""
    if check_index is None:
        return
    if secret is not None and check_index == 0:
        raise Conflict("secret_exists", f"secret '{name}' exists already")
    index = secret.modify_index if secret is not None else 0
    if index != check_index:
        raise Conflict("index_conflict", f"secret '{name}' is at index {index}, not {check_index}")


def write_secret(state: State, event: SecretWritten, check_index: int | None = None) -> Change:
    """Make a sealed row the newest version of a secret. Raises Overtaken where its number is another one by now."""
    find_namespace(state, event.namespace)
    check_guard(state.secrets.get((event.namespace, event.name)), event.name, check_index)
    if event.version != next_version(state, event.namespace, event.name):
        raise Overtaken
    return Change(
        (event,), (secret_stream(event.namespace, event.name),), (claim_stream("namespace", event.namespace),)
    )


def delete_secret(state: State, namespace: str, name: str, *, force: bool = False) -> Change:
    """Remove a secret with all its versions. Refuses, unless `force`, with `secret_pinned` while jobs need it."""
    secret = find_secret(state, namespace, name)
    if users(state, namespace, name) and not force:
        raise Conflict("secret_pinned", f"secret '{name}' is used by jobs that are to run")
    event = SecretDeleted(namespace, name, force, secret.current.version)
    return Change((event,), (secret_stream(namespace, name),))
