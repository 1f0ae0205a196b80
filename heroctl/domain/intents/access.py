"""Intents on users, tokens, roles and policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from heroctl.domain.errors import Conflict, Invalid, Problem, not_found
from heroctl.domain.events import (
    PolicyDeleted,
    PolicySet,
    RoleDeleted,
    RoleSet,
    TokenCreated,
    TokenDeleted,
    UserCreated,
    UserDeleted,
    UserPasswordChanged,
    UserUpdated,
)
from heroctl.domain.holders import Policy, Role, User, grants_of
from heroctl.domain.intents.change import NOTHING, Change, claim_stream
from heroctl.domain.policy import ADMIN, BUILT_IN, EVERYWHERE, grants
from heroctl.domain.state import State

# Whoever makes an admin of somebody less moves it: of two who do that at once, one decides again.
ADMINS: Final = claim_stream("acl", "admins")
_EVERYTHING: Final = grants(frozenset(BUILT_IN[ADMIN]))

# ── users ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def create_user(
    state: State, name: str, roles: tuple[str, ...], credential: str, namespaces: tuple[str, ...] = EVERYWHERE
) -> Change:
    """Make a user; `credential` is the vault row with the password's hash."""
    if name in state.users:
        raise Conflict("user_exists", f"user '{name}' exists already")
    event = UserCreated(name, roles, credential, namespaces)
    return Change((event,), (claim_stream("user", name), *_roles(state, roles)))


def update_user(state: State, name: str, roles: tuple[str, ...] | None, namespaces: tuple[str, ...] | None) -> Change:
    """Give a user other roles, or other namespaces; None: as they are. Raises `last_admin`."""
    user = find_user(state, name)
    event = UserUpdated(
        name,
        user.roles if roles is None else roles,
        user.namespaces if namespaces is None else namespaces,
    )
    if (event.roles, event.namespaces) == (user.roles, user.namespaces):
        return NOTHING
    now = replace(user, roles=event.roles, namespaces=event.namespaces)
    less = _one_less(state, users={**state.users, name: now})
    return Change((event,), (claim_stream("user", name), *_roles(state, event.roles), *less))


def change_password(state: State, name: str, credential: str, session: str = "") -> Change:
    """Give a user another password; only the login whose id begins so goes on."""
    find_user(state, name)
    return Change((UserPasswordChanged(name, credential, session),), (claim_stream("user", name),))


def delete_user(state: State, name: str) -> Change:
    """Remove a user, and with it its tokens. Raises `last_admin`."""
    find_user(state, name)
    others = {other: user for other, user in state.users.items() if other != name}
    return Change((UserDeleted(name),), (claim_stream("user", name), *_one_less(state, users=others)))


def find_user(state: State, name: str) -> User:
    """Return a user, or refuse with `user_not_found`."""
    user = state.users.get(name)
    if user is None:
        raise not_found("user", name)
    return user


def _one_less(
    state: State,
    *,
    users: Mapping[str, User] | None = None,
    roles: Mapping[str, Role] | None = None,
    policies: Mapping[str, Policy] | None = None,
) -> tuple[str, ...]:
    """Name the stream that one admin less moves, whatever makes it one less. Raises `last_admin`."""
    before = _admins(state.users, state.roles, state.policies)
    after = _admins(
        state.users if users is None else users,
        state.roles if roles is None else roles,
        state.policies if policies is None else policies,
    )
    if not before - after:
        return ()
    if not after:
        names = ", ".join(sorted(before))
        message = f"'{names}' is the last admin: give another user the role admin, in all namespaces, first"
        raise Conflict("last_admin", message)
    return (ADMINS,)


def _admins(users: Mapping[str, User], roles: Mapping[str, Role], policies: Mapping[str, Policy]) -> set[str]:
    """Name those who may everything, everywhere: nobody else can give that to anybody."""
    return {name for name, user in users.items() if grants_of(user, roles, policies).hold(_EVERYTHING)}


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def create_token(state: State, event: TokenCreated) -> Change:
    """Make an ACL token for a user that exists."""
    if event.user not in state.users:
        raise not_found("user", event.user)
    moves = (claim_stream("token", event.id), *_roles(state, event.roles))
    return Change((event,), moves, (claim_stream("user", event.user),))


