"""Roles and policies: what those who may use the cluster may do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from api.answer import Answer, answer
from api.call import Call
from api.contract import tells
from api.reads import Query, Reading
from api.users import Names, refuse, written
from api.wire import Written, encode
from api.world import World
from api.write import Done
from heroctl.domain.errors import Problem, not_found
from heroctl.domain.events import PolicySet, RoleSet
from heroctl.domain.giving import refuse_more_by
from heroctl.domain.holders import Policy, Role
from heroctl.domain.intents import access as intents
from heroctl.domain.intents.change import Change, claim_stream
from heroctl.domain.names import misnamed
from heroctl.domain.policy import BUILT_IN, Rule, problems
from heroctl.domain.state import State
from heroctl.domain.topics import ACL

MOST_RULES: Final = 200
_LONGEST: Final = 500


class NewRole(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/acl/roles`."""

    name: str
    policies: Names
    description: str = ""


class RoleBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/acl/roles/:name`: the whole role."""

    policies: Names
    description: str = ""


class RuleBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be done to a resource in some namespaces, or to those of some names; no capabilities: nothing at all."""

    resource: str
    capabilities: Names
    namespace: str | None = None
    name: str | None = None


class NewPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/acl/policies`."""

    name: str
    rules: tuple[RuleBody, ...]
    description: str = ""


class PolicyBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/acl/policies/:name`: the whole policy."""

    rules: tuple[RuleBody, ...]
    description: str = ""


class RoleItem(Struct, frozen=True):
    """A role: a named set of policies. `built_in`: it is part of the release, and cannot be changed."""

    name: str
    policies: tuple[str, ...]
    description: str
    built_in: bool


class PolicyItem(Struct, frozen=True):
    """A policy: a named set of rules."""

    name: str
    rules: tuple[Rule, ...]
    description: str
    built_in: bool


# ── roles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[RoleItem])
def list_roles(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """All roles: those that are built in, and one's own by name."""
    return Reading(ACL, lambda: encode([_role(world.state, name) for name in _names(world.state.roles)]))


def _names(own: Iterable[str]) -> list[str]:
    return [*sorted(BUILT_IN), *sorted(own)]


@tells(RoleItem, "role_not_found")
def show_role(world: World, query: Query) -> Reading:
    """One role."""
    return Reading(ACL, lambda: encode(_role(world.state, query.path["name"])))


def _role(state: State, name: str) -> RoleItem:
    if name in BUILT_IN:
        return RoleItem(name, (name,), "", built_in=True)
    if name not in state.roles:
        raise not_found("role", name)
    role = state.roles[name]
    return RoleItem(name, role.policies, role.description, built_in=False)


@tells(RoleItem, "role_exists", "exceeds_own_rights", body=NewRole, status=201)
async def create_role(call: Call) -> Answer:
    """Make a role of policies."""
    wanted = await call.body(NewRole)
    refuse(_named(wanted.name, wanted.description))
    event = RoleSet(wanted.name, wanted.policies, wanted.description)
    done = await call.change(claim_stream("role", event.name), lambda state: intents.create_role(state, event))
    return await role_created(call, done)


async def role_created(call: Call, done: Done) -> Answer:
    """Say again which role was made."""
    wanted = await call.body(NewRole)
    return answer(RoleItem(wanted.name, wanted.policies, wanted.description, built_in=False), 201, index=done.index)


@tells(Written, "role_not_found", "built_in", "last_admin", "exceeds_own_rights", body=RoleBody)
async def update_role(call: Call) -> Answer:
    """Make a role of other policies: for all who have it, at once."""
    wanted, name = await call.body(RoleBody), call.path["name"]
    refuse(_named(name, wanted.description))
    event = RoleSet(name, wanted.policies, wanted.description)

    def decide(state: State) -> Change:
        change = intents.update_role(state, event)
        refuse_more_by(state, call.principal.grants, role=Role(name, event.policies))
        return change

    return written(call, await call.change(claim_stream("role", name), decide), name)


@tells(Written, "role_not_found", "built_in", "role_in_use")
async def delete_role(call: Call) -> Answer:
    """Remove a role that nobody has."""
    await call.nothing()
    name = call.path["name"]
    done = await call.change(claim_stream("role", name), lambda state: intents.delete_role(state, name))
    return written(call, done, name)


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@tells(list[PolicyItem])
def list_policies(world: World, query: Query) -> Reading:  # noqa: ARG001 - a reader's signature
    """All policies: those that are built in, and one's own by name."""
    return Reading(ACL, lambda: encode([_policy(world.state, name) for name in _names(world.state.policies)]))


@tells(PolicyItem, "policy_not_found")
def show_policy(world: World, query: Query) -> Reading:
    """One policy, with its rules."""
    return Reading(ACL, lambda: encode(_policy(world.state, query.path["name"])))


def _policy(state: State, name: str) -> PolicyItem:
    if name in BUILT_IN:
        return PolicyItem(name, BUILT_IN[name], "", built_in=True)
    if name not in state.policies:
        raise not_found("policy", name)
    policy = state.policies[name]
    return PolicyItem(name, policy.rules, policy.description, built_in=False)


@tells(PolicyItem, "policy_exists", body=NewPolicy, status=201)
async def create_policy(call: Call) -> Answer:
    """Make a policy of rules."""
    wanted = await call.body(NewPolicy)
    event = _set_policy(wanted.name, wanted)
    done = await call.change(claim_stream("policy", event.name), lambda state: intents.create_policy(state, event))
    return await policy_created(call, done)


async def policy_created(call: Call, done: Done) -> Answer:
    """Say again which policy was made."""
    wanted = await call.body(NewPolicy)
    event = _set_policy(wanted.name, wanted)
    return answer(PolicyItem(event.name, event.rules, event.description, built_in=False), 201, index=done.index)


@tells(Written, "policy_not_found", "built_in", "last_admin", "exceeds_own_rights", body=PolicyBody)
async def update_policy(call: Call) -> Answer:
    """Make a policy of other rules: for all who have it in a role, at once."""
    name = call.path["name"]
    event = _set_policy(name, await call.body(PolicyBody))

    def decide(state: State) -> Change:
        change = intents.update_policy(state, event)
        refuse_more_by(state, call.principal.grants, policy=Policy(name, event.rules))
        return change

    return written(call, await call.change(claim_stream("policy", name), decide), name)


def _set_policy(name: str, wanted: NewPolicy | PolicyBody) -> PolicySet:
    rules = tuple(Rule(each.resource, each.capabilities, each.namespace, each.name) for each in wanted.rules)
    found = _named(name, wanted.description) + problems(rules[:MOST_RULES])
    if len(rules) > MOST_RULES:
        found.append(Problem("rules", "out_of_range", f"at most {MOST_RULES} rules: cut it into several policies"))
    refuse(found)
    return PolicySet(name, rules, wanted.description)


@tells(Written, "policy_not_found", "built_in", "policy_in_use")
async def delete_policy(call: Call) -> Answer:
    """Remove a policy that no role has."""
    await call.nothing()
    name = call.path["name"]
    done = await call.change(claim_stream("policy", name), lambda state: intents.delete_policy(state, name))
    return written(call, done, name)


def _named(name: str, description: str) -> list[Problem]:
    found = misnamed(name)
    if len(description) > _LONGEST:
        found.append(Problem("description", "out_of_range", f"at most {_LONGEST} characters"))
    return found
