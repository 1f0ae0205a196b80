"""Folding what concerns those who may use the cluster, what they may, and who may join it."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from heroctl.domain import events as e
from heroctl.domain.events import Event
from heroctl.domain.evolve.touch import Fold, Touch
from heroctl.domain.evolve.webhooks import forget_reader
from heroctl.domain.holders import JoinToken, Policy, Role, Token, User
from heroctl.domain.state import State
from heroctl.domain.topics import ACL


def _user_created(state: State, event: e.UserCreated, touch: Touch) -> None:
    state.users[event.name] = User(event.name, event.roles, event.credential, event.namespaces, touch.time)
    touch.add(ACL)


def _user_updated(state: State, event: e.UserUpdated, touch: Touch) -> None:
    user = state.users.get(event.name)
    if user is not None:
        state.users[event.name] = replace(user, roles=event.roles, namespaces=event.namespaces)
        touch.add(ACL)


def _user_password_changed(state: State, event: e.UserPasswordChanged, touch: Touch) -> None:
    user = state.users.get(event.name)
    if user is not None:
        state.users[event.name] = replace(user, credential=event.credential, spared=event.session)
        touch.add(ACL)


def _user_deleted(state: State, event: e.UserDeleted, touch: Touch) -> None:
    for token in [token.id for token in state.tokens.values() if token.user == event.name]:
        del state.tokens[token]
    state.users.pop(event.name, None)
    forget_reader(state, touch, user=event.name)
    touch.add(ACL)


def token_of(event: e.TokenCreated, made: int) -> Token:
    """Give the token that is made by this event at that moment, in ms."""
    return Token(
        event.id,
        event.name,
        event.user,
        event.roles,
        event.credential,
        event.expires_at,
        event.kind,
        event.namespaces,
        event.jobs,
        created_at=made,
    )


def _token_created(state: State, event: e.TokenCreated, touch: Touch) -> None:
    state.tokens[event.id] = token_of(event, touch.time)
    touch.add(ACL)


def _token_deleted(state: State, event: e.TokenDeleted, touch: Touch) -> None:
    state.tokens.pop(event.id, None)
    forget_reader(state, touch, token=event.id)
    touch.add(ACL)


def _role_set(state: State, event: e.RoleSet, touch: Touch) -> None:
    state.roles[event.name] = Role(event.name, event.policies, event.description)
    touch.add(ACL)


def _role_deleted(state: State, event: e.RoleDeleted, touch: Touch) -> None:
    state.roles.pop(event.name, None)
    touch.add(ACL)


def _policy_set(state: State, event: e.PolicySet, touch: Touch) -> None:
    state.policies[event.name] = Policy(event.name, event.rules, event.description)
    touch.add(ACL)


def _policy_deleted(state: State, event: e.PolicyDeleted, touch: Touch) -> None:
    state.policies.pop(event.name, None)
    touch.add(ACL)


def _join_token_created(state: State, event: e.JoinTokenCreated, touch: Touch) -> None:
    spent = [token.id for token in state.join_tokens.values() if token.expires_at < touch.time]
    for token in spent:
        del state.join_tokens[token]
    state.join_tokens[event.id] = JoinToken(event.id, event.credential, event.expires_at)
    touch.add(ACL)


FOLDS: Final[dict[type[Event], Fold]] = {
    e.UserCreated: _user_created,
    e.UserUpdated: _user_updated,
    e.UserPasswordChanged: _user_password_changed,
    e.UserDeleted: _user_deleted,
    e.TokenCreated: _token_created,
    e.TokenDeleted: _token_deleted,
    e.RoleSet: _role_set,
    e.RoleDeleted: _role_deleted,
    e.PolicySet: _policy_set,
    e.PolicyDeleted: _policy_deleted,
    e.JoinTokenCreated: _join_token_created,
}