def delete_token(state: State, token: str) -> Change:
    """Take an ACL token away."""
    if token not in state.tokens:
        raise not_found("token", token)
    return Change((TokenDeleted(token),), (claim_stream("token", token),))


# ── roles and policies ───────────────────────────────────────────────────────────────────────────────────────────────


def create_role(state: State, event: RoleSet) -> Change:
    """Make a role."""
    if event.name in BUILT_IN or event.name in state.roles:
        raise Conflict("role_exists", f"role '{event.name}' exists already")
    return _set_role(state, event)


def update_role(state: State, event: RoleSet) -> Change:
    """Make a role of other policies; so already: nothing."""
    _own("role", event.name, state.roles)
    known = state.roles[event.name]
    if (known.policies, known.description) == (event.policies, event.description):
        return NOTHING
    role = Role(event.name, event.policies, event.description)
    return _set_role(state, event, _one_less(state, roles={**state.roles, event.name: role}))


def _set_role(state: State, event: RoleSet, less: tuple[str, ...] = ()) -> Change:
    moves = _each("policy", event.policies, BUILT_IN.keys() | state.policies.keys(), "policies")
    return Change((event,), (claim_stream("role", event.name), *moves, *less))


def delete_role(state: State, name: str) -> Change:
    """Remove a role that nobody has. Raises `role_in_use`."""
    _own("role", name, state.roles)
    holders = [f"user {user.name}" for user in state.users.values() if name in user.roles]
    holders += [f"token {token.id}" for token in state.tokens.values() if name in token.roles]
    _unused("role", name, holders)
    return Change((RoleDeleted(name),), (claim_stream("role", name),))


def create_policy(state: State, event: PolicySet) -> Change:
    """Make a policy; its rules have been checked."""
    if event.name in BUILT_IN or event.name in state.policies:
        raise Conflict("policy_exists", f"policy '{event.name}' exists already")
    return Change((event,), (claim_stream("policy", event.name),))


def update_policy(state: State, event: PolicySet) -> Change:
    """Make a policy of other rules; so already: nothing."""
    _own("policy", event.name, state.policies)
    known = state.policies[event.name]
    if (known.rules, known.description) == (event.rules, event.description):
        return NOTHING
    policy = Policy(event.name, event.rules, event.description)
    less = _one_less(state, policies={**state.policies, event.name: policy})
    return Change((event,), (claim_stream("policy", event.name), *less))


def delete_policy(state: State, name: str) -> Change:
    """Remove a policy that no role has. Raises `policy_in_use`."""
    _own("policy", name, state.policies)
    _unused("policy", name, [f"role {role.name}" for role in state.roles.values() if name in role.policies])
    return Change((PolicyDeleted(name),), (claim_stream("policy", name),))


def _own(kind: str, name: str, known: Iterable[str]) -> None:
    if name in BUILT_IN:
        raise Conflict("built_in", f"{kind} '{name}' is built in: make one of your own beside it")
    if name not in known:
        raise not_found(kind, name)


def _unused(kind: str, name: str, holders: Sequence[str]) -> None:
    if holders:
        some = ", ".join(sorted(holders)[:10]) + (f" and {len(holders) - 10} more" if len(holders) > 10 else "")
        raise Conflict(f"{kind}_in_use", f"{kind} '{name}' is in use: take it from {some} first")


def _roles(state: State, roles: Sequence[str]) -> tuple[str, ...]:
    """Name the streams of roles, and of their policies: none of them becomes more while it is being given."""
    moves = _each("role", roles, BUILT_IN.keys() | state.roles.keys(), "roles")
    policies = {each for name in roles if name in state.roles for each in state.roles[name].policies}
    return (*moves, *(claim_stream("policy", name) for name in sorted(policies - BUILT_IN.keys())))


def _each(kind: str, names: Sequence[str], known: Iterable[str], field: str) -> tuple[str, ...]:
    """Name the streams of those that are not built in. They are moved: what is being deleted can be given to nobody."""
    unknown = [
        Problem(f"{field}[{at}]", f"unknown_{kind}", f"there is no {kind} '{name}': {', '.join(sorted(known))}")
        for at, name in enumerate(names)
        if name not in known
    ]
    if unknown:
        raise Invalid("invalid_body", f"{unknown[0].path}: {unknown[0].message}", details=tuple(unknown))
    return tuple(claim_stream(kind, name) for name in sorted({*names} - BUILT_IN.keys()))
