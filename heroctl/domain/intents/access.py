"""Intents on users and tokens."""

from __future__ import annotations

from heroctl.domain.errors import Conflict, not_found
from heroctl.domain.events import TokenCreated, TokenDeleted, UserCreated
from heroctl.domain.intents.change import Change, claim_stream
from heroctl.domain.state import State


def create_user(state: State, name: str, roles: tuple[str, ...], credential: str) -> Change:
    """Make a user; `credential` is the vault row with the password's hash."""
    if name in state.users:
        raise Conflict("user_exists", f"user '{name}' exists already")
    return Change((UserCreated(name, roles, credential),), (claim_stream("user", name),))


def create_token(state: State, event: TokenCreated) -> Change:
    """Make an ACL token for a user that exists."""
    if event.user not in state.users:
        raise not_found("user", event.user)
    return Change((event,), (claim_stream("token", event.id),), (claim_stream("user", event.user),))


def delete_token(state: State, token: str) -> Change:
    """Take an ACL token away."""
    if token not in state.tokens:
        raise not_found("token", token)
    return Change((TokenDeleted(token),), (claim_stream("token", token),))
