"""Who holds rights, and what they are made of: users, tokens, roles, policies, and the namespaces they hold in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from heroctl.domain.events import TokenKind
from heroctl.domain.policy import BUILT_IN, EVERYWHERE, Grants, Rule, grants


class User(Struct, frozen=True, gc=False):
    """Somebody who may log in."""

    name: str
    roles: tuple[str, ...]
    credential: str
    namespaces: tuple[str, ...] = EVERYWHERE
    created_at: int = 0
    spared: str = ""  # how the id of the session begins that changed the password, and outlived that


class Token(Struct, frozen=True, gc=False):
    """An ACL token; its secret's hash is a row of the vault."""

    id: str
    name: str
    user: str
    roles: tuple[str, ...]
    credential: str
    expires_at: int | None
    kind: TokenKind = "service"
    namespaces: tuple[str, ...] = EVERYWHERE
    jobs: tuple[str, ...] = EVERYWHERE
    created_at: int = 0


class Role(Struct, frozen=True, gc=False):
    """A named set of policies that somebody made; those that are built in are in no state."""

    name: str
    policies: tuple[str, ...]
    description: str = ""


class Policy(Struct, frozen=True, gc=False):
    """A named set of rules that somebody made."""

    name: str
    rules: tuple[Rule, ...]
    description: str = ""


class Namespace(Struct, frozen=True, gc=False):
    """A space for names of jobs, secrets and webhooks, with rights of its own."""

    name: str
    description: str = ""
    created_at: int = 0


class JoinToken(Struct, frozen=True, gc=False):
    """A single-use right to join, until `expires_at` (ms)."""

    id: str
    credential: str
    expires_at: int


def rules_of(roles: Iterable[str], own: Mapping[str, Role], policies: Mapping[str, Policy]) -> frozenset[Rule]:
    """Give the rules of roles, built in or somebody's own. A role that is not there, or no policy, gives none."""
    found: set[Rule] = set()
    for role in roles:
        for policy in (role,) if role in BUILT_IN else _policies(own.get(role)):
            found.update(BUILT_IN.get(policy) or _rules(policies.get(policy)))
    return frozenset(found)


def _policies(role: Role | None) -> tuple[str, ...]:
    return role.policies if role is not None else ()


def _rules(policy: Policy | None) -> tuple[Rule, ...]:
    return policy.rules if policy is not None else ()


def grants_of(holder: User | Token, own: Mapping[str, Role], policies: Mapping[str, Policy]) -> Grants:
    """Say what a user's or a token's roles amount to, with its namespaces and jobs."""
    jobs = holder.jobs if isinstance(holder, Token) else EVERYWHERE
    return grants(rules_of(holder.roles, own, policies), holder.namespaces, jobs)
